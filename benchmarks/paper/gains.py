"""Figures 1 and 2: what more data gains, and what a source gains over noise."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from benchmarks.paper import figures
from benchmarks.paper.report import Report, median_told, share_told, table
from benchmarks.paper.results import Accuracy, Results
from benchmarks.paper.settings import whole_recipe
from benchmarks.paper.transfer import RANDOM, cells_of

MISSING = "No run of this study is in the warehouse yet."


def per_cent(accuracy: Accuracy | None) -> tuple[str, str]:
    """Return validation and test accuracy in words, blank where there is no run."""
    return ("", "") if accuracy is None else (f"{100 * accuracy.val:.1f}", f"{100 * accuracy.test:.1f}")


def gain(above: Accuracy | None, below: Accuracy | None) -> float | None:
    """Return by how many per cent of the second the first's validation accuracy is above it; None without either."""
    if above is None or below is None or not below.val:
        return None
    return 100 * (above.val - below.val) / below.val


def signed(value: float | None) -> str:
    """Return a gain in words, blank where there is none."""
    return "" if value is None else f"{value:+.0f} %"


def shown_in(drawn: Mapping[str, Figure]) -> list[str]:
    """Return the lines that show figures."""
    return ["", *(f"![{file.removesuffix('.png').replace('-', ' ')}]({file})" for file in drawn)]


def size_study(results: Results) -> Report:
    """Return figure 1: the same network from noise on a tenth of a part of each domain, and on all of it."""
    (recipe,) = whole_recipe(results.place.settings).values()
    names = list(dict.fromkeys(cell.task.rpartition("-")[0] for cell in cells_of("size", results.place)))
    small, large = (
        [results.accuracy(f"{name}-{part}", RANDOM, recipe) for name in names] for part in ("target", "large")
    )
    gains = [gain(more, less) for more, less in zip(large, small, strict=True)]
    rows = [
        [name, *per_cent(less), *per_cent(more), signed(each)]
        for name, less, more, each in zip(names, small, large, gains, strict=True)
        if less and more
    ]
    there = [each for each in gains if each is not None]
    heads = ["domain", "a tenth, %", "on test", "all, %", "on test", "gain"]
    shown = {
        label: [None if each is None else 100 * each.val for each in some]
        for label, some in (("a tenth", small), ("all", large))
    }
    told = table(heads, rows) if rows else [MISSING]
    drawn = {"figure-1.png": figures.bars(names, shown, what="accuracy, %")} if rows else {}
    return Report(
        name="size",
        title="Figure 1: accuracy and the size of the data",
        lines=(
            "The network starts from noise; all layers learn at 0.01. The paper draws its figure without numbers.",
            *([f"Median gain: {median_told(there)}."] if there else []),
            "",
            *told,
            *shown_in(drawn),
        ),
        figures=drawn,
        numbers={"n": len(rows), "gains": [round(each, 1) for each in there]},
    )


def source_study(results: Results) -> Report:
    """Return figure 2: one target from each source, as gains over a random start."""
    (recipe,) = whole_recipe(results.place.settings).values()
    rows, labels, gains = [], [], []
    for cell in cells_of("source", results.place):
        start = results.accuracy(cell.task, RANDOM, recipe)
        came = results.accuracy(cell.task, cell.source, recipe)
        if came is None:
            continue
        each = gain(came, start)
        rows.append([cell.task, cell.source, *per_cent(came), "" if cell.source == RANDOM else signed(each)])
        if cell.source != RANDOM:
            labels.append(f"{cell.task} from {cell.source}")
            gains.append(each)
    heads = ["target", "source", "accuracy, %", "on test", "gain over the random start"]
    told = table(heads, rows) if rows else [MISSING]
    drawn = (
        {"figure-2.png": figures.bars(labels, {"gain": gains}, what="gain over the random start, %")} if rows else {}
    )
    return Report(
        name="source",
        title="Figure 2: accuracy and the source",
        lines=(
            "All layers learn at 0.01, also from noise. The paper's gains go from -8 % to +67 % for tools.",
            *_above(gains),
            "",
            *told,
            *shown_in(drawn),
        ),
        figures=drawn,
        numbers={"n": len(labels), "gains": [None if each is None else round(each, 1) for each in gains]},
    )


def _above(gains: Sequence[float | None]) -> list[str]:
    known = [each for each in gains if each is not None]
    if not known:
        return []
    return [f"From {min(known):+.0f} % to {max(known):+.0f} %; above the random start in {share_told(known)}."]
