"""Linear probe or finetune: what harvested tasks say of it, by those nearest in size, with origins held out."""

import dataclasses

import numpy as np
import pytest
import torch
from fakes import (
    QUICK,
    RECIPE,
    SCALES,
    SOURCE,
    as_harvested,
    curve_table,
    named_source,
    run_record,
    task_record,
    write_task,
)

from scalepred.data.task import read_task
from scalepred.predictor.context import probe_set
from scalepred.predictor.evaluate import fixed_held_out
from scalepred.predictor.harvested import build
from scalepred.predictor.probe_choice import FEWEST, MOST, Beside, ask_probe
from scalepred.predictor.probe_evidence import MIN_ORIGINS, gather_beside, judge
from scalepred.predictor.probe_facts import probe_facts_of
from scalepred.predictor.threshold import fixed_column
from scalepred.records import POINT, FeatureRecord, RecipeRecord
from scalepred.training.bundle import Bundle

N = 60
CROSSING = Beside(
    source_id=SOURCE,
    recipe_id=RECIPE,
    n_train=tuple(range(10, 10 + 5 * N, 5)),
    origins=tuple(range(N)),
    gains=tuple(0.04 - 0.002 * k for k in range(N)),
)
"""The probe is better on small tasks, and worse on large ones."""


def test_the_tasks_nearest_in_size_say_which_is_better():
    small, large = (ask_probe(CROSSING, n_train=n) for n in (12, 300))
    assert (small.is_better, large.is_better) == (True, False)
    assert (small.n_tasks, small.n_origins) == (FEWEST, FEWEST)  # few have so few images
    assert (small.fewest, small.most) == (10, 10 + 5 * (FEWEST - 1))
    assert small.gain == pytest.approx(100 * np.mean(CROSSING.gains[:FEWEST]), abs=0.006)
    assert small.interval[0] < small.gain < small.interval[1]
    assert small.in_words() == (
        "on the 12 harvested tasks with this source and recipe that are nearest in size (10 to 65 training images, 12 "
        f"origins) the linear probe is 2.9 points above the finetune ({small.interval[0]:+.1f} to "
        f"{small.interval[1]:+.1f})"
    )
    assert large.n_tasks == MOST
    assert "points below the finetune (-" in large.in_words()


def test_near_is_by_ratio_and_tasks_of_other_sizes_fill_up_to_twelve():
    few = dataclasses.replace(CROSSING, n_train=(*[10] * 20, *[100] * 31, *[400] * 9))
    assert (ask_probe(few, n_train=50).n_tasks, ask_probe(few, n_train=50).most) == (MOST, 100)
    assert (ask_probe(few, n_train=190).most, ask_probe(few, n_train=210).n_tasks) == (100, 12)
    assert [getattr(ask_probe(few, n_train=400), name) for name in ("n_tasks", "fewest", "most")] == [12, 100, 400]


def test_beyond_the_largest_task_and_without_any_nothing_is_known():
    assert ask_probe(CROSSING, n_train=CROSSING.n_train[-1]) is not None
    assert ask_probe(CROSSING, n_train=CROSSING.n_train[-1] + 1) is None
    assert ask_probe(None, n_train=3) is None


