"""Logs a job as TensorBoard's event files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class _TensorBoardLog:
    """A writer of torch's, flushed after every epoch; its thread says at the next call how that went."""

    writer: Any

    def epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def end(self, numbers: Mapping[str, float], facts: Mapping[str, str]) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(f"final/{name}", value, 0)
        self.writer.add_text("model", as_code(facts), 0)

    def close(self, *, is_done: bool) -> None:
        self.writer.close()


def open_tensorboard(where: str, facts: Mapping[str, str], *, name: str, run: str) -> _TensorBoardLog:
    """Open a log in a folder of the job's own below ``where``, so that jobs can be compared, and write its facts.

    Args:
        where: the folder that TensorBoard looks at.
        facts: name -> value, known before the training.
        name: of the model's folder.
        run: the run's id; a job that goes on writes into the folder that it began with.
    """
    from torch.utils.tensorboard import SummaryWriter

    folder = Path(where) / f"{name}-{run[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    writer = SummaryWriter(str(folder))
    log = _TensorBoardLog(writer)
    writer.add_text("job", as_code(facts), 0)
    writer.flush()
    return log


def as_code(facts: Mapping[str, str]) -> str:
    """Return facts as a block of code in Markdown, in which names from outside stay what they are."""
    lines = json.dumps(dict(facts), indent=1, ensure_ascii=False).split("\n")
    return "\n".join(f"    {line}" for line in lines)
