"""From the raw measurements of `bench_harvest` to its numbers and its table; knows no process and no network."""

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.bundle import Outcome
from scalepred.recipe import GRID

CONTENDERS = ("plain", "peer", "scalepred")
RATIOS = (("plain", "scalepred"), ("peer", "scalepred"))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One repeat of one contender on one bundle.

    Attributes:
        wall_seconds: from the command's start to its end.
        peak_bytes: the most memory of all its processes at once, None if not looked at.
        largest_bytes: the most memory of a single process, None if not looked at.
        outcomes: its finetunes.
        n_processes: how many processes trained at once.
        dtypes: what they computed in; rivals and roof always in float32.
    """

    wall_seconds: float
    peak_bytes: int | None
    outcomes: tuple[Outcome, ...]
    n_processes: int = 1
    dtypes: tuple[str, ...] = ("float32",)
    largest_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """All repeats of a bundle: contender -> its repeats, in the order they were made."""

    task: str
    source: str
    n_classes: int
    n_train: int
    repeats: Mapping[str, Sequence[Measured]]


Roofs = Mapping[tuple[str, int, int], Sequence[float]]
"""(source, processes, threads of each) -> images per second, one for each repeat."""


def bundle_numbers(bundle: Measurements, *, epochs: int, roofs: Roofs, n_cores: int) -> dict[str, Any]:
    """Return the numbers of one bundle: of each contender, their ratios and differences, and the share of the roof."""
    repeats = bundle.repeats
    tests = {name: test_accuracies(measured) for name, measured in repeats.items()}
    return {
        "task": bundle.task,
        "source": bundle.source,
        "n_classes": bundle.n_classes,
        "n_train": bundle.n_train,
        "contenders": {name: contender_numbers(measured) for name, measured in repeats.items()},
        "ratios": {
            f"{slow}/{fast}": spread(
                [a.wall_seconds / b.wall_seconds for a, b in zip(repeats[slow], repeats[fast], strict=True)]
            )
            for slow, fast in RATIOS
            if slow in repeats
        },
        "mean_absolute_differences": {
            f"{one}-{other}": mean_difference(tests[one], tests[other])
            for one, other in itertools.combinations(repeats, 2)
        },
        "roof": roof_numbers(bundle, epochs=epochs, roofs=roofs, n_cores=n_cores),
    }


def contender_numbers(measured: Sequence[Measured]) -> dict[str, Any]:
    """Return a contender's times, memory and accuracies; accuracies are means of the runs that did not diverge."""
    tests = test_accuracies(measured)
    fine = [accuracy for accuracy in tests.values() if accuracy is not None]
    peaks = [each.peak_bytes for each in measured if each.peak_bytes is not None]
    return {
        "wall_seconds": spread([each.wall_seconds for each in measured]),
        "peak_mib": round(max(peaks) / 2**20) if peaks else None,
        "mean_test_accuracy": statistics.fmean(fine) if fine else None,
        "n_runs": len(tests),
        "n_diverged": len(tests) - len(fine),
        "seed_noise": seed_noise(tests),
        "test_accuracies": [
            {"scale": scale, "seed": seed, "test_accuracy": tests[scale, seed]} for scale, seed in tests
        ],
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return n, median, range, and the values in order."""
    return {
        "n": len(values),
        "median": statistics.median(values),
        "range": [min(values), max(values)],
        "values": list(values),
    }


def test_accuracies(measured: Sequence[Measured]) -> dict[tuple[float | None, int], float | None]:
    """Return (scale, seed) -> mean test accuracy over the repeats, None if it diverged in any."""
    by_point: dict[tuple[float | None, int], list[float | None]] = {}
    for each in measured:
        for outcome in each.outcomes:
            by_point.setdefault((outcome.scale, outcome.seed), []).append(outcome.test_accuracy)
    return {
        key: None if None in values else statistics.fmean(value for value in values if value is not None)
        for key, values in by_point.items()
    }


def mean_difference(one: Mapping[Any, float | None], other: Mapping[Any, float | None]) -> float | None:
    """Return the mean absolute difference over the runs that both finished, or None if there is none."""
    pairs = [(one[key], other[key]) for key in one if key in other]
    differences = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    return statistics.fmean(differences) if differences else None


def seed_noise(tests: Mapping[tuple[float | None, int], float | None]) -> float | None:
    """Return the mean absolute difference between seed 0 and seed 1, or None without a second seed."""
    first, second = ({scale: value for (scale, seed), value in tests.items() if seed == number} for number in (0, 1))
    return mean_difference(first, second)


def roof_numbers(bundle: Measurements, *, epochs: int, roofs: Roofs, n_cores: int) -> dict[str, Any]:
    """Return the harvest's training images per second in each repeat, and their share of the roof.

    Images are those that the eleven scales learn from; seconds are those of their runs, scoring included, divided by
    the processes that ran at once. The roof is that of as many processes, or None if it was not measured.
    """
    rates, shares = [], []
    for index, each in enumerate(bundle.repeats["scalepred"]):
        scaled = [outcome for outcome in each.outcomes if outcome.scale is not None]
        fine = [outcome for outcome in scaled if outcome.test_accuracy is not None]
        seconds = sum(outcome.seconds for outcome in fine)
        rate = epochs * bundle.n_train * len(fine) * each.n_processes / seconds if seconds else None
        roof = roofs.get((bundle.source, each.n_processes, max(1, n_cores // each.n_processes)))
        rates.append(rate)
        shares.append(rate / roof[index] if rate and roof else None)
    measured = [share for share in shares if share is not None]
    return {
        "n_scales": len(GRID),
        "n_processes": [each.n_processes for each in bundle.repeats["scalepred"]],
        "dtypes": sorted({dtype for each in bundle.repeats["scalepred"] for dtype in each.dtypes}),
        "harvest_images_per_second": rates,
        "share_of_roof": shares,
        "median_share_of_roof": statistics.median(measured) if measured else None,
    }


def geometric_means(bundles: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return source -> ratio -> geometric mean of the bundles' median ratios; "all" stands for all sources."""
    sources = sorted({bundle["source"] for bundle in bundles})
    chosen = {source: [bundle for bundle in bundles if bundle["source"] == source] for source in sources}
    return {
        name: {
            ratio: _geometric_mean(bundle["ratios"][ratio]["median"] for bundle in some) for ratio in some[0]["ratios"]
        }
        for name, some in [*chosen.items(), ("all", list(bundles))]
    }


def _geometric_mean(values: Iterable[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


# --- words ------------------------------------------------------------------------------------------------------------


def table(report: Mapping[str, Any]) -> str:
    """Return the report as text."""
    lines = [
        f"{'task':10} {'source':26} {'contender':10} {'wall seconds (range)':26} {'MiB':>6} {'test':>7} {'noise':>6}"
    ]
    for bundle in report["bundles"]:
        for name, numbers in bundle["contenders"].items():
            lines.append(f"{bundle['task']:10} {bundle['source']:26} {name:10} {_contender(numbers)}")
        lines += [f"  {line}" for line in _comparisons(bundle)]
    for source, by_kind in report["roofs"].items():
        for kind, numbers in by_kind.items():
            lines.append(f"roof of {source}, {kind}: {_spread(numbers, 0)} images per second")
    for name, ratios in report["geometric_means"].items():
        ratios_in_words = ", ".join(f"{ratio} {value:.2f}" for ratio, value in ratios.items())
        lines.append(f"geometric mean, {name}: {ratios_in_words}")
    return "\n".join(lines)


def _contender(numbers: Mapping[str, Any]) -> str:
    diverged = f"  {numbers['n_diverged']} of {numbers['n_runs']} diverged" if numbers["n_diverged"] else ""
    return (
        f"{_spread(numbers['wall_seconds'], 1):26} {numbers['peak_mib'] or '-':>6} "
        f"{_percent(numbers['mean_test_accuracy']):>7} {_percent(numbers['seed_noise']):>6}{diverged}"
    )


def _comparisons(bundle: Mapping[str, Any]) -> list[str]:
    ratios = [f"{name} {_spread(numbers, 2)}" for name, numbers in bundle["ratios"].items()]
    apart = [f"{pair} {_percent(value)}" for pair, value in bundle["mean_absolute_differences"].items()]
    roof = bundle["roof"]
    rates = [rate for rate in roof["harvest_images_per_second"] if rate is not None]
    rate = f"{statistics.median(rates):.0f}" if rates else "-"
    share = roof["median_share_of_roof"]
    return [
        f"ratios: {'; '.join(ratios)}",
        f"mean absolute differences of test accuracy: {', '.join(apart)}",
        f"the harvest learns from {rate} images per second in {_plural(roof['n_processes'])} and "
        f"{' and '.join(roof['dtypes'])}, {_percent(share)} of the roof{_doubt(share)}",
    ]


def _doubt(share: float | None) -> str:
    """Return a remark on a share that the network in float32 alone can't explain."""
    if share is None or share <= 1:
        return ""
    return " (over it: frozen stages' outputs are kept, bfloat16 is faster, or other work disturbed the roof)"


def _plural(n_processes: Sequence[int]) -> str:
    shown = " or ".join(map(str, sorted(set(n_processes))))
    return "1 process" if shown == "1" else f"{shown} processes"


def _spread(numbers: Mapping[str, Any], digits: int) -> str:
    low, high = numbers["range"]
    return f"{numbers['median']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}, n = {numbers['n']})"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
