"""Our default job against its rivals: test accuracy on the same tasks, and seconds on the same cores.

    pip install -e '.[rivals]'
    python -m benchmarks.bench_rivals SUITE --results FILE.jsonl --recipe NAME --exclude FILE [--tasks 30]
    taskset -c 0 python -m benchmarks.bench_rivals … --threads 1 --part 1/2    # two at once, a core each, one file
    python -m benchmarks.bench_rivals --smoke

SUITE is what `python -m benchmarks.wild build SUITE` wrote. Its tasks are taken in an order that ``--seed`` fixes, one
of each origin first, without those whose names stand in the files of ``--exclude``: tasks that chose anything. Origins
of which nothing is excluded come first, for tasks of one origin may share test images.

All rivals start from the same weights (efficientnet_lite0) and see the same images at the same size, written once in
their own sizes, upright and on white; each job is a program of its own, with the same number of threads, bound to as
many cores. The rivals take turns on each task, and who begins rotates. Seconds mean something on a machine that does
nothing else: threads that wait for each other's cores burn time.

  ours           `scalepred finetune` with --recipe and --scale, and with --ours-options; with --scale auto, which it
                 has else, it saves the linear probe where that is expected to be the better model
  finetuned      the same with --no-probe
  today          frozen-statistics-128 at the fixed scale of models/default, of training images alone: our default as
                 it was before it learnt from validation images, which ours does where it has no other options
  probe, -all    logistic regression on frozen penultimate features of the training images; with the validation images
  stages, -all   the same on what all stages give, as `scalepred finetune --probe` fits it
  search         eleven jobs of today's recipe, the best on validation
  fastai-*       `fine_tune` of 5 or 20 epochs at its default rate, or (-found) at lr_find's suggestion
  timm, -full    timm's training script's defaults at a tenth of its rate, and at its rate

What each sets is in the docstrings of benchmarks/rivals. With ``--learn-all`` those that select nothing on validation
images (fastai, timm, probe) learn from them too; ours does what its options say, today and search do not.

Every job is a line of FILE.jsonl: stopped at any moment, it loses the job in hand at most, and the same command goes
on. Other options that decide outcomes begin anew in the same file, and a failed job is tried again. Prints a table of
the tasks that all rivals have done, with 95 % intervals from a bootstrap that draws whole origins, and ends in a line
of JSON.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.bench_harvest import make_tiny_task
from benchmarks.lines import part_of
from benchmarks.rivals.ask import Answer, Asked, read_answer, write_images
from benchmarks.rivals.methods import FINETUNED, METHODS, OURS, TODAY
from benchmarks.rivals.report import as_json, as_markdown, compare
from benchmarks.rivals.results import Outcome, append, key_of, read_results
from benchmarks.timed import ROOT, hardware
from benchmarks.wild.choose import SuiteTask, drawn, suite_tasks
from scalepred.files import write_text
from scalepred.networks.names import DEFAULT_SOURCE
from scalepred.networks.source import load_source
from scalepred.predictor.context import probe_set
from scalepred.processes import n_cores
from scalepred.recipe import RECIPES, Recipe, content_id, load_recipe

TODAYS_RECIPE = "frozen-statistics-128"
TODAYS_OPTIONS = ("--train-on", "train")
EPOCHS = 20
VERSIONS = ("scalepred", "torch", "torchvision", "timm", "fastai", "scikit-learn", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is compared.

    Attributes:
        ours: the recipe of our default job.
        scale: of our default job: a number, or "auto".
        ours_options: further options of `scalepred finetune` for it.
        today: today's recipe, and the search's.
        todays_scale: its fixed scale.
        image_px: of all rivals.
        epochs: of timm, and the most of fastai.
        threads: of every job, and the cores that it is bound to.
        learns_all: rivals that select nothing on validation images learn from them.
        methods: who takes part.
        seeds: of the jobs on each task.
    """

    ours: Recipe
    scale: str
    ours_options: tuple[str, ...]
    today: Recipe
    todays_scale: float
    image_px: int
    epochs: int
    threads: int
    learns_all: bool
    methods: tuple[str, ...]
    seeds: tuple[int, ...]

    def settings_id(self, method: str) -> str:
        """Return the id of what decides a method's outcomes, so that a file can hold several comparisons."""
        facts: dict[str, Any] = {"method": method, "image_px": self.image_px, "threads": self.threads}
        if method in (OURS, FINETUNED):
            facts |= {"recipe": self.ours.recipe_id, "scale": self.scale, "options": list(self.ours_options)}
            facts |= {"may_probe": probe_set(self.image_px)} if method == OURS else {}
        elif method == TODAY:
            facts |= {"recipe": self.today.recipe_id, "scale": self.todays_scale, "options": TODAYS_OPTIONS}
        else:
            own = {"recipe": self.today.recipe_id} if METHODS[method].needs == "scalepred" else {"epochs": self.epochs}
            own |= {"probe": probe_set(self.image_px)} if method.startswith("stages") else {}
            facts |= {**own, "batch_size": self.today.batch_size, "learns_all": self.learns_all and method != "search"}
        return content_id("rival", facts)


