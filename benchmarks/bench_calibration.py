"""Tells log loss and calibration error of finetunes before and after a temperature, and what few images do to it.

    python -m benchmarks.bench_calibration TASK ... [--scale 2 | probe] [--image-px 64] [--draws 40]

Each task is finetuned once, as `scalepred finetune` does. Its test images tell what `metrics.json` has: cross-fitted
log loss and error. Then temperatures are fitted on a few random test images and scored on the others, without and with
a prior on their logarithm. Prints tables and ends in one line of JSON.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scalepred.job.options import DataOptions, NetworkOptions
from scalepred.job.setup import set_up
from scalepred.job.tools import pick_tools
from scalepred.training.bundle import versions
from scalepred.training.calibration import calibrate, fit_temperature, quality_of
from scalepred.training.devices import device_name
from scalepred.training.planned import planned_run

SIZES = (10, 15, 20, 30, 50)
SPREADS = {"none": 0.0, "plain": math.inf, "2": 2.0, "1": 1.0, "0.7": 0.7, "0.5": 0.5, "0.3": 0.3}
"""How a temperature is fitted -> the prior's standard deviation; 0 leaves it at 1, infinity is no prior."""

LEFT = 20
"""Test images that must be left to score on."""


def logits_of(task: str, *, scale: str, image_px: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Return a job's logits and labels of the test images, and the device's name."""
    tools = pick_tools(NetworkOptions(image_px=image_px), predicts=False)
    setup = set_up(task, tools, DataOptions(), trains=scale != "probe")
    if scale == "probe":
        scores = setup.bundle.probe_scores()
    else:
        ids = (setup.task.record.task_id, tools.source.source_id)
        _, outcome = setup.bundle.run(planned_run(*ids, recipe=tools.recipe, scale=float(scale), seed=0))
        scores = outcome.scores
    return scores["test"].logits, setup.task.test.labels, device_name(tools.device)


def few(logits: np.ndarray, labels: np.ndarray, *, n: int, spread: float, draws: int) -> np.ndarray:
    """Return (draws, 3) log loss, calibration error, and whether it is worse than at temperature 1, on the others."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(draws):
        order = rng.permutation(len(labels))
        seen, left = order[:n], order[n:]
        temperature = fit_temperature(logits[seen], labels[seen], spread=spread)[0] if spread else 1.0
        after, before = (quality_of(logits[left] / t, labels[left]) for t in (temperature, 1.0))
        rows.append([after.log_loss, after.ece, after.log_loss > before.log_loss + 1e-9])
    return np.array(rows, dtype=np.float64)


def table_of_few(kept: Sequence[tuple[np.ndarray, np.ndarray]], *, draws: int) -> dict[str, dict[str, list[float]]]:
    """Return images -> prior -> mean log loss, error and share of worse draws, over tasks that have enough images."""
    table: dict[str, dict[str, list[float]]] = {}
    for n in SIZES:
        large = [pair for pair in kept if len(pair[1]) >= n + LEFT]
        if large:
            table[str(n)] = {
                name: np.mean([few(*pair, n=n, spread=spread, draws=draws).mean(axis=0) for pair in large], axis=0)
                .round(4)
                .tolist()
                for name, spread in SPREADS.items()
            }
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--scale", default="2")
    parser.add_argument("--image-px", type=int, default=64)
    parser.add_argument("--draws", type=int, default=40)
    given = parser.parse_args()
    kept, rows, device = [], [], ""
    for task in given.tasks:
        logits, labels, device = logits_of(task, scale=given.scale, image_px=given.image_px)
        kept.append((logits, labels))
        made = calibrate({"test": (logits, labels)})
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        row = {"task": Path(task).name, "n_test": len(labels), "accuracy": accuracy, **made.to_json()}
        rows.append(row)
        before, after = row["before"], row["after"]
        print(
            f"{row['task']:24} {row['n_test']:5} images, {100 * accuracy:5.1f} % right, temperature "
            f"{row['temperature']:5.2f}, log loss {before['log_loss']:.3f} -> {after['log_loss']:.3f}, error "
            f"{100 * before['ece']:4.1f} -> {100 * after['ece']:4.1f} {row['note']}",
            flush=True,
        )
    table = table_of_few(kept, draws=given.draws)
    for n, by_prior in table.items():
        print(f"{n:>3} images: " + ", ".join(f"{name} {v[0]:.3f} ({100 * v[2]:.0f} %)" for name, v in by_prior.items()))
    facts = {"benchmark": "calibration", "n": len(rows), "scale": given.scale, "image_px": given.image_px}
    print(json.dumps(facts | {"rows": rows, "few": table, "device": device, "versions": versions()}))


if __name__ == "__main__":
    main()
