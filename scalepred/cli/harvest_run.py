"""Runs a harvest: notes an interrupt, shows what is done, and says at the end what came of it."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from scalepred.cli.harvest_draw import show_balance
from scalepred.cli.output import note, print_json
from scalepred.recipe import GRID

if TYPE_CHECKING:
    from scalepred.harvest.harvest import Harvest
    from scalepred.harvest.request import Plan, Wanted


@contextmanager
def told_at_the_end(work: "Harvest") -> Iterator[None]:
    """Leave nothing untold, such as that the warehouse was moved aside, also where an error ends the block."""
    try:
        yield
    finally:
        tell(work)


def tell(work: "Harvest") -> None:
    """Print what a user should know and was not told yet."""
    for words in work.take_notes():
        note(words)


def run(work: "Harvest", plan: "Plan", *, json: bool) -> None:
    """Do all that is planned; with ``json``, print a line for each finished run.

    Raises:
        KeyboardInterrupt: after a SIGINT or SIGTERM, once the finished runs are stored and told.
    """
    from scalepred.cli import render
    from scalepred.cli.progress import harvesting

    try:
        with _noted_interrupts() as interrupts, harvesting() as shown:
            work.interrupts = interrupts
            for progress in work.run():
                shown.update(progress)
                if json and progress.run:
                    print_json(render.run_as_json(progress.run), indent=None)
                if interrupts and progress.run is None:  # all that has come is told
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        for words in work.stop():
            note(words)
        note(f"interrupted: {work.n_done} runs done, {work.n_left} left; the same command goes on from here")
        raise


@contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """Have the first SIGINT or SIGTERM noted, not raised, so that a harvest ends between two of its steps."""
    noted: list[int] = []

    def take(number: int, _frame: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _next_step(wanted: "Wanted") -> str:
    """Return what to run after a harvest; given scales are no whole grid, which a predictor learns from."""
    if set(GRID) <= set(wanted.scales):
        return f"next: scalepred train-predictor --warehouse {wanted.warehouse}"
    return (
        f"next: scalepred warehouse report --warehouse {wanted.warehouse} shows the accuracies; a predictor learns "
        "from whole grids alone, which the same command without --scale harvests"
    )


def conclude(
    work: "Harvest",
    plan: "Plan",
    *,
    balance: Mapping[str, Mapping[str, int]] | None = None,
    json: bool,
    dry_run: bool,
) -> None:
    """Print the counts of a harvest, and how balanced a draw is if that is given.

    Raises:
        typer.Exit: with code 6, if tasks were refused or runs failed.
    """
    if json:
        summary: dict[str, object] = {
            "schema": 2,
            "dry_run": dry_run,
            "warehouse": str(work.wanted.warehouse),
            "planned": plan.n_runs,
            "stored_before": plan.n_stored,
            "done": work.n_done - work.n_diverged,
            "diverged": work.n_diverged,
            "failed": [{"run_id": run_id, "reason": reason} for run_id, reason in work.failed.items()],
            "refused": [{"task": name, "reason": reason} for name, reason in work.refused.items()],
        }
        if balance is not None:
            summary["balance"] = balance
        print_json(summary, indent=None)
    elif balance is not None:
        show_balance(balance)
    elif not dry_run:
        counts = f"{work.n_done - work.n_diverged} runs done, {work.n_diverged} diverged, {len(work.failed)} failed"
        note(f"{counts}, {plan.n_stored} were stored before")
        note(_next_step(work.wanted))
    if work.refused or work.failed:
        raise typer.Exit(6)