def main() -> None:
    """Run what is missing, and print the comparison."""
    parser = argument_parser()
    arguments = parser.parse_args()
    if not arguments.smoke and not (arguments.suite and arguments.results):
        parser.error("give SUITE and --results FILE, or --smoke")
    settings = read_settings(arguments)
    if not arguments.report:
        check_installed(settings.methods)
    with tempfile.TemporaryDirectory() as made:
        tasks = smoke_tasks(Path(made)) if arguments.smoke else chosen(arguments)
        results = arguments.results or Path(made) / "results.jsonl"
        scratch = arguments.scratch or Path(made) / "scratch"
        machine = hardware()
        if not arguments.report:
            for outcome in run_missing(settings, part_of(tasks, arguments.part), results, scratch):
                note(outcome)
        print_report(settings, tasks, read_results(results), machine=machine, arguments=arguments)


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", type=Path, nargs="?", help="as benchmarks.wild build wrote it")
    parser.add_argument("--results", type=Path, metavar="FILE", help="a line of JSON for each job")
    parser.add_argument("--recipe", default=TODAYS_RECIPE, help="of our default job: a name, or a JSON file")
    parser.add_argument("--scale", default="auto", help="of our default job: a number, or auto")
    parser.add_argument("--ours-options", default="", metavar="TEXT", help="more options for it, as one text")
    parser.add_argument("--tasks", type=int, default=30, help="how many (default: 30)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these tasks instead")
    parser.add_argument(
        "--exclude", nargs="+", type=Path, default=[], metavar="FILE", help="names of tasks, one a line"
    )
    parser.add_argument("--min-train", type=int, default=0, help="no tasks with fewer training images")
    parser.add_argument("--max-train", type=int, help="no tasks with more training images")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="run every Nth task, from the Ith on")
    parser.add_argument("--seed", type=int, default=0, help="of the order of tasks")
    parser.add_argument("--seeds", type=int, default=1, help="jobs of each rival on each task")
    parser.add_argument("--image-px", type=int, help="default: our recipe's")
    parser.add_argument("--threads", type=int, default=n_cores(), help="and cores; default: all")
    parser.add_argument("--learn-all", action="store_true", help="rivals that select nothing learn validation images")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS], metavar="NAME")
    parser.add_argument("--scratch", type=Path, help="keep the tasks' images here; default: written anew")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--smoke", action="store_true", help="two tiny tasks of its own, two epochs")
    return parser


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Return what the command line asks for.

    Raises:
        SystemExit: if the scale is none.
    """
    ours, today = load_recipe(arguments.recipe), RECIPES[TODAYS_RECIPE]
    image_px = arguments.image_px or (32 if arguments.smoke else ours.image_px)
    epochs = 2 if arguments.smoke else EPOCHS
    if arguments.smoke:
        ours, today = (replace(each, epochs=epochs) for each in (ours, today))
    if arguments.scale != "auto" and not _is_positive(arguments.scale):
        raise SystemExit(f"--scale is a number above 0, or auto, not {arguments.scale!r}.")
    if arguments.scale != "auto" and FINETUNED in arguments.methods:
        raise SystemExit(f"With a --scale of its own ours finetunes: leave {FINETUNED} out of --methods.")
    return Settings(
        ours=replace(ours, image_px=image_px),
        scale=arguments.scale,
        ours_options=tuple(arguments.ours_options.split()),
        today=replace(today, image_px=image_px),
        todays_scale=fixed_scale(),
        image_px=image_px,
        epochs=epochs,
        threads=arguments.threads,
        learns_all=arguments.learn_all,
        methods=tuple(arguments.methods),
        seeds=tuple(range(arguments.seeds)),
    )


def _is_positive(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def fixed_scale() -> float:
    """Return the fixed scale that the predictor that ships has for today's default."""
    about = json.loads((ROOT / "models" / "default" / "predictor.json").read_text(encoding="utf-8"))
    wanted = (load_source(DEFAULT_SOURCE).source_id, RECIPES[TODAYS_RECIPE].recipe_id)
    scales = [each["fixed_scale"] for each in about["groups"] if (each["source_id"], each["recipe_id"]) == wanted]
    if not scales:
        raise SystemExit(f"models/default has no fixed scale of {DEFAULT_SOURCE} with {TODAYS_RECIPE}.")
    return float(scales[0])


