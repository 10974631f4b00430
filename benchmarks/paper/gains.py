"""Figures 1, 2 and 10: what more data gains, what a source gains over noise, and flat against graduated rates."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from benchmarks.paper import figures
from benchmarks.paper.report import Report, table
from benchmarks.paper.results import Accuracy, Results
from benchmarks.paper.settings import HEADS, graduated_recipes, whole_recipe
from benchmarks.paper.transfer import RANDOM, cells_of, graduated_pairs_of

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
            "",
            *told,
            *shown_in(drawn),
        ),
        figures=drawn,
        numbers={"n": len(labels), "gains": [None if each is None else round(each, 1) for each in gains]},
    )


def graduated_study(results: Results) -> Report:
    """Return figure 10: flat multipliers of the inner layers against graduated ones, LL 10 and 20."""
    recipes = graduated_recipes(results.place.settings)
    rows, series = [], {}
    best: list[bool] = []
    for pair in graduated_pairs_of(results.place):
        came = {name: results.accuracy(f"{pair.target}-target", pair.source, r) for name, r in recipes.items()}
        rows += [[f"{pair.target} from {pair.source}", name, *per_cent(each)] for name, each in came.items() if each]
        series[f"{pair.target} from {pair.source}"] = [
            None if each is None else 100 * each.val for each in came.values()
        ]
        for head in HEADS:
            of_head = {name: each.val for name, each in came.items() if each and name.endswith(f"-head-{head:g}")}
            if of_head:
                best.append(max(of_head, key=lambda name: of_head[name]).startswith("graduated"))
    words = (
        f"A graduated set is best in {sum(best)} of {len(best)} comparisons (a pair and an LL each)." if best else ""
    )
    told = table(["target and source", "recipe", "accuracy, %", "on test"], rows) if rows else [MISSING]
    drawn = {"figure-10.png": figures.bars(list(recipes), series, what="accuracy, %")} if rows else {}
    return Report(
        name="graduated",
        title="Figure 10: flat and graduated multipliers",
        lines=(
            f"Base rate 0.001; the text has LL 10, the caption 20. The paper: graduated is best. {words}".rstrip(),
            "",
            *told,
            *shown_in(drawn),
        ),
        figures=drawn,
        numbers={"n": len(best), "graduated_is_best": sum(best)},
    )