def test_tasks_of_one_origin_count_as_one_in_the_interval():
    alike = dataclasses.replace(CROSSING, gains=tuple(np.repeat([0.1, 0.0, -0.1, 0.05, -0.05, 0.1], 10)))
    apart, together = (
        ask_probe(dataclasses.replace(alike, origins=tuple(np.arange(N) // n)), n_train=100) for n in (1, 10)
    )
    assert apart.gain == together.gain
    assert (apart.n_origins, together.n_origins) == (MOST, 4)
    assert np.ptp(together.interval) > 1.5 * np.ptp(apart.interval)


def test_the_choice_is_judged_by_other_origins():
    judged = judge(CROSSING)
    n = round(judged["taken"] * N)
    assert 10 <= n <= 20  # the probe is better on the first 20; more than half of those nearest by ratio are larger
    assert judged["over_finetune"][0] == pytest.approx(sum(CROSSING.gains[:n]) / N)
    assert judged["over_probe"][0] == pytest.approx(-sum(CROSSING.gains[n:]) / N)
    assert judged["probe_over_finetune"][0] == pytest.approx(np.mean(CROSSING.gains))
    halves = dataclasses.replace(
        CROSSING, n_train=(50,) * N, origins=tuple(np.arange(N) % 2), gains=tuple(np.where(np.arange(N) % 2, 0.1, -0.1))
    )
    assert judge(halves)["over_finetune"][0] == pytest.approx(-0.05)  # each takes what is good for the other


# --- what is gathered -------------------------------------------------------------------------------------------------

RECIPE_ROW = RecipeRecord(recipe_id=RECIPE, name="quick", json=QUICK.to_json())


def tasks_of(harvested):
    rows = zip(harvested.task_ids, harvested.table.origins, strict=True)
    return [
        dataclasses.replace(task_record(name, origin=origin), task_id=name, n_train=100 - at)
        for at, (name, origin) in enumerate(rows)
    ]


SET = probe_set(QUICK.image_px)


def probe_row(task, accuracy, *, name="test_accuracy", feature_set=SET):
    return FeatureRecord(
        task_id=task.task_id, source_id=SOURCE, feature_set=feature_set, name=name, value=accuracy, seconds=0.0
    )


def gathered(harvested, tasks, features, runs=()):
    return gather_beside(harvested, tasks=tasks, recipes=[RECIPE_ROW], features=features, runs=runs)


def test_a_probe_stands_beside_the_finetune_at_the_best_fixed_scale_of_other_origins():
    harvested = as_harvested(curve_table(MIN_ORIGINS))
    tasks = tasks_of(harvested)
    (beside,) = gathered(harvested, tasks, [probe_row(task, 0.9) for task in tasks])
    finetunes = harvested.test[np.arange(len(tasks)), fixed_held_out(harvested.table)]
    assert beside.gains == tuple(np.round(0.9 - finetunes[::-1], 4))
    assert beside.n_train == tuple(sorted(task.n_train for task in tasks))
    assert beside.origins == tuple(np.repeat(np.arange(MIN_ORIGINS), 2)[::-1])


def test_probes_of_other_images_tell_nothing_and_few_origins_neither():
    harvested = as_harvested(curve_table(MIN_ORIGINS))
    tasks = tasks_of(harvested)
    for other in (probe_set(32), probe_set(QUICK.image_px, "crop"), "basic-1@16px"):
        assert gathered(harvested, tasks, [probe_row(task, 0.9, feature_set=other) for task in tasks]) == ()
    assert gathered(harvested, tasks, [probe_row(task, 0.9) for task in tasks[2:]]) == ()
    alone = as_harvested(curve_table(1))  # no other origin has a best fixed scale
    assert gathered(alone, tasks_of(alone), [probe_row(task, 0.9) for task in tasks_of(alone)]) == ()


def test_a_task_without_a_grid_counts_by_its_runs_at_the_groups_best_fixed_scale():
    harvested = as_harvested(curve_table(MIN_ORIGINS))
    fixed = float(SCALES[fixed_column(harvested.table)])
    tasks = tasks_of(harvested)
    further = [dataclasses.replace(task_record(name, n_test=n), n_train=500) for name, n in (("a", 8), ("b", 0))]
    right = {"val": [1, 1, 1, 0], "test": [1, 1] + [0] * 6}
    runs = [
        run_record(further[0], fixed, **right),
        run_record(further[0], fixed, val=right["val"], test=[0] * 8, seed=1),
        run_record(further[0], fixed / 2, val=right["val"], test=[1] * 8),
        dataclasses.replace(run_record(further[0], fixed, val=right["val"], test=[1] * 8, seed=2), role=POINT),
        run_record(further[1], fixed, val=right["val"]),
    ]
    runs = [dataclasses.replace(run, recipe_id=RECIPE) for run in runs]
    probes = [probe_row(task, 0.9) for task in [*tasks, further[0]]]
    probes += [probe_row(further[1], 1.0, name="val_accuracy")]
    (beside,) = gathered(harvested, [*tasks, *further], probes, runs)
    assert beside.n_train[-2:] == (500, 500)
    assert sorted(beside.gains[-2:]) == [0.25, pytest.approx(0.9 - 1 / 8)]


def test_what_is_kept_is_what_a_saved_probe_reaches_and_no_feature_of_the_task(tmp_path):
    task = read_task(write_task(tmp_path / "birds", n=20), image_px=32)
    bundle = Bundle(task=task, source=named_source(), device=torch.device("cpu"))
    facts = {each.name: each.value for each in probe_facts_of(bundle)}
    scores = bundle.probe_scores()
    assert facts["test_accuracy"] == scores["test"].accuracy
    assert facts["val_accuracy"] == scores["val"].accuracy
    assert facts["cross_validated"] == bundle.probe_start().probe.accuracy
    record = bundle.task.record
    runs = [run_record(record, float(scale), val=[1] * record.n_val, test=[1] * record.n_test) for scale in SCALES]
    runs = [dataclasses.replace(run, source_id=bundle.source.source_id) for run in runs]
    recipe = RecipeRecord(recipe_id=QUICK.recipe_id, name="quick", json=QUICK.to_json())
    table = build(
        tasks=[record],
        sources=[bundle.source.record],
        recipes=[recipe],
        features=[dataclasses.replace(each, feature_set=probe_set(QUICK.image_px)) for each in probe_facts_of(bundle)],
        runs=runs,
    ).table
    assert len(table.names) == 1
    assert not {"test_accuracy", "val_accuracy", "cross_validated"} & set(table.feature_names)
