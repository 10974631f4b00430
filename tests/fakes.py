"""Stand-ins with known answers: harvests whose optimum follows a feature, a tiny network, a finetune of six lines."""

import math
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from scalepred.data.task import Split
from scalepred.harvest.calls import Event, answer
from scalepred.networks.architecture import build
from scalepred.networks.source import Source, source_of
from scalepred.predictor.choice import choose
from scalepred.predictor.harvested import Harvested
from scalepred.predictor.table import TrainingTable
from scalepred.recipe import GRID, Recipe, run_id
from scalepred.records import DIVERGED, DONE, RunRecord, SourceRecord, TaskRecord
from scalepred.training.loop import Finetuned
from scalepred.training.rates import epoch_rates
from scalepred.training.scoring import Scores

SOURCE, RECIPE = "source-a", "recipe-a"
SCALES = np.array(GRID)
TINY = "timm/test_resnet"
QUICK = Recipe(epochs=1, image_px=16, batch_size=8)


# --- a table with a known optimum -------------------------------------------------------------------------------------


def true_accuracies(optima: np.ndarray, *, drop: float = 0.03) -> np.ndarray:
    """Return (n, s) accuracies that fall by ``drop`` times the squared distance from each log2 optimum."""
    return np.clip(0.85 - drop * (np.log2(SCALES)[None] - optima[:, None]) ** 2, 0.2, 1.0)


def curve_table(
    n_origins: int = 20,
    *,
    per_origin: int = 2,
    slope: float = 1.2,
    noise: float = 0.01,
    seed: int = 0,
    prefix: str = "",
) -> TrainingTable:
    """Return bundles whose log2 optimum is ``1 + slope * hint``; with slope 0 all have the same."""
    rng = np.random.default_rng(seed)
    n = n_origins * per_origin
    hint = np.repeat(rng.uniform(-1.5, 1.5, n_origins), per_origin) + rng.normal(0, 0.05, n)
    accuracies = true_accuracies(1 + slope * hint) + rng.normal(0, noise, (n, len(SCALES)))
    return TrainingTable(
        names=tuple(f"{prefix}task-{i:03d}" for i in range(n)),
        origins=tuple(f"{prefix}origin-{i // per_origin:03d}" for i in range(n)),
        source_ids=(SOURCE,) * n,
        recipe_ids=(RECIPE,) * n,
        feature_names=("hint", "nothing", "size"),
        features=np.column_stack([hint, rng.normal(size=n), rng.uniform(5, 12, n)]),
        scales=SCALES.copy(),
        accuracies=np.clip(accuracies, 0, 1),
        n_held_out=np.full(n, 400),
        n_seeds=np.full(n, 1),
    )


def as_harvested(table: TrainingTable, *, n_val: int = 50, n_test: int = 350, seed: int = 0) -> Harvested:
    """Draw the right and wrong images behind a table's accuracies, one seed each."""
    rng = np.random.default_rng(seed)
    right = rng.random((*table.accuracies.shape, n_val + n_test)) < table.accuracies[:, :, None]
    correct = right[:, :, n_val:].astype(np.float64)
    return Harvested(
        task_ids=table.names,
        table=table,
        test=correct.mean(axis=2),
        val=list(right[:, :, :n_val].mean(axis=2)[:, :, None]),
        has_test=np.ones(len(table.names), dtype=bool),
        baseline=table.accuracies[:, 0] - 0.1,
        correct=[bundle[:, None, :] for bundle in correct],
        n_incomplete=0,
    )


# --- a warehouse's rows -----------------------------------------------------------------------------------------------


def task_record(name: str = "birds", *, origin: str = "zoo", n_val: int = 4, n_test: int = 8) -> TaskRecord:
    return TaskRecord(
        task_id=f"id-of-{name}",
        name=name,
        origin=origin,
        n_classes=2,
        n_train=20,
        n_val=n_val,
        n_test=n_test,
        label_counts={"a": 16, "b": 16},
        median_width_px=32,
        median_height_px=32,
        data_hash=f"hash-of-{name}",
    )


def source_record(source_id: str = SOURCE) -> SourceRecord:
    return SourceRecord(source_id=source_id, name="tiny", facts={"stages": {"conv1": 400, "head": 600}})