def check_installed(methods: Sequence[str]) -> None:
    """Raise SystemExit if a method's package is missing."""
    for needed in sorted({METHODS[method].needs for method in methods}):
        if find_spec(needed) is None:
            raise SystemExit(f"{needed} is not installed: pip install -e '.[rivals]', or name other --methods.")


def chosen(arguments: argparse.Namespace) -> list[SuiteTask]:
    """Return the tasks of the command line.

    Raises:
        SystemExit: if one that is named, or excluded, is not in the suite.
    """
    tasks = suite_tasks(arguments.suite)
    by_name = {task.name: task for task in tasks}
    lines = [line for file in arguments.exclude for line in file.read_text(encoding="utf-8").splitlines()]
    exclude = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
    if unknown := sorted({*arguments.only, *exclude} - set(by_name)):
        raise SystemExit(f"{arguments.suite} has no task {', '.join(unknown)}.")
    if arguments.only:
        return [by_name[name] for name in arguments.only]
    return drawn(
        tasks,
        n=arguments.tasks,
        seed=arguments.seed,
        exclude=exclude,
        min_train=arguments.min_train,
        max_train=arguments.max_train,
    )


def smoke_tasks(folder: Path) -> list[SuiteTask]:
    """Write two tiny tasks."""
    made = [make_tiny_task(folder / f"tiny-{side}", side_px=side) for side in (48, 64)]
    return [SuiteTask(folder=each, origin=each.name, n_train=16, n_val=6, n_test=8) for each in made]


# --- running ----------------------------------------------------------------------------------------------------------


def run_missing(settings: Settings, tasks: Sequence[SuiteTask], results: Path, scratch: Path) -> Iterator[Outcome]:
    """Run every job that the results lack, and yield what came of it once it is written."""
    done = {key_of(each) for each in read_results(results) if each.accuracy is not None}
    scratch.mkdir(parents=True, exist_ok=True)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings.threads])
    for number, task in enumerate(tasks):
        first = number % len(settings.methods)
        for seed in settings.seeds:
            for method in (*settings.methods[first:], *settings.methods[:first]):
                if (settings.settings_id(method), task.name, method, seed) not in done:
                    write_images(task.folder, scratch / task.name)
                    outcome = run_job(settings, task, method, seed=seed, scratch=scratch)
                    append(results, outcome)
                    yield outcome


def run_job(settings: Settings, task: SuiteTask, method: str, *, seed: int, scratch: Path) -> Outcome:
    """Run one job as a program of its own; one that fails has no accuracy, and tells why."""
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(settings.threads))
    with tempfile.TemporaryDirectory(dir=scratch) as output:
        command = job_command(settings, task, method, seed=seed, scratch=scratch, output=Path(output))
        before, started = _cpu_seconds(), time.perf_counter()
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
        wall, cpu = time.perf_counter() - started, _cpu_seconds() - before
    answer = Answer(accuracy=0.0, n_test=task.n_test, work_seconds=wall, details={"failed": ended.stderr[-2000:]})
    if ended.returncode == 0:
        answer = read_finetune(ended.stdout, task) if METHODS[method].run is None else read_answer(ended.stdout)
    return Outcome(
        settings=settings.settings_id(method),
        task=task.name,
        origin=task.origin,
        method=method,
        seed=seed,
        accuracy=answer.accuracy if ended.returncode == 0 else None,
        n_test=answer.n_test,
        wall_seconds=wall,
        work_seconds=answer.work_seconds,
        cpu_seconds=cpu,
        details=answer.details,
    )


