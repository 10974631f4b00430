"""The probe beside a model: intervals against trusted ones and slow sums, and what is said in words."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from scalepred.job.paired import compare, verdict, wilson


def images(only_model, only_probe, *, both=3, neither=2):
    """Return which images a model and the probe get right."""
    rows = [(True, False)] * only_model + [(False, True)] * only_probe + [(True, True)] * both
    model, probe = zip(*rows, *[(False, False)] * neither, strict=True)
    return np.array(model), np.array(probe)


@pytest.mark.parametrize(("n_right", "n"), [(0, 10), (7, 10), (50, 60), (200, 200)])
def test_wilsons_interval_is_that_of_its_formula(n_right, n):
    z, p = 1.959963984540054, n_right / n
    centre, half = p + z**2 / (2 * n), z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = [(centre + sign * half) / (1 + z**2 / n) for sign in (-1, 1)]
    assert wilson(n_right, n) == pytest.approx(expected, abs=1e-9)


def test_the_difference_is_that_of_the_two_accuracies():
    model, probe = images(7, 2)
    found = compare(model, probe, split="test")
    assert found.difference == pytest.approx(model.mean() - probe.mean())
    assert (found.n, found.only_model, found.only_probe) == (14, 7, 2)
    assert found.interval[0] < found.difference < found.interval[1]


def test_the_interval_leaves_out_zero_where_mcnemars_exact_test_does():
    seen = set()
    for only_model, only_probe in itertools.product(range(16), repeat=2):
        if only_model + only_probe:
            found = compare(*images(only_model, only_probe), split="test")
            p = binomtest(only_model, only_model + only_probe).pvalue
            seen.add(found.is_above or found.is_below)
            assert (found.is_above or found.is_below) == (p < 0.05), (only_model, only_probe)
            assert not (found.is_above and only_model <= only_probe)
    assert seen == {True, False}


def test_where_both_get_the_same_images_right_the_interval_is_not_empty():
    found = compare(*images(0, 0, both=30, neither=10), split="test")
    assert found.difference == 0
    assert found.interval == pytest.approx((-0.0881, 0.0881), abs=1e-4)  # 1 - 0.025 ** (1 / 40)


def test_of_many_images_the_interval_holds_the_true_difference_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        model, probe = rng.random(100) < 0.85, rng.random(100) < 0.75
        low, high = compare(model, probe, split="test").interval
        held += low <= 0.10 <= high
    assert held >= 0.92 * 300


CHEAPER = " --probe saves the probe, which is cheaper, with the same options."
SAID = {
    (12, 1): "is above its linear probe: +61.1 points (+20.2 to +71.9) on the same 18",
    (4, 2): "is not shown to be above its linear probe: +18.2 points (-30.2 to +49.8) on the same 11",
    (2, 2): "is not above its linear probe: +0.0 points (-38.4 to +38.4) on the same 9",
    (1, 12): "is below its linear probe: -61.1 points (-71.9 to -20.2) on the same 18",
}


@pytest.mark.parametrize(("split", "name"), [("test", "test images."), ("val", "validation images.")])
@pytest.mark.parametrize("counts", SAID)
def test_what_is_shown_is_said_plainly_and_what_is_cheaper_where_nothing_is(counts, split, name):
    cheaper = "" if counts == (12, 1) else CHEAPER
    said = verdict(compare(*images(*counts), split=split))
    assert said == f"The finetuned model {SAID[counts]} {name}{cheaper}"
