"""Section 4.3's study: baseline, most frequent scale and best of eleven, as the paper reads them, and honestly.

The paper splits each task 80/20, chooses the scale on the 20 % and reads the accuracy on the same images. Our tasks
have these 80/20 as training and validation images, and further images for test, which the paper has not. So its
protocol is emulated exactly on the validation images: chosen there, read there. The honest version chooses on the same
validation images and reads on the test images; what holds of other tasks, such as the most frequent scale, is chosen
without the tasks of the same origin.
"""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.paper.grids import Grids, Rows, read_grids
from benchmarks.paper.report import Report, percent, table
from scalepred.predictor.honest import bootstrap_interval
from scalepred.predictor.targets import TIE, best_fixed_scale, most_frequent_best, naive_best
from scalepred.recipe import GRID
from scalepred.records import TaskRecord

NAME = "scales"
PAPER = {"baseline": 0.781, "most frequent scale": 0.797, "best of eleven": 0.880}
"""Source: Dube et al. 2018, section 4.3."""
PAPER_GAIN = PAPER["best of eleven"] - PAPER["most frequent scale"]
PAPER_SCALE = 0.25
N_TASKS, N_IMAGES = 70, 250
"""The paper's tasks, and the mean of their images."""
BASELINE, FREQUENT, BEST = PAPER
FIXED = "best fixed scale"


def study(rows: Rows, *, at_least: int = N_TASKS) -> Report:
    """Return the study of every source and recipe with so many tasks, and of the largest one's most similar tasks."""
    groups = [grids for grids in read_grids(rows) if len(grids.tasks) >= at_least]
    lines = [__doc__.partition("\n\n")[2].strip() if __doc__ else "", ""]
    numbers, named = {}, []
    if groups and (alike := like_the_papers(groups[0].tasks, n=at_least)):
        named.append((f"{groups[0].name}, tasks like the paper's", groups[0].rows(alike)))
    named += [(grids.name, grids) for grids in groups]
    for name, grids in named:
        lines += section(name, grids)
        numbers[name] = as_numbers(grids)
    if not groups:
        lines.append(f"No source and recipe has the whole grid of {at_least} tasks or more yet.")
    figures = {"scales.png": draw(named)} if named else {}
    return Report(
        name=NAME,
        title="Section 4.3: the best of eleven scales",
        lines=(*lines, *(f"![mean accuracy by scale]({file})" for file in figures)),
        figures=figures,
        numbers={"groups": numbers},
    )


def like_the_papers(tasks: Sequence[TaskRecord], *, n: int = N_TASKS) -> list[int]:
    """Return ``n`` rows of the largest tasks or more: those that bring their mean of images next to the paper's 250."""
    sizes = np.array([task.n_train + task.n_val for task in tasks], dtype=np.float64)
    order = np.argsort(-sizes, kind="stable")
    means = np.cumsum(sizes[order]) / np.arange(1, len(sizes) + 1)
    if len(tasks) < n:
        return []
    count = n + int(np.argmin(np.abs(means[n - 1 :] - N_IMAGES)))
    return sorted(order[:count].tolist())


def as_the_paper(grids: Grids) -> dict[str, np.ndarray]:
    """Return what -> (n,) accuracies, chosen and read on the same validation images."""
    frequent, fixed = most_frequent_best(grids.val), best_fixed_scale(grids.val, GRID)
    return {
        BASELINE: grids.baseline_val,
        FREQUENT: grids.val[:, frequent],
        BEST: naive_best(grids.val),
        FIXED: grids.val[:, fixed],
    }


def honest(grids: Grids) -> dict[str, np.ndarray]:
    """Return what -> (n,) accuracies on test images, chosen on validation images, and on other origins' alone."""
    return {
        BASELINE: grids.baseline_test,
        FREQUENT: _held_out(grids, most_frequent_best),
        BEST: searched(grids.val, grids.test),
        FIXED: _held_out(grids, lambda val: best_fixed_scale(val, GRID)),
    }


