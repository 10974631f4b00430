"""Prepares a harvest: meets a first worker, and sees what every task lacks."""

import itertools
from collections.abc import Sequence
from typing import Any

from scalepred.data.task import survey
from scalepred.errors import DataError, UsageError
from scalepred.harvest.calls import Engine, Failure, Hello
from scalepred.harvest.hands import Hand, Hands
from scalepred.harvest.log import Log
from scalepred.harvest.plan import in_turns
from scalepred.harvest.request import Plan, PlannedBundle, Wanted
from scalepred.harvest.worklist import BundleState, Worklist
from scalepred.recipe import Recipe, content_id
from scalepred.store.journal import Journal


def meet_first_worker(hands: Hands) -> tuple[Hand, Hello]:
    """Start a worker; returns it, and what it says of sources and devices.

    Raises:
        ScalepredError: the one that the worker raised on purpose.
        UsageError: if it died.
    """
    hand = hands.start()
    hello: Hello = _first_answer(hands.engine)
    hands.greet_first(hand, hello)
    return hand, hello


def pick_dtypes(
    hand: Hand, hello: Hello, wanted: Wanted, *, engine: Engine, journal: Journal
) -> dict[tuple[int, int], str]:
    """Return (number of a source, image size) -> the dtype that was asked for, or that pays on this worker's device.

    The journal keeps them, so that they hold for all harvests of a warehouse.

    Raises:
        ScalepredError: if a source doesn't take images of a size.
    """
    dtypes = {}
    recipes = {recipe.image_px: recipe for recipe in wanted.recipes.values()}
    for (number, source), (image_px, recipe) in itertools.product(enumerate(hello.sources), recipes.items()):
        key = _dtype_key(source.source_id, recipe, hello)
        noted = journal.noted("dtypes", key)
        if noted is None:
            engine.call(hand.number, "pick_dtype", number, recipe)
            noted = {"dtype": _first_answer(engine)}
            journal.note("dtypes", key, noted)
        dtypes[number, image_px] = noted["dtype"]
    hand.call = None
    return dtypes


def _dtype_key(source_id: str, recipe: Recipe, hello: Hello) -> str:
    facts = [source_id, recipe.image_px, recipe.batch_size, hello.device]
    return content_id("dtype", facts if hello.dtype == "auto" else [*facts, hello.dtype])


def _first_answer(engine: Engine) -> Any:
    """Wait for what the first worker says, before the harvest proper."""
    while not (events := engine.wait(1.0)):
        pass
    if events[0].died:
        why = events[0].words or "is there memory enough? Try fewer --workers."
        raise UsageError(f"A worker died while it started: {why}")
    if isinstance(events[0].value, Failure):
        raise events[0].value.as_error()
    return events[0].value


def fill(worklist: Worklist, *, log: Log) -> Plan:
    """Put all that is missing on the list; a task that can't be used is refused with its reason."""
    n_stored, bundles = 0, []
    for data in worklist.wanted.data:
        try:
            lacking, n = _look_at(data, worklist, log.journal)
        except DataError as error:
            worklist.refused[data] = str(error)
            log.write(f"refused: {data}: {error}")
            continue
        n_stored += n
        bundles += lacking
    worklist.waiting.extend(_balanced(bundles))
    planned = tuple(_planned(bundle, worklist) for bundle in worklist.waiting)
    return Plan(bundles=planned, n_stored=n_stored, refused=dict(worklist.refused))


def _look_at(data: str, worklist: Worklist, journal: Journal) -> tuple[list[BundleState], int]:
    """Return the bundles of a task that lack something, and how many of its runs are stored."""
    files = survey(data)
    scan = journal.noted("scans", files.fingerprint) if files.fingerprint else None
    if scan and scan["task_id"] not in worklist.stored.tasks:
        scan = None  # the task's row is lost, or was never written
    lacking, n_stored = [], 0
    for bundle in worklist.new_bundles(data, origin=files.origin):
        if scan is None:
            bundle.n_expected = len(worklist.grid(bundle, task_id=""))
            lacking.append(bundle)
        elif worklist.settle(bundle, scan["task_id"]):
            runs = worklist.grid(bundle, task_id=scan["task_id"])
            n_stored += sum(run.run_id in worklist.stored.outcomes for run in runs)
            if bundle.lacks_something:
                lacking.append(bundle)
    return lacking, n_stored


def _planned(bundle: BundleState, worklist: Worklist) -> PlannedBundle:
    return PlannedBundle(
        data=bundle.data,
        source=worklist.sources[bundle.source].name,
        image_px=bundle.image_px,
        n_runs=bundle.n_left,
        is_read=bundle.task_id is not None,
    )


def _balanced(bundles: Sequence[BundleState]) -> list[BundleState]:
    """Order bundles so that every origin has its first on every source before it has its second, and so on."""
    return in_turns(
        bundles,
        name=lambda bundle: bundle.name,
        group=lambda bundle: (bundle.origin, bundle.source, bundle.image_px),
    )
