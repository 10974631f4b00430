"""The numbers behind reports: label errors and confusions as plain loops have them, and plots."""

import math

import numpy as np
import pytest

from scalepred.job.paired import wilson
from scalepred.job.report_chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Series, chart, linear, logarithmic
from scalepred.job.scored import (
    Scored,
    class_rows,
    confident_mistakes,
    confusion,
    least_certain,
    majority,
    most_confused,
)
from scalepred.job.suspects import label_suspects


def slow_suspects(probabilities, labels):
    """Return (row, suggested) of confident learning as a plain loop has them."""
    k = probabilities.shape[1]
    thresholds = []
    for j in range(k):
        own = [row[j] for row, label in zip(probabilities, labels, strict=True) if label == j]
        thresholds.append(sum(own) / len(own) if own else math.inf)
    found = []
    for at, (row, label) in enumerate(zip(probabilities, labels, strict=True)):
        counting = [j for j in range(k) if row[j] >= thresholds[j] - 1e-12]
        if not counting:
            continue
        best = max(counting, key=lambda j: (row[j], -j))
        if best != label and row.argmax() != label:
            found.append((row[label] - row[best], at, best))
    return [(at, best) for _, at, best in sorted(found)]


def judged(n=200, k=4, n_wrong=12, seed=0):
    """Return probabilities that know the true classes, and labels of which the first few are wrong."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, k, n)
    sure = np.where(np.arange(n) < n_wrong, 0.95, 0.6)[:, None]
    probabilities = (1 - sure) * rng.dirichlet(np.ones(k), n) + sure * np.eye(k)[true]
    labels = true.copy()
    labels[:n_wrong] = (labels[:n_wrong] + 1) % k
    return probabilities, labels


@pytest.mark.parametrize("seed", range(5))
def test_suspects_are_those_of_a_plain_loop_in_the_same_order(seed):
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.dirichlet(np.full(5, 0.4), 80), rng.integers(0, 4, 80)  # nobody is of the last class
    assert [(each.row, each.suggested) for each in label_suspects(probabilities, labels)] == slow_suspects(
        probabilities, labels
    )


def test_labels_that_were_made_wrong_are_found_and_no_others():
    probabilities, labels = judged()
    found = [each.row for each in label_suspects(probabilities, labels)]
    assert sorted(found) == list(range(12))


def test_right_labels_are_not_suspected():
    probabilities, labels = judged(n_wrong=0)
    assert label_suspects(probabilities, labels) == []


def scored(probabilities, labels):
    n, k = probabilities.shape
    return Scored(
        classes=tuple("abcdef"[:k]),
        labels=labels,
        probabilities=probabilities,
        images=np.zeros((n, 3, 8, 8), np.uint8),
        paths=tuple(map(str, range(n))),
        split="test",
    )


def test_a_confusion_matrix_counts_labels_down_and_predictions_across():
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 0, 2])
    matrix = confusion(labels, predicted, n_classes=4)
    assert matrix.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [2, 0, 1, 0], [0, 0, 0, 0]]
    first, second, third, none = class_rows(matrix, "abcd")
    assert (first.recall, first.precision, first.n, first.n_predicted) == (1 / 2, 1 / 3, 2, 3)
    assert first.recall_interval == wilson(1, 2)
    assert second.precision_interval == wilson(1, 2)
    assert (third.recall, third.precision) == (1 / 3, 1.0)
    assert (none.recall, none.precision, none.recall_interval, none.n) == (None, None, None, 0)
    assert [(pair.label, pair.predicted, pair.n, pair.share) for pair in most_confused(matrix, "abcd", most=9)] == [
        ("c", "a", 2, 2 / 3),
        ("a", "b", 1, 1 / 2),
    ]


def test_nothing_is_said_of_a_class_without_images_though_some_are_taken_for_it():
    matrix = confusion(np.array([0, 0, 0]), np.array([0, 1, 1]), n_classes=2)
    none = class_rows(matrix, "ab")[1]
    assert (none.n, none.n_predicted, none.recall) == (0, 2, None)
    assert (none.precision, none.precision_interval) == (None, None)


def test_mistakes_are_the_surest_wrong_ones_and_uncertain_ones_the_nearest():
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.51, 0.49]])
    images = scored(probabilities, np.array([1, 1, 1, 0]))
    assert confident_mistakes(images, most=9) == [0, 1]
    assert least_certain(images, most=2) == [3, 1]


def test_the_largest_class_is_that_of_training_images():
    assert majority(np.array([0, 1, 1]), np.array([0, 0, 0, 1])) == 0.25


# --- plots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [[0.0, 1.0], [3.2, 3.2], [0.0], [1e-7, 2e-7], [-5.0, 12345.0], [math.nan, math.inf], []]
)
@pytest.mark.parametrize("from_zero", [False, True])
def test_a_linear_axis_holds_its_values_between_round_ends(values, from_zero):
    axis = linear("x", values, from_zero=from_zero)
    known = [value for value in values if math.isfinite(value)]
    assert all(-1e-6 <= axis.share(value) <= 1 + 1e-6 for value in known)
    assert list(axis.ticks) == sorted(set(axis.ticks))
    assert 2 <= len(axis.ticks) <= 9


@pytest.mark.parametrize("values", [[0.25, 10.0], [1.0], [1e-6, 0.1], [0.0, -1.0, math.inf, 2.0], []])
@pytest.mark.parametrize("base", [2, 10])
def test_a_logarithmic_axis_holds_its_values_between_powers(values, base):
    axis = logarithmic("x", values, base=base)
    known = [value for value in values if math.isfinite(value) and value > 0]
    assert all(-1e-6 <= axis.share(value) <= 1 + 1e-6 for value in known)
    assert math.log(axis.low, base) == pytest.approx(round(math.log(axis.low, base)))
    assert axis.high > axis.low


@pytest.mark.parametrize("base", [2, 10])
def test_a_plot_takes_values_next_to_nothing_and_to_infinity_and_leaves_them_out(base):
    values = [5e-324, 1e-320, 1e-3, 1.0, 1.7e308]
    series = Series(name="a", points=[(float(at), value) for at, value in enumerate(values)], has_marks=True)
    y = logarithmic("y", values, base=base)
    assert len(chart("t", [series], x=linear("x", [0, 5]), y=y).series[0].marks) == 2
    assert 0 < y.low <= 1e-3
    assert logarithmic("y", [1e-320], base=base).share(1.0) == 0
    assert logarithmic("y", [1e-290, 1e290], base=base).share(1.0) == pytest.approx(0.5, abs=1e-2)


def test_a_plot_puts_points_where_their_values_are_and_leaves_out_those_without_a_place():
    series = Series(name="a", points=[(1, 0), (4, 1), (16, 0.5), (0, 1), (2, math.nan), (4, 3)], has_marks=True)
    plot = chart(
        "t", [series], x=logarithmic("x", [1, 16], base=2), y=linear("y", [0, 1]), upright=[(4, "here"), (-1, "")]
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    assert plot.series[0].marks == (
        (LEFT, HEIGHT - BOTTOM),
        (middle, TOP),
        (WIDTH - RIGHT, (TOP + HEIGHT - BOTTOM) / 2),
    )
    assert plot.series[0].line == " ".join(f"{a:g},{b:g}" for a, b in plot.series[0].marks)
    assert [(tick.at, tick.words) for tick in plot.upright] == [(middle, "here")]
