"""The pilot of defaults: every variant on the same tasks, around its own best scale, with the same seeds.

    python -m benchmarks.wild.defaults SUITE --warehouse FILE                    # factors one at a time, and pairs
    python -m benchmarks.wild.defaults SUITE --warehouse FILE --together fitted cosine   # these, and without each
    python -m benchmarks.wild.defaults SUITE --warehouse FILE --dry-run          # what it costs
    python -m benchmarks.wild.defaults SUITE --warehouse FILE --list             # names of its tasks, one a line
    python -m benchmarks.wild.defaults SUITE --warehouse FILE --tasks NAMES      # the tasks of such a file instead
    python -m benchmarks.wild.defaults SUITE --warehouse FILE --report

Tasks are the smallest of each origin, then every origin's second. Runs that the warehouse has, such as those of an
imported snapshot's grids at whole octaves, are not run again. For each setting (a network at an image size) all
variants of variants.py are run, task by task, so that at any moment all of a tier have met the same tasks; cheap and
promising variants come before dear ones, and the second seed after all of the first.

Scales are octaves: three around a guess, on the first eight tasks; where the mean over these is best at an edge, an
octave beyond it is added, four times at most on either side; then the same again over all tasks. Held-out images decide
here what is run, and nothing that is reported: see the report for that.

Every run is journalled by the worker that made it, and reaches the warehouse about once a minute, when a task is done.
So the pilot may be stopped at any moment, loses the runs in hand at most, and goes on with the same command. A
warehouse belongs to one suite.
"""

import argparse
import dataclasses
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from benchmarks.wild.choose import SuiteTask, smallest, suite_tasks
from benchmarks.wild.defaults_report import Seen, print_report, read_seen
from benchmarks.wild.variants import SETTINGS, Setting, Variant, variants_of
from scalepred.data.merge import merged
from scalepred.data.task import Split, read_task
from scalepred.networks.source import Source, load_source
from scalepred.processes import n_cores
from scalepred.records import RecipeRecord
from scalepred.store.journal import Journal, journal_of
from scalepred.store.keeping import Keeper
from scalepred.training.bundle import Bundle
from scalepred.training.devices import keep_freed_memory, pick_device
from scalepred.training.loop import finetune
from scalepred.training.planned import planned_run

PLACING = 8
"""So many tasks say where a variant's scales lie, before all do."""

AROUND = 1
"""Octaves on either side of the guess."""

BEYOND = 4
"""Octaves that are added on either side at most."""

STORE_SECONDS = 60.0

Lacking = tuple[Variant, int, int]
"""A variant, an octave and a seed."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker is asked: runs of one task in one setting."""

    task: SuiteTask
    setting: Setting
    runs: tuple[Lacking, ...]
    journal: Path
    device: str


def main() -> None:
    """Run what is missing, or tell."""
    arguments = argument_parser().parse_args()
    wanted = wanted_tasks(arguments)
    tasks = smallest(wanted, n=arguments.n_tasks, min_train=arguments.min_train)
    plans = {name: chosen_variants(SETTINGS[name], arguments) for name in arguments.settings}
    if arguments.list:
        print(*(task.name for task in tasks), sep="\n")
    elif arguments.report:
        n_train = {task.name: task.n_train for task in wanted}
        unknown = 0 if arguments.tasks is None else -1
        seen = [s for s in read_seen(arguments.warehouse) if n_train.get(s.task, unknown) >= arguments.min_train]
        print_report(plans, seen, command=sys.argv[1:])
    elif arguments.dry_run:
        tell_cost(tasks, plans, n_seeds=arguments.seeds, workers=arguments.workers)
    else:
        run_all(tasks, plans, arguments)


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--warehouse", type=Path, required=True)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=[*SETTINGS], metavar="NAME")
    parser.add_argument("--variants", nargs="+", default=[], metavar="NAME", help="these alone, beside the default")
    parser.add_argument("--together", nargs="+", default=[], metavar="FACTOR", help="the second stage")
    parser.add_argument("--n-tasks", type=int, default=40)
    parser.add_argument("--tasks", type=Path, metavar="FILE", help="of these alone, a name on each line")
    parser.add_argument("--min-train", type=int, default=0, help="no tasks with fewer training images")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=n_cores(), help="of one thread each; default: one for each core")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--dry-run", action="store_true", help="time a few steps, and tell what all of it costs")
    doing.add_argument("--list", action="store_true", help="print the names of the tasks")
    doing.add_argument("--report", action="store_true", help="run nothing, and print what came out")
    return parser


def wanted_tasks(arguments: argparse.Namespace) -> list[SuiteTask]:
    """Return the suite's tasks, or those of them that a file names.

    Raises:
        SystemExit: if a name is none of the suite's.
    """
    tasks = suite_tasks(arguments.suite)
    if arguments.tasks is None:
        return tasks
    names = arguments.tasks.read_text(encoding="utf-8").splitlines()
    if unknown := sorted(set(names) - {task.name for task in tasks}):
        raise SystemExit(f"{arguments.tasks} names no task of {arguments.suite}: {', '.join(unknown)}.")
    return [task for task in tasks if task.name in set(names)]


