"""Times loading the predictor that ships and one prediction from given facts, beside parsing its files alone.

    python -m benchmarks.bench_predict [--smoke]

Two predictions: by the trees, for the default network and recipe, and by the rule, for a recipe that was not harvested,
with the range of scales that are as good and the nearest harvested points. Each loads what it needs, in a process that
has imported everything. Beside them, alternating, the floor: `json.loads` and LightGBM's own reading of the same files,
without any check. Prints a table and ends in one line of JSON: medians and ranges in seconds, and median ratios.
"""

import argparse
import dataclasses
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import lightgbm

from benchmarks.timed import ROOT, hardware
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.networks.source import load_source
from scalepred.predictor import artifact
from scalepred.predictor.choice import choose
from scalepred.predictor.curves import load_curves
from scalepred.predictor.outlook import outlook
from scalepred.predictor.rule import answer, load_rule
from scalepred.recipe import RECIPES

FOLDER = ROOT / "models" / "default"
DEFAULT = RECIPES["frozen-statistics-128"]
NEW = dataclasses.replace(DEFAULT, optimizer="adamw", head_start="fitted")
START = {"noise_log2_critical": -8.0, "half_log2_critical": -7.0, "log2_steps": 7.0}


def by_trees(source_id: str) -> str:
    """Load the predictor, and ask it of an average task with the default network and recipe; returns who decided."""
    predictor = artifact.load(FOLDER)
    facts = dict(zip(predictor.feature_names, predictor.centre, strict=True))
    return choose(predictor, facts, source_id=source_id, recipe_id=DEFAULT.recipe_id).by


def by_rule(source_id: str) -> str:
    """Load everything, and ask of a recipe that was not harvested; returns who decided."""
    predictor, rule = artifact.load(FOLDER), load_rule(FOLDER)
    told = choose(predictor, {}, source_id=source_id, recipe_id=NEW.recipe_id, rule=answer(rule, START, NEW))
    outlook(load_curves(FOLDER, rule), START, NEW, scale=told.scale, chance=0.1)
    return told.by


def parsed(*names: str) -> None:
    """Parse files of the predictor, and check nothing."""
    for name in names:
        text = (FOLDER / name).read_text(encoding="utf-8")
        if Path(name).suffix == ".json":
            json.loads(text)
        else:
            lightgbm.Booster(model_str=text)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="two runs instead of thirty")
    n = 2 if parser.parse_args().smoke else 30
    source_id = load_source(DEFAULT_SOURCE).source_id
    assert (by_trees(source_id), by_rule(source_id)) == ("predicted", "rule")
    calls: dict[str, Callable[[], object]] = {
        "by the trees": lambda: by_trees(source_id),
        "their files parsed": lambda: parsed("predictor.json", "model.txt"),
        "by the rule": lambda: by_rule(source_id),
        "all files parsed": lambda: parsed("predictor.json", "model.txt", "rule.json", "curves.json"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(n):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        low, middle, high = (1000 * value for value in (min(values), statistics.median(values), max(values)))
        print(f"{name:20} median {middle:.1f} ms, {low:.1f} to {high:.1f} (n = {n})")
    trees, trees_floor, rule, rule_floor = seconds.values()
    ratios = {"by the trees": (trees, trees_floor), "by the rule": (rule, rule_floor)}
    print(
        json.dumps(
            {
                "benchmark": "predict",
                "n": n,
                "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
                "range_seconds": {name: [min(values), max(values)] for name, values in seconds.items()},
                "median_ratios": {
                    name: statistics.median(a / b for a, b in zip(*both, strict=True)) for name, both in ratios.items()
                },
                "hardware": hardware(),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
