"""Figure 10: flat multipliers of the inner layers against graduated ones, at the paper's rates, and each at its best.

The paper compares the sets at one base rate, so a set may win because that rate suits it. Beside the paper's
comparison each set is run over octaves of the rate, as many as its curve needs, and the sets are compared at the
octaves that their validation images choose, on test images.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.paper import figures
from benchmarks.paper.gains import MISSING, per_cent, shown_in
from benchmarks.paper.report import Report, median_told, table
from benchmarks.paper.results import Accuracy, Results
from benchmarks.paper.settings import HEADS, graduated_recipes
from benchmarks.paper.transfer import Pair, graduated_pairs_of

NAME = "graduated"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A set of multipliers on a pair.

    Attributes:
        pair: target and source.
        name: of the set, with its LL.
        at_base: at the paper's rates; None where it was not run.
        octaves: log2 of the factor on the paper's rates -> accuracies.
    """

    pair: Pair
    name: str
    at_base: Accuracy | None
    octaves: dict[float, Accuracy]

    @property
    def is_graduated(self) -> bool:
        """Whether its inner layers learn at several rates."""
        return self.name.startswith("graduated")

    @property
    def best(self) -> float:
        """The octave of the best validation accuracy; of several the one in their middle."""
        top = max(each.val for each in self.octaves.values())
        tied = sorted(octave for octave, each in self.octaves.items() if each.val == top)
        return tied[len(tied) // 2]


def curves_of(results: Results) -> list[Curve]:
    """Return the sets of all pairs that were run."""
    recipes = graduated_recipes(results.place.settings)
    found = []
    for pair in graduated_pairs_of(results.place):
        for name, recipe in recipes.items():
            task = f"{pair.target}-target"
            octaves = results.octaves(task, pair.source, recipe)
            if octaves:
                at_base = results.accuracy(task, pair.source, recipe)
                found.append(Curve(pair=pair, name=name, at_base=at_base, octaves=octaves))
    return found


def study(results: Results) -> Report:
    """Return figure 10, and the sets at their own best rates."""
    found = curves_of(results)
    title = "Figure 10: flat and graduated multipliers"
    if not found:
        return Report(name=NAME, title=title, lines=(MISSING,), numbers={"n": 0})
    at_base = differences(found, "at base")
    at_best = differences(found, "at best")
    words = [
        "Base rate 0.001; the text has LL 10, the caption 20. The paper: graduated is best. A comparison is a pair and "
        "an LL: the better graduated set against the best flat one, both chosen on validation images.",
        "",
        *_words("At the paper's rates", at_base),
        *_words("Each set at its own best rate", at_best),
        f"* The best rate lies at {_range([2.0**each.best for each in found])} times the paper's.",
    ]
    rows = [
        [
            f"{each.pair.target} from {each.pair.source}",
            each.name,
            *per_cent(each.at_base),
            f"{2.0**each.best:g}",
            *per_cent(each.octaves[each.best]),
            str(len(each.octaves)),
        ]
        for each in found
    ]
    heads = ["target and source", "set", "accuracy, %", "on test", "best rate, x", "accuracy there", "on test", "rates"]
    drawn = _figures(found)
    return Report(
        name=NAME,
        title=title,
        lines=(*words, "", *table(heads, rows), *shown_in(drawn)),
        figures=drawn,
        numbers={
            "n": len(at_base),
            "graduated_is_best": sum(each.val > 0 for each in at_base),
            "at_own_best": {"n": len(at_best), "test_points": [round(100 * each.test, 2) for each in at_best]},
        },
    )


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far the better graduated set of a pair and LL is above the best flat one, fractions."""

    pair: str
    val: float
    test: float


def differences(found: list[Curve], where: str) -> list[Difference]:
    """Return the difference for each pair and LL; the sets are chosen by validation.

    Args:
        found: sets of any pairs.
        where: "at base", at the paper's rates, or "at best", each set at its own best rate.
    """
    told = []
    for pair in dict.fromkeys(each.pair for each in found):
        for head in HEADS:
            members = [each for each in found if each.pair == pair and each.name.endswith(f"-head-{head:g}")]
            read = [(each, each.at_base if where == "at base" else each.octaves[each.best]) for each in members]
            sides = [
                [came for each, came in read if came is not None and each.is_graduated == is_graduated]
                for is_graduated in (True, False)
            ]
            if all(sides):
                graduated, flat = (max(side, key=lambda came: came.val) for side in sides)
                val, test = graduated.val - flat.val, graduated.test - flat.test
                told.append(Difference(pair=f"{pair.target} from {pair.source}", val=val, test=test))
    return told


def _words(where: str, told: list[Difference]) -> list[str]:
    if not told:
        return []
    pairs, test = [each.pair for each in told], [100 * each.test for each in told]
    return [
        f"* {where}: a graduated set is best on validation images in {sum(each.val > 0 for each in told)}, on test "
        f"images in {sum(each > 0 for each in test)} of {len(told)} comparisons; median difference on test "
        f"{median_told(test, unit=' points', groups=pairs)}, the interval over {len(set(pairs))} pairs."
    ]


def _range(values: list[float]) -> str:
    return f"{min(values):g} to {max(values):g} (median {np.median(values):g})"


def _figures(found: list[Curve]) -> dict[str, figures.Figure]:
    names = list(dict.fromkeys(each.name for each in found))
    series = {}
    for pair in dict.fromkeys(each.pair for each in found):
        by_name = {each.name: each.at_base for each in found if each.pair == pair}
        heights = [None if (came := by_name.get(name)) is None else 100 * came.val for name in names]
        series[f"{pair.target} from {pair.source}"] = heights
    return {"figure-10.png": figures.bars(names, series, what="accuracy, %")}
