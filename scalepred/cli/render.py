"""What the commands show a person: tables, choices and progress; every name from outside is made safe first."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from scalepred.cli.output import note, notes, safe, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from scalepred.data.task import Inspection
    from scalepred.harvest.harvest import Plan
    from scalepred.harvest.harvest import Progress as HarvestProgress
    from scalepred.job.choose import Prediction
    from scalepred.job.classify import Classified
    from scalepred.job.finetune import Job
    from scalepred.predictor.choice import Choice
    from scalepred.predictor.scores import Evaluation
    from scalepred.predictor.train import Predictor
    from scalepred.recipe import Recipe
    from scalepred.records import RunRecord

SHOWN = 8
SECONDS_BETWEEN_LINES = 60.0
Read = TypeVar("Read")


class Bar(Protocol):
    """A progress bar: done, all there is, and a few words."""

    def update(self, done: int, total: int, words: str = "") -> None:
        """Show how far it is."""


@contextmanager
def progress(what: str, *, total: int | None = None) -> Iterator[Bar]:
    """Show on stderr what is done, what is left and when it ends: as a bar on a terminal, else as a line each tenth."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = notes()
    if not console.is_terminal:
        yield _Lines(what, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield _Bars(bars, bars.add_task(what, total=total, words=""))


def read(read_data: Callable[..., Read], data: str, **settings: object) -> Read:
    """Read a user's data by one of the functions of ``tasks``, with a bar while images are decoded."""
    with progress("reading images") as bar:
        return read_data(data, on_progress=bar.update, **settings)


class _Bars:
    """A bar of rich's."""

    def __init__(self, bars: "Progress", task: "TaskID") -> None:
        self.bars, self.task = bars, task

    def update(self, done: int, total: int, words: str = "") -> None:
        self.bars.update(self.task, completed=done, total=total, words=safe(words))


class _Lines:
    """A line whenever another tenth is done, for logs."""

    def __init__(self, what: str, console: "Console") -> None:
        self.what, self.console, self.tenth, self.started = what, console, 0, time.monotonic()

    def update(self, done: int, total: int, words: str = "") -> None:
        tenth = 10 * done // max(1, total)
        if tenth > self.tenth:
            spent = time.monotonic() - self.started
            left = spent * (total - done) / max(1, done)
            tail = f", {safe(words)}" if words else ""
            self.console.print(
                f"{self.what}: {done} of {total}, {spent:.0f} s, {left:.0f} s left{tail}", soft_wrap=True
            )
            self.tenth = tenth


def show_inspection(console: "Console", found: "Inspection", *, whole: bool = False) -> None:
    """Show the layout, classes and splits, warnings and what was skipped; all of it if ``whole``."""
    splits = ", ".join(f"{n} {name}" for name, n in found.splits.items())
    console.print(
        f"{safe(found.layout)}: {sum(found.classes.values())} images of {len(found.classes)} classes ({splits})"
    )
    if whole:
        console.print(table(("class", "images"), found.classes.items()))
    for warning in found.warnings:
        console.print(f"note: {safe(warning)}", soft_wrap=True)
    shown = found.skipped if whole else found.skipped[:SHOWN]
    if shown:
        console.print(f"skipped: {len(found.skipped)}")
    for each in shown:
        console.print(f"  {safe(each.path)}: {safe(each.reason)}", soft_wrap=True)
    if len(shown) < len(found.skipped):
        console.print(f"  … and {len(found.skipped) - len(shown)} more; `scalepred inspect` lists them")


def show_choice(console: "Console", choice: "Choice") -> None:
    """Show the chosen scale, by whom, why, and how sure that is."""
    console.print(f"scale {choice.scale:g} ({choice.by}): {safe(choice.reason)}", soft_wrap=True)
    if choice.gain_interval is not None:
        low, high = (100 * bound for bound in choice.gain_interval)
        console.print(
            f"  expected against the fixed scale: {low:+.1f} to {high:+.1f} points, for 8 of 10 held-out tasks"
        )
    if choice.neighbours:
        near = ", ".join(f"{safe(name)} (best at {scale:g})" for name, scale in choice.neighbours.items())
        console.print(f"  nearest harvested tasks: {near}")


def show_curve(console: "Console", predicted: "Prediction") -> None:
    """Show the predicted curve and the features."""
    choice = predicted.choice
    if choice.curve:
        rows = [
            (f"{scale:g}", f"{100 * value:+.1f} points", "chosen" if scale == choice.scale else "")
            for scale, value in choice.curve
        ]
        console.print(table(("scale", "predicted accuracy against the task's mean", ""), rows))
    moved = {name: f"{100 * gain:+.2f} points" for name, gain in choice.contributions.items()}
    rows = [(name, f"{value:.4g}", moved.get(name, "")) for name, value in predicted.features.items()]
    console.print(table(("feature", "value", "moves the predicted gain by"), rows))


def show_rates(console: "Console", recipe: "Recipe", scale: float, recipe_name: str) -> None:
    """Show each stage's learning rate before the schedule, and the recipe's name."""
    from scalepred.recipe import STAGES
    from scalepred.training.rates import stage_rates

    rates = zip(STAGES, stage_rates(recipe, scale), strict=True)
    shown = ", ".join(f"{stage} {rate:g}" for stage, rate in rates)
    console.print(f"learning rates (recipe {safe(recipe_name)}): {shown}", soft_wrap=True)


def show_job(console: "Console", job: "Job") -> None:
    """Show what a finetune achieved, where the model is, and how to use it."""
    run, record = job.run, job.task.record
    test = (
        "no test images" if run.test_accuracy is None else f"{100 * run.test_accuracy:.1f} % of {record.n_test} images"
    )
    if run.val_accuracy is not None:
        console.print(f"validation accuracy: {100 * run.val_accuracy:.1f} % of {record.n_val} images")
    console.print(f"test accuracy:       {test}")
    console.print("seconds: " + ", ".join(f"{name} {spent:.1f}" for name, spent in job.seconds.items()))
    console.print(f"saved: {safe(str(job.output))}", soft_wrap=True)
    console.print(f"classify an image: scalepred classify {_shell(job.output)} IMAGE", soft_wrap=True)


def show_plan(plan: "Plan", *, warehouse: Path) -> None:
    """Show what a harvest will do before it does it."""
    note(f"warehouse: {warehouse}")
    unread = sum(not bundle.is_read for bundle in plan.bundles)
    words = (
        f"plan: {plan.n_runs} runs of {len(plan.bundles)} tasks and sources to do; {plan.n_stored} are stored already"
    )
    note(words + (f" ({unread} have not been read before, and count in full)" if unread else ""))
    for data, reason in plan.refused.items():
        note(f"refused: {data}: {reason}")
    for bundle in plan.bundles[:SHOWN]:
        note(f"  {Path(bundle.data).name} on {bundle.source}: {bundle.n_runs} runs")
    if len(plan.bundles) > SHOWN:
        note(f"  … and {len(plan.bundles) - SHOWN} more")


def run_as_json(run: "RunRecord") -> dict[str, object]:
    """Return the line of a finished run."""
    names = ("run_id", "task_id", "source_id", "recipe_id", "scale", "seed", "role", "status")
    numbers = ("val_accuracy", "test_accuracy", "seconds")
    return {"schema": 1, **{name: getattr(run, name) for name in (*names, *numbers)}}


@contextmanager
def harvesting(n_runs: int) -> Iterator["_Harvesting"]:
    """Show a harvest on stderr: a bar and what each worker does on a terminal, else a line now and then."""
    from rich.live import Live

    console = notes()
    if not console.is_terminal:
        yield _Harvesting(n_runs, None)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield _Harvesting(n_runs, live)


class _Harvesting:
    def __init__(self, n_runs: int, live: "Live | None") -> None:
        self.n_runs, self.live, self.told, self.n_told = n_runs, live, time.monotonic(), 0

    def update(self, progress: "HarvestProgress") -> None:
        """Show how far it is."""
        for words in progress.notes:
            self.live.console.print(safe(words), soft_wrap=True) if self.live else note(words)
        if self.live:
            self.live.update(_harvest_table(progress), refresh=False)
        elif self._is_due(progress):
            note(_harvest_words(progress))
            self.told, self.n_told = time.monotonic(), progress.n_done

    def _is_due(self, progress: "HarvestProgress") -> bool:
        """Tell every tenth of all runs, and every minute; at the end in any case."""
        done = progress.n_done - self.n_told
        late = time.monotonic() - self.told >= SECONDS_BETWEEN_LINES
        return done > 0 and (late or 10 * done >= self.n_runs or progress.n_left == 0)


def _harvest_words(progress: "HarvestProgress") -> str:
    left = "" if progress.seconds_left is None else f", {_clock(progress.seconds_left)} left"
    return (
        f"{progress.n_done} runs done, {progress.n_left} left, {progress.n_diverged} diverged, "
        f"{progress.images_per_second:.0f} images/s{left}"
    )


def _harvest_table(progress: "HarvestProgress") -> "Table":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    shown = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, progress.n_done + progress.n_left), completed=progress.n_done, width=30)
    shown.add_row(bar, _harvest_words(progress))
    for number, words in progress.workers.items():
        shown.add_row(f"worker {number}", safe(words))
    return shown


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def show_stages(console: "Console", name: str, stages: Sequence[dict[str, object]]) -> None:
    """Show a network's stages."""
    rows = [
        (stage["stage"], stage["first"], stage["n_parameters"], _rate(stage["rate_at_scale_1"])) for stage in stages
    ]
    console.print(safe(name))
    console.print(table(("stage", "first parameter", "parameters", "rate at scale 1"), rows))