def chosen_variants(setting: Setting, arguments: argparse.Namespace) -> list[Variant]:
    """Return a setting's variants that the command line asks for, the present default first.

    Raises:
        SystemExit: if it names none of them.
    """
    variants = variants_of(setting, together=arguments.together)
    names = {each.name for name in SETTINGS for each in variants_of(SETTINGS[name], together=arguments.together)}
    if unknown := sorted(set(arguments.variants) - names):
        raise SystemExit(f"No variant {', '.join(unknown)}; there are {', '.join(sorted(names))}.")
    return [
        each for each in variants if not arguments.variants or each is variants[0] or each.name in arguments.variants
    ]


# --- what is lacking --------------------------------------------------------------------------------------------------


def rounds(
    tasks: Sequence[SuiteTask], plans: Mapping[str, Sequence[Variant]], *, n_seeds: int
) -> Iterator[tuple[str, list[Variant], Sequence[SuiteTask], int]]:
    """Yield what is done together, in this order: setting, variants of a tier, tasks, seed."""
    for seed in range(n_seeds):
        for name, variants in plans.items():
            for tier in sorted({variant.tier for variant in variants}):
                members = [variant for variant in variants if variant.tier == tier]
                if seed == 0 and len(tasks) > PLACING:
                    yield name, members, tasks[:PLACING], seed
                yield name, members, tasks, seed


def octaves(variant: Variant, tasks: Sequence[str], accuracies: Mapping[int, Mapping[str, float]]) -> list[int]:
    """Return the octaves that a variant is run at, by what came out so far; asked again, it may ask for more.

    Args:
        variant: with its guess.
        tasks: names of all that are wanted.
        accuracies: octave -> task -> held-out accuracy of the first seed, at chance where it diverged.
    """
    wanted = list(range(variant.octave - AROUND, variant.octave + AROUND + 1))
    for decide in (tasks[:PLACING], tasks):
        while all(task in accuracies.get(octave, {}) for octave in wanted for task in decide):
            means = {octave: float(np.mean([accuracies[octave][task] for task in decide])) for octave in wanted}
            best = max(wanted, key=lambda octave: means[octave])
            if best == wanted[-1] and best < variant.octave + AROUND + BEYOND:
                wanted.append(best + 1)
            elif best == wanted[0] and best > variant.octave - AROUND - BEYOND:
                wanted.insert(0, best - 1)
            else:
                break
        else:
            break  # first these
    return wanted


def lacking_runs(
    setting: Setting, variants: Sequence[Variant], tasks: Sequence[SuiteTask], seen: Sequence[Seen], *, seed: int
) -> dict[str, list[Lacking]]:
    """Return the runs that a round lacks, by the name of their task."""
    names = [task.name for task in tasks]
    lacking: dict[str, list[Lacking]] = defaultdict(list)
    for variant in variants:
        mine = [each for each in seen if each.is_of(setting, variant)]
        done = {(each.task, each.octave, each.seed) for each in mine}
        accuracies: dict[int, dict[str, float]] = defaultdict(dict)
        for each in mine:
            if each.seed == 0:
                accuracies[each.octave][each.task] = each.held_out
        wanted = octaves(variant, names, accuracies)
        for name in names:
            lacking[name] += [(variant, each, seed) for each in wanted if (name, each, seed) not in done]
    return {name: runs for name, runs in lacking.items() if runs}


# --- running ----------------------------------------------------------------------------------------------------------


def run_all(tasks: Sequence[SuiteTask], plans: Mapping[str, Sequence[Variant]], arguments: argparse.Namespace) -> None:
    """Run every round until it lacks nothing."""
    journal = journal_of(arguments.warehouse)
    keeper = Keeper(arguments.warehouse, journal, lock_timeout_seconds=60.0)
    context = get_context("spawn")
    with journal.held(lock_timeout_seconds=60.0):
        keeper.catch_up()
        pool = ProcessPoolExecutor(arguments.workers, mp_context=context, initializer=_begin)
        try:
            for name, variants, some, seed in rounds(tasks, plans, n_seeds=arguments.seeds):
                while lacking := _lacking_now(arguments.warehouse, SETTINGS[name], variants, some, seed=seed):
                    jobs = [
                        Job(
                            task=task,
                            setting=SETTINGS[name],
                            runs=tuple(lacking[task.name]),
                            journal=journal.folder,
                            device=arguments.device,
                        )
                        for task in some
                        if task.name in lacking
                    ]
                    note(f"{name}, seed {seed}: {sum(map(len, lacking.values()))} runs of {len(jobs)} tasks")
                    _run_round(pool, jobs, keeper)
        finally:
            pool.shutdown(cancel_futures=True)
            keeper.catch_up()


