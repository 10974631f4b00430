"""Calibration: temperatures are found, errors are those of a plain loop, scores are of other images."""

import math

import numpy as np
import pytest

from scalepred.training.calibration import (
    FEWEST,
    HIGHEST,
    N_BINS,
    Calibration,
    calibrate,
    fit_temperature,
    log_loss,
    quality_of,
)


def drawn(n=20_000, n_classes=4, *, stretched=3.0, seed=0):
    """Return logits that are too large by a known factor, and labels drawn from the right probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, n_classes))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return (stretched * logits).astype(np.float32), np.minimum(labels, n_classes - 1)


def slow_quality(logits, labels):
    """Return log loss and ECE as a plain loop over images and bins of (0, 1] has them."""
    loss, sums = 0.0, [[0, 0.0, 0] for _ in range(N_BINS)]
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        total = sum(math.exp(value - max(row)) for value in row)
        shares = [math.exp(value - max(row)) / total for value in row]
        loss -= math.log(shares[label])
        top = max(shares)
        for at, each in enumerate(sums):
            if at / N_BINS < top <= (at + 1) / N_BINS:
                each[0] += 1
                each[1] += top
                each[2] += shares.index(top) == label
    n = len(labels)
    return loss / n, sum(abs(right - confidence) for count, confidence, right in sums if count) / n


@pytest.mark.parametrize("stretched", [0.4, 1.0, 3.0])
def test_the_temperature_is_the_factor_that_logits_are_too_large_by(stretched):
    temperature, note = fit_temperature(*drawn(stretched=stretched))
    assert note == ""
    assert temperature == pytest.approx(stretched, rel=0.03)


@pytest.mark.parametrize("spread", [math.inf, 1.0, 0.2])
def test_no_other_temperature_has_less_log_loss_and_distance_from_one(spread):
    logits, labels = drawn(n=30)

    def cost(temperature):
        return 30 * log_loss(logits / temperature, labels) + 0.5 * (math.log(temperature) / spread) ** 2

    temperature, _ = fit_temperature(logits, labels, spread=spread)
    assert cost(temperature) <= min(map(cost, np.geomspace(0.1, 10, 500))) + 1e-5


def test_few_images_give_a_milder_temperature_than_the_plain_fit():
    labels = np.arange(12) % 3
    logits = 0.6 * np.eye(3)[np.where(np.arange(12) == 5, (labels + 1) % 3, labels)]  # unsure, and right but once
    plain, _ = fit_temperature(logits, labels, spread=math.inf)
    assert plain == pytest.approx(0.6 / math.log(22), rel=1e-3)  # so that 11 of 12 have a probability of 11/12
    assert 1.1 * plain < fit_temperature(logits, labels)[0] < 1


def test_log_loss_and_calibration_error_are_those_of_a_plain_loop():
    logits, labels = drawn(n=500, n_classes=7)
    quality = quality_of(logits, labels)
    assert (quality.log_loss, quality.ece) == pytest.approx(slow_quality(logits.astype(np.float64), labels), rel=1e-9)
    assert sum(each.n for each in quality.bins) == 500


def test_a_network_that_is_sure_and_right_half_of_the_time_has_an_error_of_a_half():
    logits = np.array([[100.0, 0.0]] * 20)
    labels = np.array([0, 1] * 10)
    assert quality_of(logits, labels).ece == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("logits", "labels", "note"),
    [
        (np.eye(2)[[1] * 5], [0, 1, 0, 1, 0], f"a temperature takes {FEWEST} held-out images, and there are 5"),
        (np.eye(2)[[1] * 12], [0] * 12, "the held-out images are of one class"),
        (
            np.eye(2)[[0, 1] * 10],
            [0, 1] * 10,
            "all 20 held-out images are right, so nothing tells how sure is too sure",
        ),
    ],
)
def test_without_enough_to_go_by_the_temperature_stays_one_and_it_says_why(logits, labels, note):
    result = calibrate({"test": (logits, np.array(labels))})
    assert (result.temperature, result.note, result.fitted_on, result.n_fitted) == (1.0, note, None, 0)
    assert result.before == result.after
    assert not result.is_cross_fitted


def test_a_temperature_stays_within_its_bounds():
    labels = np.array([0, 1] * 20)
    wrong = 50 * np.eye(2)[1 - labels]
    assert fit_temperature(wrong, labels)[0] == pytest.approx(HIGHEST, rel=0.01)


def test_it_is_fitted_on_validation_and_scored_on_test_images_where_there_are_both():
    val, test = drawn(n=400, seed=1), drawn(n=600, seed=2)
    result = calibrate({"val": val, "test": test})
    assert (result.fitted_on, result.n_fitted, result.scored_on, result.n_scored) == ("val", 400, "test", 600)
    assert not result.is_cross_fitted
    assert result.temperature == fit_temperature(*val)[0]
    assert result.after.log_loss == pytest.approx(log_loss(test[0] / result.temperature, test[1]))


def test_of_test_images_alone_each_is_scored_with_a_temperature_of_others():
    logits, labels = drawn(n=60)
    result = calibrate({"test": (logits, labels)})
    assert result.is_cross_fitted
    assert result.temperature == fit_temperature(logits, labels)[0]
    flattered = quality_of(logits / result.temperature, labels)
    assert flattered.log_loss < result.after.log_loss < result.before.log_loss
    folds = np.random.default_rng(0).permutation(60) % 5
    losses = [
        log_loss(logits[folds == fold] / fit_temperature(logits[folds != fold], labels[folds != fold])[0], held_labels)
        for fold in range(5)
        for held_labels in [labels[folds == fold]]
    ]
    assert result.after.log_loss == pytest.approx(np.mean(losses))


def test_few_validation_images_leave_the_fit_to_the_test_images():
    result = calibrate({"val": drawn(n=FEWEST - 1), "test": drawn(n=40)})
    assert (result.fitted_on, result.is_cross_fitted) == ("test", True)


def test_calibrating_lowers_both_errors_of_an_overconfident_network_on_new_images():
    result = calibrate({"test": drawn(n=500)})
    assert result.after.log_loss < result.before.log_loss - 0.1
    assert result.after.ece < result.before.ece / 2


def test_nothing_held_out_and_outputs_that_are_not_finite_leave_the_temperature_at_one():
    assert calibrate({}) == Calibration(note="no image is held out to fit a temperature on")
    logits, labels = drawn(n=20)
    logits[3, 1] = np.inf
    assert calibrate({"test": (logits, labels)}) == Calibration(note="some outputs of the network are not finite")


def test_its_json_has_these_fields():
    values = calibrate({"test": drawn(n=50)}).to_json()
    assert {name for name, value in values.items() if value is None} == set()
    assert list(values) == [
        *("temperature", "fitted_on", "n_fitted", "scored_on", "n_scored"),
        *("cross_fitted", "bins", "before", "after", "note"),
    ]
    assert list(values["before"]) == ["log_loss", "ece"]
