"""Prepares a harvest: meets a first worker, and sees what every task lacks."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from scalepred.data.task import Survey, survey
from scalepred.errors import DataError, UsageError
from scalepred.harvest.bundles import BundleState
from scalepred.harvest.calls import Engine, Failure, Hello
from scalepred.harvest.hands import Hand, Hands
from scalepred.harvest.log import Log
from scalepred.harvest.plan import in_turns
from scalepred.harvest.request import Plan, PlannedBundle, Wanted
from scalepred.harvest.worklist import Worklist
from scalepred.recipe import Recipe, content_id
from scalepred.store.journal import Journal


def meet_first_worker(hands: Hands) -> tuple[Hand, Hello]:
    """Start a worker; returns it, and what it says of sources and devices.

    Raises:
        ScalepredError: the one that the worker raised on purpose.
        UsageError: if it died.
    """
    hand = hands.start()
    hello: Hello = _unless_failed(_first_answer(hands.engine))
    hands.greet_first(hand, hello)
    return hand, hello


def pick_dtypes(
    hand: Hand, hello: Hello, wanted: Wanted, *, engine: Engine, journal: Journal
) -> tuple[dict[tuple[int, int], str], dict[tuple[int, int], str]]:
    """Return (number of a source, image size) -> the dtype that was asked for, or that pays on this worker's device.

    The second such table says why a source doesn't take a size that points have. The journal keeps dtypes, so that they
    hold for all harvests of a warehouse.

    Raises:
        ScalepredError: if a source doesn't take images of a size of the grid's recipes.
    """
    dtypes: dict[tuple[int, int], str] = {}
    unfit: dict[tuple[int, int], str] = {}
    for (number, image_px), recipe in wanted.size_recipes(len(hello.sources)).items():
        key = _dtype_key(hello.sources[number].source_id, recipe, hello)
        noted = journal.noted("dtypes", key)
        if noted is None:
            engine.call(hand.number, "pick_dtype", number, recipe)
            given = _first_answer(engine)
            if isinstance(given, Failure) and isinstance(given.on_purpose, UsageError) and wanted.points:
                unfit[number, image_px] = given.words
                continue
            noted = {"dtype": _unless_failed(given)}
            journal.note("dtypes", key, noted)
        dtypes[number, image_px] = noted["dtype"]
    hand.call = None
    return dtypes, unfit


def _dtype_key(source_id: str, recipe: Recipe, hello: Hello) -> str:
    facts = [source_id, recipe.image_px, recipe.batch_size, hello.device]
    return content_id("dtype", facts if hello.dtype == "auto" else [*facts, hello.dtype])


def _first_answer(engine: Engine) -> Any:
    """Wait for what the first worker says, before the harvest proper: its answer, or a Failure."""
    while not (events := engine.wait(1.0)):
        pass
    if events[0].died:
        why = events[0].words or "is there memory enough? Try fewer --workers."
        raise UsageError(f"A worker died while it started: {why}")
    return events[0].value


def _unless_failed(answer: Any) -> Any:
    if isinstance(answer, Failure):
        raise answer.as_error()
    return answer


def fill(worklist: Worklist, *, unfit: Mapping[tuple[int, int], str], log: Log) -> Plan:
    """Put all that is missing on the list; a task or point that can't be used is refused with its reason.

    Points come in their own order, the bundles of a grid in turns.

    Args:
        worklist: to fill.
        unfit: (number of a source, image size) -> why the points of these are refused.
        log: of the harvest.
    """
    surveys = _survey(worklist, log)
    scans = _Scans(log.journal, worklist.stored.tasks)
    n_stored, lacking = 0, []
    for bundle in _bundles(worklist, surveys):
        if why := unfit.get((bundle.source, bundle.image_px)):
            worklist.refused[bundle.label] = why
            log.write(f"refused: {bundle.label}: {why}")
            continue
        scan = scans.of(surveys[bundle.data].fingerprint, bundle)
        if scan is None:
            bundle.n_expected = bundle.n_expected or len(worklist.grid(bundle, task_id=""))
            lacking.append(bundle)
        elif worklist.settle(bundle, scan["task_id"], n_val=scan.get("n_val", 0), n_test=scan.get("n_test", 0)):
            n_stored += bundle.n_stored
            if bundle.lacks_something:
                lacking.append(bundle)
    worklist.waiting.extend(lacking if worklist.wanted.points else _balanced(lacking))
    return Plan(
        bundles=tuple(_planned(bundle, worklist) for bundle in worklist.waiting),
        n_stored=n_stored,
        refused=dict(worklist.refused),
        n_points=len(worklist.wanted.points),
    )


def _survey(worklist: Worklist, log: Log) -> dict[str, Survey]:
    """Return what the files of every task say, of those that were not looked at yet too; refuses the others."""
    surveys = {}
    for data in worklist.wanted.data:
        try:
            surveys[data] = worklist.wanted.surveys.get(data) or survey(data)
        except DataError as error:
            worklist.refused[data] = str(error)
            log.write(f"refused: {data}: {error}")
    return surveys


def _bundles(worklist: Worklist, surveys: Mapping[str, Survey]) -> list[BundleState]:
    origins = {data: files.origin for data, files in surveys.items()}
    if worklist.wanted.points:
        return worklist.new_points(origins)
    return [bundle for data, origin in origins.items() for bundle in worklist.new_bundles(data, origin=origin)]


def scan_key(fingerprint: str, n_images: int | None) -> str:
    """Return the key under which the journal notes which task a folder's files are, or are when cut to so many."""
    return fingerprint if n_images is None else content_id("subset", [fingerprint, n_images])


class _Scans:
    """Which tasks files were when they were read last, each note read once."""

    def __init__(self, journal: Journal, tasks: Collection[str]) -> None:
        self.journal, self.tasks = journal, tasks
        self._read: dict[str, dict[str, Any] | None] = {}

    def of(self, fingerprint: str | None, bundle: BundleState) -> dict[str, Any] | None:
        """Return the note of a bundle's task, unless its row is lost or was never written, or the note is too old."""
        if fingerprint is None:
            return None
        key = scan_key(fingerprint, bundle.n_images)
        if key not in self._read:
            self._read[key] = self.journal.noted("scans", key)
        scan = self._read[key]
        is_of_use = scan is not None and scan["task_id"] in self.tasks and ("n_test" in scan or bundle.point is None)
        return scan if is_of_use else None


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
        group=lambda bundle: (bundle.origin, bundle.source, bundle.image_px, bundle.resize),
    )
