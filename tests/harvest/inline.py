"""Harvests whose workers live in this process, one call after another, with finetunes of no time."""

import dataclasses
from pathlib import Path

from fakes import QUICK, InlineEngine, fake_finetune

from scalepred.errors import DataError
from scalepred.harvest.calls import WorkerSettings
from scalepred.harvest.draw import DesignPoint
from scalepred.harvest.harvest import Harvest
from scalepred.harvest.request import Wanted
from scalepred.harvest.worker import Worker
from scalepred.store.journal import journal_of
from scalepred.store.warehouse import open_warehouse

FROZEN = dataclasses.replace(QUICK, batchnorm="frozen")
LARGER = dataclasses.replace(QUICK, image_px=24)


def harvest_of(data, warehouse, *, recipes=None, sources=("tiny",), deaths=(), pending=(), dtype="float32", **wanted):
    settings = WorkerSettings(sources=tuple((name, None) for name in sources), device="cpu", dtype=dtype)
    asked = {"n_seeds": 1, "max_workers": 1, "lock_timeout_seconds": 0.2, "sources": sources} | wanted
    if "points" not in asked:
        asked["recipes"] = recipes or {"quick": QUICK}
    return Harvest(
        Wanted(data=data, warehouse=warehouse, **asked),
        InlineEngine(lambda: Worker(settings), deaths=deaths, pending=pending),
    )


def points_of(*each, recipe=QUICK, source="tiny"):
    """Return design points, of which each is a task and what differs from the usual, in this order."""
    usual = {"source": source, "recipe": recipe, "n_images": None, "n_seeds": 1}
    return [DesignPoint(index=at, data=data, **(usual | differs)) for at, (data, differs) in enumerate(each)]


def go(harvest):
    """Run a harvest to its end; return its plan and its runs."""
    with harvest.held():
        plan = harvest.plan()
        return plan, [progress.run for progress in harvest.run() if progress.run]


def go_until(harvest, n_done):
    """Run a harvest until so many runs are done, and end it there."""
    harvest.plan()
    running = harvest.run()
    while harvest.n_done < n_done:
        next(running)
    running.close()


def notes_of(harvest):
    """Run a harvest to its end; return its plan and its notes, those of the plan first."""
    with harvest.held():
        plan = harvest.plan()
        return plan, [note for progress in harvest.run() for note in progress.notes]


def stored(warehouse):
    with open_warehouse(warehouse) as store:
        assert store.verify() == []
        return {"tasks": store.tasks(), "sources": store.sources(), "recipes": store.recipes(),
                "features": store.features(), "runs": store.runs()}  # fmt: skip


def log_of(warehouse):
    return (journal_of(warehouse).folder / "harvest.log").read_text()


def calls(harvest, method):
    """Return (worker, arguments) of all calls of a method, in their order."""
    return [(worker, arguments) for worker, asked, arguments in harvest.engine.asked if asked == method]


def opened(harvest):
    """Return the names of the tasks that workers were asked to open, in their order."""
    return [Path(arguments[0]).name for _, arguments in calls(harvest, "open")]


def dying(monkeypatch, harvest, is_fatal):
    """Have workers die of the calls of which ``is_fatal(worker, method, arguments)``."""
    engine = harvest.engine

    def wait(timeout_seconds):
        if engine.calls and is_fatal(*engine.calls[0]):
            engine.deaths.add(engine.n_calls + 1)
        return InlineEngine.wait(engine, timeout_seconds)

    monkeypatch.setattr(engine, "wait", wait)


def failing(monkeypatch, *, of=None, only=None, hosts=(), error=DataError):
    """Have the workers of these numbers, or all, fail to open tasks of these names, or all; they run on these hosts."""
    real_open, real_hello, numbers = Worker.open, Worker.hello, {}

    def hello(self):
        number = numbers.setdefault(id(self), len(numbers))
        return dataclasses.replace(real_hello(self), host=hosts[number] if hosts else "here")

    def fail(self, data, *arguments):
        if (of is None or numbers[id(self)] in of) and (only is None or Path(data).name in only):
            raise error(f"There is nothing at {data}.")
        return real_open(self, data, *arguments)

    monkeypatch.setattr(Worker, "hello", hello)
    monkeypatch.setattr(Worker, "open", fail)


def on_cuda(monkeypatch, gib_of):
    """Have workers report an 80 GiB device, and runs of a scale the peak of memory that ``gib_of`` returns."""
    real_hello, real_run = Worker.hello, Worker.run

    def hello(self):
        return dataclasses.replace(real_hello(self), device="cuda (a)", device_bytes=80 << 30)

    def run(self, planned):
        return dataclasses.replace(real_run(self, planned), execution={"peak_bytes": gib_of(planned.scale) << 30})

    monkeypatch.setattr(Worker, "hello", hello)
    monkeypatch.setattr(Worker, "run", run)


def best_at_20(*args, **settings):
    """Take the place of ``finetune``, with a best scale beyond the grid."""
    return fake_finetune(*args, **settings, best=20.0, diverges=None)