def searched(val: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return (n,) the test accuracy of what is best on validation, the mean over scales that tie."""
    best = val >= naive_best(val)[:, None] - TIE
    return np.asarray((best * test).sum(axis=1) / best.sum(axis=1))


def _held_out(grids: Grids, choose: Callable[[np.ndarray], int]) -> np.ndarray:
    """Return (n,) test accuracies at the scale that the validation images of all other origins choose."""
    origins = np.array(grids.origins)
    columns = np.zeros(len(origins), dtype=np.int64)
    for origin in np.unique(origins):
        others = grids.val[origins != origin]
        columns[origins == origin] = choose(others if len(others) else grids.val)
    return np.asarray(grids.test[np.arange(len(origins)), columns])


def share_kept(grids: Grids) -> tuple[float, float, float]:
    """Return which part of the paper's kind of gain an unbiased reading keeps, and its 95 % interval over origins.

    Gain of the best of eleven over the most frequent scale: on test images, of what was chosen on validation images,
    by that on the validation images themselves. A ratio of sums over tasks.
    """
    naive, fair = as_the_paper(grids), honest(grids)
    gains = np.stack([fair[BEST] - fair[FREQUENT], naive[BEST] - naive[FREQUENT]], axis=1)
    low, high = bootstrap_interval(gains, grids.origins, _ratio, seed=0)
    return _ratio(gains), low, high


def _ratio(gains: np.ndarray) -> float:
    above, below = gains.sum(axis=0)
    return float(above / below) if below > TIE else float("nan")


def section(name: str, grids: Grids) -> list[str]:
    """Return a group's part of the report."""
    naive, fair = as_the_paper(grids), honest(grids)
    sizes = np.array([task.n_train + task.n_val for task in grids.tasks])
    classes = np.array([task.n_classes for task in grids.tasks])
    val_images = np.array([task.n_val for task in grids.tasks])
    rows = [
        [
            what,
            f"{100 * PAPER[what]:.1f}" if what in PAPER else "",
            *(percent(some[what], grids.origins) for some in (naive, fair)),
        ]
        for what in fair
    ]
    for other, paper in ((FREQUENT, f"{100 * PAPER_GAIN:+.1f}"), (FIXED, "")):
        gains = [percent(some[BEST] - some[other], grids.origins, sign="+") for some in (naive, fair)]
        rows.append([f"{BEST} - {other}", paper, *gains])
    share, low, high = share_kept(grids)
    frequent = GRID[most_frequent_best(grids.val)]
    return [
        f"### {name}",
        "",
        f"{len(grids.tasks)} tasks of {len(set(grids.origins))} origins, one seed; in the mean {sizes.mean():.0f} "
        f"images to learn and validate, {val_images.mean():.0f} of which validate, and {classes.mean():.1f} classes. "
        "Accuracies in per cent, with 95 % intervals over origins.",
        "",
        *table(["", "the paper", "as the paper", "honest"], rows),
        "",
        f"The most frequent best scale is {frequent:g} (the paper's: {PAPER_SCALE:g}). An unbiased reading keeps "
        f"{100 * share:.0f} % ({100 * low:.0f} to {100 * high:.0f}) of the gain that the best of eleven shows on the "
        f"images that chose it: of the paper's {100 * PAPER_GAIN:.1f} points that would be "
        f"{100 * PAPER_GAIN * share:.1f} ({100 * PAPER_GAIN * low:.1f} to {100 * PAPER_GAIN * high:.1f}).",
        "",
    ]


def as_numbers(grids: Grids) -> dict[str, float]:
    """Return a group's figures for the line of JSON."""
    share, low, high = share_kept(grids)
    means = {
        f"{way}: {what}": round(float(values.mean()), 4)
        for way, some in (("as the paper", as_the_paper(grids)), ("honest", honest(grids)))
        for what, values in some.items()
    }
    return {"n": len(grids.tasks), **means, "kept": round(share, 3), "low": round(low, 3), "high": round(high, 3)}


def draw(named: Sequence[tuple[str, Grids]]) -> Figure:
    """Draw mean validation and test accuracy by scale, and how often each scale is best on validation."""
    figure = Figure(figsize=(9, 2.8 * len(named)), layout="constrained")
    for (name, grids), (left, right) in zip(named, figure.subplots(len(named), 2, squeeze=False), strict=True):
        for label, values in (("validation", grids.val), ("test", grids.test)):
            left.plot(range(len(GRID)), 100 * values.mean(axis=0), marker="o", label=label)
        left.set(title=name, ylabel="mean accuracy, %", xlabel="scale")
        left.legend()
        best = grids.val >= naive_best(grids.val)[:, None] - TIE
        right.bar(range(len(GRID)), 100 * (best / best.sum(axis=1, keepdims=True)).mean(axis=0))
        right.set(ylabel="best on validation, % of tasks", xlabel="scale")
        for axis in (left, right):
            axis.set_xticks(range(len(GRID)), [f"{scale:g}" for scale in GRID])
    return figure
