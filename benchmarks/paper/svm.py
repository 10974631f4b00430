"""The related work's other way: an SVM for each class, on the features of any stage; against finetuning the last layer.

Source: Dube et al. 2018, section 2 ("as many SVMs as categories in the target dataset"; "the feature embeddings can be
taken from any layer of the neural network but, in general, is taken from the penultimate layer"). Linear SVMs, C = 1,
on features that are averaged over their maps and standardised by the training images. Nothing is finetuned by them, so
they are no runs of the harvest; each pair's scores are kept in a file beside its sources.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from benchmarks.paper.report import Report, median_told, share_told, table
from benchmarks.paper.results import Results
from benchmarks.paper.settings import INNER, rates
from benchmarks.paper.transfer import Pair, Place, pairs_of
from scalepred.data.task import Task, read_task
from scalepred.files import write_text
from scalepred.networks.source import Source, load_source
from scalepred.recipe import STAGES
from scalepred.training.scoring import predict_logits

NAME = "svm"
LAYERS = STAGES[:-1]
"""conv5, averaged over its map, is the penultimate layer of a ResNet-27."""
C = 1.0


def run(place: Place) -> None:
    """Fit the SVMs of all pairs that are not done."""
    for pair in pairs_of(place):
        file = file_of(pair, place)
        if not file.exists():
            task = read_task(place.task(f"{pair.target}-target"), image_px=place.settings.image_px)
            scores = score_layers(load_source(str(place.source(pair.source))), task)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(scores) + "\n")


def file_of(pair: Pair, place: Place) -> Path:
    """Return where a pair's scores lie."""
    return place.folder / "svm" / f"{pair.target}-{pair.source}.json"


def score_layers(source: Source, task: Task) -> dict[str, dict[str, float]]:
    """Return layer -> "val" and "test" -> accuracy of the SVMs on its features."""
    features = {name: stage_features(source, getattr(task, name).images) for name in ("train", "val", "test")}
    scores: dict[str, dict[str, float]] = {}
    for layer in LAYERS:
        mean, spread = features["train"][layer].mean(axis=0), features["train"][layer].std(axis=0)
        inputs = {name: (some[layer] - mean) / np.maximum(spread, 1e-6) for name, some in features.items()}
        machine = LinearSVC(C=C)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a nearly converged one serves as well
            machine.fit(inputs["train"], task.train.labels)
        scores[layer] = {
            name: float((machine.predict(inputs[name]) == getattr(task, name).labels).mean())
            for name in ("val", "test")
        }
    return scores


def stage_features(source: Source, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return stage -> (n, d) float32, each stage's output averaged over its map, of (n, 3, h, w) uint8 images.

    The source is a ResNet-27, whose stages are modules of their names.
    """
    network = source.architecture.network
    kept: dict[str, list[Tensor]] = {name: [] for name in LAYERS}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: kept[name].append(output.float().mean(dim=(2, 3)))

    hooks = [network.get_submodule(name).register_forward_hook(keep(name)) for name in LAYERS]
    try:
        predict_logits(network, source.architecture, images, device=torch.device("cpu"), dtype=torch.float32)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(some).numpy() for name, some in kept.items()}


def study(results: Results) -> Report:
    """Return each layer's accuracy beside that of the last layer finetuned alone."""
    rows, best, apart = [], [], []
    for pair in pairs_of(results.place):
        file = file_of(pair, results.place)
        if not file.exists():
            continue
        scores = json.loads(file.read_text(encoding="utf-8"))
        tuned = [
            results.accuracy(f"{pair.target}-target", pair.source, rates(0.0, outer, results.place.settings)[1])
            for outer in INNER
        ]
        best.append(max(LAYERS, key=lambda layer: scores[layer]["val"]))
        frozen = max(((each.val, each.test) for each in tuned if each), default=None)
        if frozen is not None:
            apart.append(
                [100 * (scores[LAYERS[-1]][name] - of) for name, of in zip(("val", "test"), frozen, strict=True)]
            )
        rows.append(
            [
                f"{pair.target} from {pair.source}",
                *(f"{100 * scores[layer]['val']:.1f}" for layer in LAYERS),
                best[-1],
                f"{100 * scores[best[-1]]['test']:.1f}",
                "" if frozen is None else f"{100 * frozen[0]:.1f}",
                "" if frozen is None else f"{100 * frozen[1]:.1f}",
            ]
        )
    counts = ", ".join(f"{layer} {best.count(layer)}" for layer in LAYERS)
    heads = ["target and source", *LAYERS, "best", "it on test", "IL 0, the better LL", "it on test"]
    words = f"Best layer by validation: {counts}."
    if apart:
        val, test = ([each[at] for each in apart] for at in (0, 1))
        words += (
            f" SVMs on the penultimate layer over IL 0 at the better LL: above in {share_told(val)} on validation, "
            f"{share_told(test)} on test; median difference on test {median_told(test, unit=' points')}."
        )
    told = [words, "", *table(heads, rows)] if rows else ["No pair is done yet."]
    return Report(
        name=NAME,
        title="Section 2: SVMs on features",
        lines=tuple(told),
        numbers={"n": len(rows), "above_il_0": sum(val > 0 for val, _ in apart)},
    )