def _lacking_now(
    warehouse: Path, setting: Setting, variants: Sequence[Variant], tasks: Sequence[SuiteTask], *, seed: int
) -> dict[str, list[Lacking]]:
    return lacking_runs(setting, variants, tasks, read_seen(warehouse), seed=seed)


def _run_round(pool: ProcessPoolExecutor, jobs: Sequence[Job], keeper: Keeper) -> None:
    """Run jobs, and bring what they journal to the warehouse once in a while, and at the end."""
    stored = time.monotonic()
    for n_done, future in enumerate(as_completed([pool.submit(run_job, job) for job in jobs]), start=1):
        note(f"{n_done} of {len(jobs)}: {future.result()}")
        if time.monotonic() - stored > STORE_SECONDS:
            keeper.catch_up()
            stored = time.monotonic()
    keeper.catch_up()


def _begin() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()


_sources: dict[str, Source] = {}
"""Of this worker, by name."""


def run_job(job: Job) -> str:
    """Run what is lacking of a task, journal every run once it is done, and say how long it took.

    All runs are in float32, so that those of machines with and without bfloat16 can be compared.
    """
    started = time.perf_counter()
    journal = Journal(job.journal)
    if job.setting.source not in _sources:
        _sources[job.setting.source] = load_source(job.setting.source)
    source = _sources[job.setting.source]
    journal.add(source.record)
    task = read_task(job.task.folder, image_px=job.setting.recipe.image_px)
    bundles: dict[bool, Bundle] = {}
    for variant, octave, seed in job.runs:
        if variant.learns_all not in bundles:
            bundles[variant.learns_all] = Bundle(
                task=merged(task, "val") if variant.learns_all else task,
                source=source,
                device=pick_device(job.device),
            )
        bundle = bundles[variant.learns_all]
        journal.add(bundle.task.record)
        journal.add(RecipeRecord(recipe_id=variant.recipe.recipe_id, name=variant.name, json=variant.recipe.to_json()))
        planned = planned_run(
            bundle.task.record.task_id, source.source_id, recipe=variant.recipe, scale=2.0**octave, seed=seed
        )
        journal.add(bundle.run(planned)[0])
    return f"{job.task.name}: {len(job.runs)} runs in {time.perf_counter() - started:.0f} s"


# --- what it costs ----------------------------------------------------------------------------------------------------


def tell_cost(
    tasks: Sequence[SuiteTask], plans: Mapping[str, Sequence[Variant]], *, n_seeds: int, workers: int
) -> None:
    """Time each variant's steps on one thread here, and print what a run and all runs take at three octaves."""
    torch.set_num_threads(1)
    total = 0.0
    for name, variants in plans.items():
        source = load_source(SETTINGS[name].source)
        print(f"{name}: {len(tasks)} tasks, {len(variants)} variants, {n_seeds} seeds, 3 octaves")
        for variant in variants:
            per_train, per_test = image_seconds(source, variant)
            seconds = [
                variant.recipe.epochs * (task.n_train + task.n_val * variant.learns_all) * per_train
                + (task.n_val * (not variant.learns_all) + task.n_test) * per_test
                for task in tasks
            ]
            hours = 3 * n_seeds * sum(seconds) / 3600
            total += hours
            print(f"  {variant.name}: {np.mean(seconds):.1f} s a run ({max(seconds):.1f} at most), {hours:.2f} h")
    print(f"{total:.1f} core hours, {total / workers:.1f} h with {workers} workers; octaves beyond come on top")


def image_seconds(source: Source, variant: Variant) -> tuple[float, float]:
    """Return the processor's seconds of a training image in a step, and of a scored one, on random images.

    As on a task's first run: nothing is kept of a frozen front. Each is the least of three, since a busy machine may
    add more to the seconds of a small network than a step takes.
    """
    rng = np.random.default_rng(0)
    px, n = variant.recipe.image_px, variant.recipe.batch_size
    images = Split(rng.integers(0, 256, (n, 3, px, px), dtype=np.uint8), np.arange(n) % 2, ("",) * n)

    def seconds(epochs: int, held_out: Mapping[str, Split]) -> float:
        return min(seconds_once(epochs, held_out) for _ in range(3))

    def seconds_once(epochs: int, held_out: Mapping[str, Split]) -> float:
        started = time.process_time()
        finetune(
            source,
            images,
            held_out,
            n_classes=2,
            recipe=dataclasses.replace(variant.recipe, epochs=epochs, head_start="noise"),
            scale=2.0**-10,
            seed=0,
            device=torch.device("cpu"),
        )
        return time.process_time() - started

    seconds_once(1, {})  # warms up
    one = seconds(1, {})
    return max(0.0, seconds(3, {}) - one) / (2 * n), max(0.0, seconds(1, {"test": images}) - one) / n


def note(text: str) -> None:
    """Say on stderr how far it is."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
