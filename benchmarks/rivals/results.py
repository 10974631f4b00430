"""The results file: a line of JSON for each job, appended whole."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One job of one rival, as the results file has it.

    Attributes:
        settings: the id of all that decides the outcome but for task, method and seed.
        task, origin: names.
        method: one of ``METHODS``.
        seed: of the job.
        accuracy: on the test images, a fraction; None where it failed.
        n_test: test images.
        wall_seconds: of the whole program, imports and all.
        work_seconds: of that, without imports.
        cpu_seconds: of all its processes.
        details: what tells how it was made, or why it failed.
    """

    settings: str
    task: str
    origin: str
    method: str
    seed: int
    accuracy: float | None
    n_test: int
    wall_seconds: float
    work_seconds: float
    cpu_seconds: float
    details: Mapping[str, Any]


def key_of(outcome: Outcome) -> tuple[str, str, str, int]:
    """Return what names a job: the last of a name counts."""
    return outcome.settings, outcome.task, outcome.method, outcome.seed


def append(results: Path, outcome: Outcome) -> None:
    """Add a line and have it on the disk; a line that a stop has cut before it stays apart."""
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("ab+") as file:
        is_cut = False
        if file.tell():
            file.seek(-1, os.SEEK_END)
            is_cut = file.read(1) != b"\n"
        file.write((b"\n" if is_cut else b"") + json.dumps(asdict(outcome)).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_results(results: Path) -> list[Outcome]:
    """Return all outcomes but for lines that a stop has cut; of a job that was tried again, the last."""
    if not results.exists():
        return []
    outcomes: dict[tuple[str, str, str, int], Outcome] = {}
    for line in results.read_text(encoding="utf-8").splitlines():
        try:
            outcome = Outcome(**json.loads(line))
        except (ValueError, TypeError):
            continue
        outcomes[key_of(outcome)] = outcome
    return list(outcomes.values())
