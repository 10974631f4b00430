"""Rates, against the paper's words and the table of the design."""

import pytest

from scalepred.recipe import GRID, RECIPES, Recipe
from scalepred.training.rates import epoch_rates, length_of, schedule_factor, stage_rates, steps_per_epoch


def test_the_papers_own_example():
    assert stage_rates(RECIPES["graduated"], 0.5)[2] == 0.5 * 2 * 0.001 == 0.001


@pytest.mark.parametrize("scale", GRID)
def test_the_rate_of_every_stage_is_base_times_multiplier_times_scale(scale):
    expected = [0.001 * multiplier * scale for multiplier in (0, 1, 2, 4, 8, 16)]
    assert stage_rates(RECIPES["graduated"], scale) == pytest.approx(expected)


def test_the_baseline_learns_the_head_at_a_hundredth():
    assert stage_rates(RECIPES["baseline"], None) == pytest.approx((0, 0, 0, 0, 0, 0.01))


def test_the_step_schedule_drops_tenfold_after_each_third():
    factors = [schedule_factor("step", step=step, n_steps=9) for step in range(9)]
    assert factors == pytest.approx([1] * 3 + [0.1] * 3 + [0.01] * 3)


def test_the_papers_900_000_iterations_drop_at_300_000():
    steps = (0, 299_999, 300_000, 599_999, 600_000, 899_999)
    found = [schedule_factor("step", step=step, n_steps=900_000) for step in steps]
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_cosine_schedule_falls_from_1_towards_0():
    factors = [schedule_factor("cosine", step=step, n_steps=10) for step in range(10)]
    assert factors[0] == 1
    assert factors[5] == pytest.approx(0.5)
    assert factors == sorted(factors, reverse=True)


def test_a_warm_up_rises_evenly_to_the_schedule():
    factors = [schedule_factor("step", step=step, n_steps=12, n_warmup=3) for step in range(12)]
    assert factors == pytest.approx([1 / 3, 2 / 3, 1, 1] + [0.1] * 4 + [0.01] * 4)
    warm, plain = (schedule_factor("cosine", step=1, n_steps=12, n_warmup=n) for n in (4, 0))
    assert warm == pytest.approx(plain / 2)


def test_the_stored_rates_of_a_warm_up_are_those_of_each_epochs_first_step():
    rates = epoch_rates(Recipe(epochs=6, warmup_epochs=1), 1.0, n_train=100)  # of four steps each
    assert [row[-1] for row in rates[:2]] == pytest.approx([0.016 / 4, 0.016])


@pytest.mark.parametrize(("n_train", "steps"), [(1, 1), (32, 1), (33, 2), (64, 2), (250, 8)])
def test_an_epoch_has_as_many_batches_as_it_needs(n_train, steps):
    assert steps_per_epoch(n_train=n_train, batch_size=32) == steps


@pytest.mark.parametrize(
    ("changes", "n_steps", "n_epochs", "n_warmup"),
    [
        ({"epochs": 3}, 12, 3, 0),
        ({"steps": 12}, 12, 3, 0),
        ({"steps": 13}, 13, 4, 0),
        ({"steps": 3}, 3, 1, 0),
        ({"steps": 13, "warmup_epochs": 2}, 13, 4, 8),
        ({"steps": 6, "warmup_epochs": 2}, 6, 2, 5),  # it ends before the last step
        ({"steps": 1, "warmup_epochs": 2}, 1, 1, 0),
    ],
)
def test_a_recipe_trains_for_its_epochs_or_for_exactly_its_steps(changes, n_steps, n_epochs, n_warmup):
    length = length_of(Recipe(**changes), n_train=100)  # of four steps an epoch
    assert (length.n_steps, length.n_epochs, length.n_warmup) == (n_steps, n_epochs, n_warmup)
    assert length.passes == n_steps / 4


def test_the_schedule_runs_over_the_steps():
    rates = epoch_rates(Recipe(steps=9), 1.0, n_train=100)  # of four steps each, the last of one
    assert [row[-1] for row in rates] == pytest.approx([0.016, 0.0016, 0.00016])


def test_the_rates_of_every_epoch_are_a_row_each():
    rates = epoch_rates(Recipe(epochs=3), 2.0, n_train=100)
    assert [len(row) for row in rates] == [6, 6, 6]
    assert rates[0] == pytest.approx((0, 0.002, 0.004, 0.008, 0.016, 0.032))
    assert rates[2] == pytest.approx([rate / 100 for rate in rates[0]])
