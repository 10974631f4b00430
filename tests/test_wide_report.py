"""The wide harvest's report: what it calls curves of known shapes; which runs an early end would have cut."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.early_end import came_back, end_of
from benchmarks.wide_report import shape_of


def curve(*accuracies, diverged=0):
    """Return what a shape is told from: accuracies by octave, of which the last ones have diverged."""
    values = np.array(accuracies)
    return SimpleNamespace(accuracies=values, diverged=np.arange(len(values)) >= len(values) - diverged, chance=0.1)


@pytest.mark.parametrize(
    ("point", "shape"),
    [
        (curve(0.80, 0.81, 0.80, 0.79), "flat"),
        (curve(0.30, 0.50, 0.70, 0.80), "rises to the end"),
        (curve(0.80, 0.75, 0.70, 0.60), "falls from the start"),
        (curve(0.50, 0.80, 0.30, 0.10), "cliff"),
        (curve(0.50, 0.80, 0.79, 0.10, diverged=1), "cliff"),
        (curve(0.80, 0.79, 0.10, diverged=1), "cliff"),
        (curve(0.50, 0.80, 0.60, 0.80, 0.70), "two humps"),
        (curve(0.50, 0.80, 0.79, 0.70, 0.60), "one hump"),
    ],
)
def test_a_curve_is_called_by_its_shape(point, shape):
    assert shape_of(point) == shape


@pytest.mark.parametrize(
    ("losses", "n_epochs", "end"),
    [
        ([1, 9, 1, 9, 1], 1, 2),
        ([1, 9, 1, 9, 1], 2, None),
        ([1, 9, 9, 9, 1], 2, 3),
        ([1, 1, 1, 9], 1, None),
        ([9], 1, None),
    ],
)
def test_a_run_is_cut_after_so_many_epochs_above_the_limit_and_never_after_its_last(losses, n_epochs, end):
    assert end_of(SimpleNamespace(epoch_losses=losses), 5.0, n_epochs) == end


def test_a_run_came_back_where_it_ended_near_the_best_of_a_curve_that_learnt():
    run = SimpleNamespace(test_accuracy=0.79)
    assert came_back(run, 0.80, 10)
    assert not came_back(run, 0.90, 10)
    assert not came_back(run, 0.80, 1)
    assert not came_back(SimpleNamespace(test_accuracy=None), 0.01, 10)