def run_record(
    task: TaskRecord,
    scale: float | None,
    *,
    val: list[int] | None,
    test: list[int] | None = None,
    recipe: Recipe = QUICK,
    seed: int = 0,
    source_id: str = SOURCE,
) -> RunRecord:
    """Return a run that got these images right; without ``val`` it diverged."""
    ids = {"task_id": task.task_id, "source_id": source_id, "recipe_id": recipe.recipe_id}
    return RunRecord(
        run_id=run_id(**ids, scale=scale, seed=seed),
        **ids,
        scale=scale,
        seed=seed,
        status=DIVERGED if val is None else DONE,
        diverged_step=3 if val is None else None,
        val_accuracy=None if val is None else float(np.mean(val)),
        val_loss=None if val is None else 0.5,
        test_accuracy=None if test is None else float(np.mean(test)),
        test_loss=None if test is None else 0.5,
        val_correct=None if val is None else np.packbits(np.array(val, dtype=bool)).tobytes(),
        test_correct=None if test is None else np.packbits(np.array(test, dtype=bool)).tobytes(),
        epoch_losses=[0.5],
        rates=[(0.0,) * 6],
        seconds=1.0,
        device="cpu",
        versions={"scalepred": "0"},
        finished_at="2024-01-01T00:00:00+00:00",
    )


# --- workers without processes ----------------------------------------------------------------------------------------


class InlineEngine:
    """Workers in this process, one call after another; some die when they are asked for their n-th answer.

    Those whose numbers are in ``pending`` never find room, and so never answer.
    """

    def __init__(self, new_worker, *, deaths=(), pending=()):
        self.new_worker, self.deaths, self.pending, self.n_calls = new_worker, set(deaths), set(pending), 0
        self.workers, self.devices, self.calls, self.asked = {}, {}, [], []

    def start(self, worker, *, device_index=0):
        self.workers[worker], self.devices[worker] = self.new_worker(), device_index

    def call(self, worker, method, *arguments):
        if worker not in self.pending:
            self.calls.append((worker, method, arguments))
        self.asked.append((worker, method, arguments))

    def wait(self, timeout_seconds):
        if not self.calls:
            return []
        worker, method, arguments = self.calls.pop(0)
        self.n_calls += 1
        if self.n_calls in self.deaths:
            del self.workers[worker]
            return [Event(worker=worker, value=None, died=True)]
        return [Event(worker=worker, value=answer(self.workers[worker], method, arguments))]

    def stop(self):
        self.workers.clear()
        self.calls.clear()


# --- images, a network and a finetune -------------------------------------------------------------------------------


def write_task(folder: Path, *, classes: tuple[str, ...] = ("dark", "light"), n: int = 10, seed: int = 0) -> Path:
    """Write noisy PNG images, a folder for each class, that differ in brightness by class."""
    rng = np.random.default_rng(seed)
    for level, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(n):
            base = 40 + 170 * level // max(1, len(classes) - 1)
            pixels = rng.integers(base - 40, base + 40, size=(24, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


def named_source(seed: int = 0) -> Source:
    """Return a network of 0.4 M parameters with random weights that timm knows by name, as a saved model must."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return source_of(build(TINY))


def fake_finetune(source, train, held_out, *, n_classes, recipe, scale, seed, best=2.0, diverges=10.0, **settings):
    """Take the place of ``finetune``: best at one scale, worse away from it, and diverging at another."""
    share = 0.5 if scale is None else max(0.0, 1 - abs(np.log2(scale) - np.log2(best)) / 4)
    diverged = scale == diverges
    return Finetuned(
        network=torch.nn.Identity(),
        status=DIVERGED if diverged else DONE,
        diverged_step=1 if diverged else None,
        epoch_losses=[] if diverged else [1 - share] * recipe.epochs,
        rates=epoch_rates(recipe, scale, n_train=len(train.labels)),
        scores={}
        if diverged
        else {n: _scores(split, share, seed, n_classes) for n, split in held_out.items() if len(split.labels)},
        train_seconds=0.01,
        evaluate_seconds=0.01,
    )


def _scores(split: Split, share: float, seed: int, n_classes: int) -> Scores:
    n = len(split.labels)
    correct = np.random.default_rng(seed).permutation(n) < int(share * n)
    logits = np.eye(n_classes, dtype=np.float32)[np.where(correct, split.labels, (split.labels + 1) % n_classes)]
    return Scores(accuracy=float(correct.mean()), loss=1 - share, correct=correct, logits=logits)


def ask(predictor, hint=0.0, *, source_id=SOURCE, recipe_id=RECIPE, rule=None, shape=None, **features):
    """Return the choice for a task of ``curve_table`` with this hint."""
    values = {"hint": hint, "nothing": 0.0, "size": 8.0} | features
    return choose(predictor, values, source_id=source_id, recipe_id=recipe_id, rule=rule, shape=shape)


def fractions(shape, *, missing=True):
    """Return a strategy of accuracies of 50 images, NaN among them if some may be missing."""
    elements = st.integers(0, 50).map(lambda right: right / 50)
    return arrays(np.float64, shape, elements=st.one_of(elements, st.just(math.nan)) if missing else elements)