def _rate(rate: object) -> str:
    return "0 (frozen)" if rate == 0 else f"{rate:g}"


def show_classified(console: "Console", results: Sequence["Classified"]) -> None:
    """Show what each image was taken for."""
    for result in results:
        if result.problem:
            console.print(f"{safe(result.path)}: not read: {safe(result.problem)}", soft_wrap=True)
        else:
            ranking = ", ".join(f"{safe(name)} {100 * p:.1f} %" for name, p in result.ranking[:3])
            console.print(f"{safe(result.path)}: {ranking}", soft_wrap=True)


def _shell(path: Path) -> str:
    import shlex

    return safe(shlex.quote(str(path)))


def predictor_json(predictor: "Predictor") -> dict[str, object]:
    """Return what ``scalepred train-predictor --json`` says of a predictor."""
    from dataclasses import asdict

    return {
        "predicts": predictor.booster is not None,
        "groups": [asdict(group) for group in predictor.groups],
        "evaluation": predictor.evaluation or None,
        **predictor.facts,
    }


def show_evaluation(console: "Console", predictor: "Predictor", evaluation: "Evaluation | None") -> None:
    """Show how the predictor does on held-out origins, or why nothing is predicted."""
    from dataclasses import asdict

    from scalepred.predictor.card import HEADINGS, NONE_PREDICTED, OVERVIEW, cells, names, overview_cells
    from scalepred.predictor.train import MIN_ORIGINS

    if evaluation is None:
        n = len(predictor.facts["origins"])
        scales = ", ".join(f"{group.fixed_scale:g}" for group in predictor.groups)
        console.print(
            f"too few origins to predict from: {n}, and {MIN_ORIGINS} are needed. "
            f"The best fixed scale is kept, and --auto will use it: {scales}"
        )
        return
    groups = [asdict(group) for group in evaluation.groups]
    if not groups:
        console.print(NONE_PREDICTED)
        return
    if len(groups) > 1:
        console.print("every origin held out in turn; accuracy at the best fixed scale, and gains over it in points:")
        console.print(table(OVERVIEW, [[safe(cell) for cell in overview_cells(predictor, group)] for group in groups]))
    most = groups[0]
    source, recipe = names(predictor, most)
    console.print(
        f"{safe(source)} with recipe {safe(recipe)}: {most['n_tasks']} tasks, "
        f"{most['n_origins']} origins held out in turn:"
    )
    console.print(table(HEADINGS, [cells(row, most["n_tasks"]) for row in most["rows"]]))
    console.print(f"the predictor left the fixed scale for {most['n_moved']} of {most['n_tasks']} held-out tasks")
