"""Probes: which scale goes on after some epochs, what it cost, and what diverged by then."""

import dataclasses

import numpy as np
import pytest
from wide_points import SGD, wide_point

from scalepred.predictor.probes import half_of_epochs, halving, has_losses, probe_all, three_around, two_epochs

NAN = np.nan


def point_with(losses, first=0.0):
    losses = np.array(losses, dtype=float)
    point = wide_point(0, SGD, best=0.0, facts={})
    return dataclasses.replace(point, log2_scales=first + np.arange(len(losses)), epoch_losses=losses)


def test_the_scale_of_the_lowest_loss_after_two_epochs_goes_on_and_all_epochs_are_paid_for():
    point = point_with([[3, 2, 1, 0.1], [3, 1, 1, 1], [3, 1.5, 1, 1]])
    probed = two_epochs(point)
    assert (probed.log2_scale, probed.jobs) == (1.0, (3 * 2 + 2) / 4)
    assert half_of_epochs(point) == probed
    assert probe_all(point, 4).log2_scale == 0.0


def test_what_has_diverged_by_then_does_not_go_on_and_where_all_have_it_is_the_lowest():
    assert two_epochs(point_with([[3, 2], [0.1, NAN], [3, 1]])).log2_scale == 2.0
    assert two_epochs(point_with([[0.1, NAN], [0.05, NAN]])).log2_scale == 0.0


def test_halving_drops_the_worse_half_at_an_eighth_a_quarter_and_a_half():
    losses = np.ones((8, 8)) * np.arange(8)[:, None]
    losses[5:, 0] = -1  # three that are ahead after the first epoch
    losses[7, 1:] = -5  # one of them ahead later too
    probed = halving(point_with(losses))
    assert probed.log2_scale == 7.0
    assert probed.jobs == (8 * 1 + 4 * 1 + 2 * 2 + 1 * 4) / 8
    losses[7, 0] = 99  # dropped at once, whatever it would have done
    assert halving(point_with(losses)).log2_scale != 7.0


def test_three_scales_around_one_are_the_nearest_that_were_run():
    losses = [[9, 9], [9, 1], [9, 0], [9, 5], [9, 4], [9, 3]]
    probed = three_around(point_with(losses), 2.9)
    assert (probed.log2_scale, probed.jobs) == (1.0, 3 * 2 / 2)
    assert three_around(point_with(losses), -40.0).jobs == 1.0


@pytest.mark.parametrize(("shape", "told"), [((0, 0), False), ((3, 1), False), ((3, 2), True)])
def test_points_without_two_epochs_of_losses_are_told_apart(shape, told):
    assert has_losses(point_with(np.ones(shape))) == told
