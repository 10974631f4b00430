"""Can a run that has plainly diverged be ended early? How often the runs of a warehouse came back, rule by rule.

    python -m benchmarks.early_end WAREHOUSE

A rule ends a run once the mean training loss of so many epochs in a row was above a multiple of ln k, the loss of a
network that knows nothing of k classes. For each rule: how many finished runs it would have ended, how many of these
came within two points of the best of their curve all the same, and the share of all seconds that it would have saved.
Curves on which nothing is learnt (their best no more than ten points above chance) are left out of the second figure.
Ends in one line of JSON.
"""

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from scalepred.predictor.points import GOOD
from scalepred.records import DONE, RunRecord
from scalepred.store.warehouse import open_warehouse

MULTIPLES = (2.0, 5.0, 10.0, 30.0, 100.0)
EPOCHS = (1, 2, 3)
LEARNT = 0.1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    with open_warehouse(parser.parse_args().warehouse, read_only=True) as store:
        runs = [run for run in store.runs() if run.status == DONE and run.scale is not None]
        n_classes = {task.task_id: task.n_classes for task in store.tasks()}
    best: dict[tuple[str, str, str], float] = defaultdict(float)
    for run in runs:
        best[curve_of(run)] = max(best[curve_of(run)], run.test_accuracy or 0.0)
    seconds, rows = math.fsum(run.seconds for run in runs), []
    print(f"{len(runs)} finished runs, {seconds / 3600:.1f} hours\n")
    print("| loss above | epochs in a row | runs ended | of them within two points of their best | seconds saved |")
    print("|---:|---:|---:|---:|---:|")
    for multiple in MULTIPLES:
        for n_epochs in EPOCHS:
            ended = [(run, end_of(run, multiple * math.log(n_classes[run.task_id]), n_epochs)) for run in runs]
            cut = [(run, end) for run, end in ended if end is not None]
            back = [run for run, _ in cut if came_back(run, best[curve_of(run)], n_classes[run.task_id])]
            saved = math.fsum(run.seconds * (1 - end / len(run.epoch_losses)) for run, end in cut) / seconds
            rows.append({"multiple": multiple, "epochs": n_epochs, "ended": len(cut), "back": len(back)})
            rows[-1]["saved"] = round(saved, 4)
            print(f"| {multiple:g} ln k | {n_epochs} | {len(cut)} | {len(back)} | {saved:.1%} |")
    print(json.dumps({"benchmark": "early_end", "n_runs": len(runs), "rows": rows}))


def curve_of(run: RunRecord) -> tuple[str, str, str]:
    """Return what tells a run's curve from others."""
    return run.task_id, run.source_id, run.recipe_id


def end_of(run: RunRecord, limit: float, n_epochs: int) -> int | None:
    """Return after how many epochs a rule ends a run, before its last; None where it never does."""
    above = 0
    for done, loss in enumerate(run.epoch_losses[:-1], start=1):
        above = above + 1 if loss > limit else 0
        if above == n_epochs:
            return done
    return None


def came_back(run: RunRecord, best: float, n_classes: int) -> bool:
    """Say whether a run ended within two points of its curve's best, on a curve where something was learnt."""
    accuracy: Any = run.test_accuracy
    return accuracy is not None and best - accuracy <= GOOD and best > 1 / n_classes + LEARNT


if __name__ == "__main__":
    main()