def job_command(
    settings: Settings, task: SuiteTask, method: str, *, seed: int, scratch: Path, output: Path
) -> list[str]:
    """Return a job's command; what it reads or writes beside the task's images goes to ``output``."""
    recipe = output / "recipe.json"
    is_ours = method in (OURS, FINETUNED)
    write_text(recipe, (settings.ours if is_ours else settings.today).to_json())
    if METHODS[method].run is None:
        scale = settings.scale if is_ours else str(settings.todays_scale)
        how = ["--auto"] if scale == "auto" else ["--scale", scale]
        how += ["--no-probe"] if method == FINETUNED else []
        more = settings.ours_options if is_ours else TODAYS_OPTIONS
        command = [sys.executable, "-m", "scalepred", "finetune", str(scratch / task.name), *how, *more]
        fixed = ["--recipe", str(recipe), "--seed", str(seed), "--device", "cpu", "--json"]
        return [*command, *fixed, "--output", str(output / "model")]
    asked = Asked(
        folder=scratch / task.name,
        epochs=settings.epochs,
        image_px=settings.image_px,
        batch_size=settings.today.batch_size,
        recipe=recipe,
        seed=seed,
        threads=settings.threads,
        learns_all=settings.learns_all,
    )
    return [sys.executable, "-m", "benchmarks.rivals", method, *asked.arguments()]


def read_finetune(printed: str, task: SuiteTask) -> Answer:
    """Return the answer of `scalepred finetune --json`."""
    told = json.loads(printed)
    return Answer(
        accuracy=told["metrics"]["test_accuracy"],
        n_test=task.n_test,
        work_seconds=told["seconds"]["total"],
        details={"choice": told["choice"], "seconds": told["seconds"]},
    )


def _cpu_seconds() -> float:
    """Return what all processes that have ended here took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def note(outcome: Outcome) -> None:
    """Say on stderr how far it is."""
    said = "failed" if outcome.accuracy is None else f"{100 * outcome.accuracy:.1f} %"
    where = f"{outcome.task}, seed {outcome.seed}, {outcome.method}"
    print(f"{where}: {said} in {outcome.wall_seconds:.0f} s", file=sys.stderr, flush=True)


# --- reporting --------------------------------------------------------------------------------------------------------


def print_report(
    settings: Settings,
    tasks: Sequence[SuiteTask],
    outcomes: Sequence[Outcome],
    *,
    machine: dict[str, object],
    arguments: argparse.Namespace,
) -> None:
    """Print the table, and all of it as a line of JSON."""
    ids = {method: settings.settings_id(method) for method in settings.methods}
    names = {task.name for task in tasks}
    mine = [each for each in outcomes if ids.get(each.method) == each.settings and each.task in names]
    rows = compare(mine, settings.methods)
    versions = {"python": platform.python_version()} | {name: _version(name) for name in VERSIONS}
    print(as_markdown(rows))
    print(f"\n{machine['processor']}, {settings.threads} threads; {versions}")
    report = {
        "benchmark": "rivals",
        "smoke": arguments.smoke,
        "command": sys.argv[1:],
        "recipe": settings.ours.to_json(),
        "scale": settings.scale,
        "ours_options": list(settings.ours_options),
        "todays_scale": settings.todays_scale,
        "image_px": settings.image_px,
        "threads": settings.threads,
        "learns_all": settings.learns_all,
        "n_seeds": len(settings.seeds),
        "tasks": sorted(names),
        "rows": [as_json(row) for row in rows],
        "hardware": machine,
        "versions": versions,
    }
    print(json.dumps(report))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
