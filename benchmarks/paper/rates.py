"""Tables 1 and 2 and figures 6 to 9: the rate of the last layer, and that of the inner ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from benchmarks.paper import figures
from benchmarks.paper.gains import MISSING, shown_in
from benchmarks.paper.report import Report, median_told, share_told, table
from benchmarks.paper.results import Accuracy, Results
from benchmarks.paper.settings import INNER, rates
from benchmarks.paper.transfer import Pair, pairs_of
from scalepred.predictor.honest import bootstrap_interval

NAME = "rates"
LOW, HIGH = INNER
TABLE_1 = {
    ("fabric", "garment"): (13.09, 11.33),
    ("tool", "weapon"): (14.54, 14.78),
    ("oxford", "plant"): (91.06, 73.17),
    ("food", "fruit"): (5.71, 5.07),
    ("fungus", "plant"): (13.12, 5.80),
    ("person", "food"): (4.49, 2.81),
    ("fruit", "garment"): (9.30, 10.50),
    ("music", "plant"): (15.37, 9.47),
}
"""(target, source) -> accuracy in per cent at LL 0.01 and 0.1, IL 0. Source: Dube et al. 2018, table 1."""
TABLE_2 = {
    ("fabric", "garment"): (0.0001, 0.0001, 0.00),
    ("tool", "weapon"): (0.0001, 0.1, -1.41),
    ("oxford", "plant"): (0.0001, 0.0001, -0.88),
    ("food", "fruit"): (0.01, 0.01, 0.98),
    ("fungus", "plant"): (0.01, 0.01, 0.78),
    ("person", "food"): (0.01, 0.01, -0.71),
    ("fruit", "garment"): (0.01, 0.01, -0.12),
    ("music", "plant"): (0.01, 0.01, -2.86),
}
"""(target, source) -> alpha at LL 0.01 and 0.1, and the difference of maxima. Source: Dube et al. 2018, table 2."""
PAPER_BETAS = (28.96, 83.52)
"""Their medians, per cent. Source: Dube et al. 2018, section 4.2."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A pair's accuracies over IL.

    Attributes:
        pair: target and source.
        by_outer: LL -> IL -> accuracies; a run that is not there is left out.
        images_per_label: of the target's training images.
        similarity: exp(-0.01 EMD) between the two, None where it is not there.
    """

    pair: Pair
    by_outer: dict[float, dict[float, Accuracy]]
    images_per_label: float
    similarity: float | None

    @property
    def name(self) -> str:
        """Return target and source in words."""
        return f"{self.pair.target} from {self.pair.source}"

    def at(self, inner: float) -> tuple[Accuracy, Accuracy]:
        """Return the accuracies at an IL, with LL 0.01 and 0.1."""
        return self.by_outer[LOW][inner], self.by_outer[HIGH][inner]

    @property
    def at_best(self) -> tuple[Accuracy, Accuracy]:
        """The accuracies at the best IL of each LL, 0.01 and 0.1."""
        return best(self.by_outer[LOW]), best(self.by_outer[HIGH])

    @property
    def is_whole(self) -> bool:
        """Whether all runs are there."""
        return all(len(self.by_outer[outer]) == len(inner) for outer, inner in INNER.items())


def curves_of(results: Results) -> list[Curves]:
    """Return the pairs of which all runs are there."""
    found = []
    for pair in pairs_of(results.place):
        task_name = f"{pair.target}-target"
        task = results.task(task_name)
        by_outer: dict[float, dict[float, Accuracy]] = {outer: {} for outer in INNER}
        for outer, some in INNER.items():
            for inner in some:
                came = results.accuracy(task_name, pair.source, rates(inner, outer, results.place.settings)[1])
                if came:
                    by_outer[outer][inner] = came
        per_label = task.n_train / task.n_classes if task else math.nan
        curves = Curves(
            pair=pair,
            by_outer=by_outer,
            images_per_label=per_label,
            similarity=results.similarity(task_name, pair.source),
        )
        found += [curves] if curves.is_whole else []
    return found


def beta(accuracies: dict[float, Accuracy]) -> float:
    """Return how far accuracy may vary with IL, in per cent of its least; infinite where that is 0.

    Source: Dube et al. 2018, equation 1: (max_m - min_m) / min_m x 100.
    """
    values = [each.val for each in accuracies.values()]
    return 100 * (max(values) - min(values)) / min(values) if min(values) else math.inf


def alpha(accuracies: dict[float, Accuracy]) -> float:
    """Return the IL of the best accuracy, the least of several. Source: Dube et al. 2018, section 4.2."""
    return max(accuracies, key=lambda inner: (accuracies[inner].val, -inner))


def best(accuracies: dict[float, Accuracy]) -> Accuracy:
    """Return the accuracies at the best IL."""
    return accuracies[alpha(accuracies)]


def study(results: Results) -> Report:
    """Return both tables and the four figures."""
    found = curves_of(results)
    title = "Tables 1 and 2, figures 6 to 9: the rates of the inner layers and the last"
    if not found:
        return Report(name=NAME, title=title, lines=(MISSING,), numbers={"n": 0})
    lines = [
        "Accuracy is that of the part that validates targets, as in the paper. Per cent.",
        "",
        "Table 1: IL 0.",
        "",
    ]
    lines += [*_table_1(found), "", "Table 2.", "", *_table_2(found), "", *_words(found)]
    drawn = _figures(found)
    lines += shown_in(drawn)
    medians = {f"beta_{outer:g}": _median([beta(each.by_outer[outer]) for each in found]) for outer in INNER}
    finite = {name: round(value, 1) if math.isfinite(value) else None for name, value in medians.items()}
    return Report(name=NAME, title=title, lines=tuple(lines), figures=drawn, numbers={"n": len(found), **finite})


def _table_1(found: list[Curves]) -> list[str]:
    rows = []
    for each in found:
        low, high = (each.by_outer[outer][0.0] for outer in INNER)
        theirs = TABLE_1.get((each.pair.target, each.pair.source))
        rows.append([each.name, *_both(low), *_both(high), _apart(low.val, high.val)])
        rows[-1] += [f"{theirs[0]:.2f}, {theirs[1]:.2f}" if theirs else ""]
    return table(["", "LL 0.01", "on test", "LL 0.1", "on test", "gain of the better", "the paper's two"], rows)


def _table_2(found: list[Curves]) -> list[str]:
    rows = []
    for each in found:
        low, high = (each.by_outer[outer] for outer in INNER)
        theirs = TABLE_2.get((each.pair.target, each.pair.source))
        rows.append(
            [
                each.name,
                "close" if each.pair.is_close else "far",
                "" if each.similarity is None else f"{each.similarity:.3f}",
                f"{each.images_per_label:.1f}",
                f"{alpha(low):g}",
                f"{alpha(high):g}",
                f"{100 * (best(high).val - best(low).val):+.2f}",
                f"{100 * (best(high).test - best(low).test):+.2f}",
                _finite(beta(low)),
                _finite(beta(high)),
                f"{theirs[0]:g}, {theirs[1]:g}, {theirs[2]:+.2f}" if theirs else "",
            ]
        )
    heads = ["", "set", "EMD similarity", "images per label", "alpha 0.01", "alpha 0.1", "max 0.1 - max 0.01"]
    return table([*heads, "the same on test", "beta 0.01", "beta 0.1", "the paper's alphas and difference"], rows)


def _words(found: list[Curves]) -> list[str]:
    low, high = ([beta(each.by_outer[outer]) for each in found] for outer in INNER)
    wider = [float(b > a) for a, b in zip(low, high, strict=True)]
    words = [
        f"* IL 0, LL 0.1 over 0.01, on test: {_apart_told([each.at(0.0) for each in found])} (the paper, on "
        f"validation: {sum(high > low for low, high in TABLE_1.values())} of {len(TABLE_1)}).",
        f"* The best IL each, LL 0.1 over 0.01, on test: {_apart_told([each.at_best for each in found])} (the paper, "
        f"on validation: {sum(apart > 0 for *_, apart in TABLE_2.values())} of {len(TABLE_2)}).",
        f"* Finetuned inner layers, the best IL and LL by validation, over frozen ones at the better LL, on test: "
        f"{_apart_told([(frozen_best(each), whole_best(each)) for each in found])}.",
        f"* Medians of beta: {_beta_told(low)} and {_beta_told(high)} (the paper: {PAPER_BETAS[0]} and "
        f"{PAPER_BETAS[1]} %); the second is larger in {share_told(wider)} of the pairs (the paper: 8 of 8).",
    ]
    for outer in INNER:
        pairs = [(each.images_per_label, alpha(each.by_outer[outer])) for each in found]
        words.append(f"* Rank correlation of alpha {outer:g} with images per label: {_spearman(pairs)}.")
    closeness = [(each.similarity, alpha(each.by_outer[LOW])) for each in found if each.similarity is not None]
    words.append(f"* Of alpha {LOW:g} with the EMD similarity: {_spearman(closeness)}.")
    return words


def frozen_best(curves: Curves) -> Accuracy:
    """Return the accuracies with the inner layers as they were, at the LL of the better validation."""
    return max((some[0.0] for some in curves.by_outer.values()), key=lambda each: each.val)


def whole_best(curves: Curves) -> Accuracy:
    """Return the accuracies at the IL above 0, and LL, of the best validation."""
    learning = [each for some in curves.by_outer.values() for inner, each in some.items() if inner]
    return max(learning, key=lambda each: each.val)


def _apart_told(pairs: Sequence[tuple[Accuracy, Accuracy]]) -> str:
    """Return how far the second of two accuracies is above the first, on test images."""
    apart = [100 * (second.test - first.test) for first, second in pairs]
    return f"above in {share_told(apart)}, median {median_told(apart, unit=' points')}"


def _beta_told(betas: Sequence[float]) -> str:
    finite = [each for each in betas if math.isfinite(each)]
    left = len(betas) - len(finite)
    return median_told(finite) + (f", and {left} without, their least being 0" if left else "") if finite else "none"


def _spearman(pairs: list[tuple[float, float]]) -> str:
    if len(pairs) < 3 or any(len({pair[at] for pair in pairs}) < 2 for at in (0, 1)):
        return f"none, since there are fewer than three pairs or one of the two never changes (n = {len(pairs)})"
    numbers = np.array(pairs)
    low, high = bootstrap_interval(numbers, [str(at) for at in range(len(pairs))], _rank_correlation, seed=0)
    interval = "" if math.isnan(low) else f"{low:+.2f} to {high:+.2f}, "
    p = spearmanr(numbers[:, 0], numbers[:, 1]).pvalue
    return f"{_rank_correlation(numbers):+.2f} ({interval}p = {p:.2f}, n = {len(pairs)})"


def _rank_correlation(pairs: np.ndarray) -> float:
    """Return Spearman's of (n, 2) numbers, NaN where one of the two never changes."""
    if any(len(np.unique(column)) < 2 for column in pairs.T):
        return math.nan
    return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def _figures(found: list[Curves]) -> dict[str, Figure]:
    drawn = {}
    ticks = {f"LL {outer:g}": [f"{inner:g}" for inner in some] for outer, some in INNER.items()}
    for number, is_close in ((6, True), (7, False)):
        some = [each for each in found if each.pair.is_close == is_close]
        panels = {
            f"LL {outer:g}": {each.name: [100 * a.val for a in each.by_outer[outer].values()] for each in some}
            for outer in INNER
        }
        if some:
            drawn[f"figure-{number}.png"] = figures.lines(panels, ticks)
    names = [each.name for each in found]
    betas = {
        f"LL {outer:g}": [b if math.isfinite(b := beta(each.by_outer[outer])) else None for each in found]
        for outer in INNER
    }
    drawn["figure-8.png"] = figures.bars(names, betas, what="beta, %")
    points = {f"LL {o:g}": [(each.images_per_label, alpha(each.by_outer[o])) for each in found] for o in INNER}
    drawn["figure-9.png"] = figures.scatter(points, x="images per label", y="alpha")
    return drawn


def _both(accuracy: Accuracy) -> tuple[str, str]:
    return f"{100 * accuracy.val:.1f}", f"{100 * accuracy.test:.1f}"


def _apart(one: float, other: float) -> str:
    low, high = sorted((one, other))
    return f"{100 * (high - low) / low:.0f} %" if low else ""


def _finite(value: float) -> str:
    return f"{value:.0f} %" if math.isfinite(value) else "none (least 0)"


def _median(values: list[float]) -> float:
    return float(np.median(values))
