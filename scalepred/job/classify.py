"""Classifies images with a finetuned model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from scalepred.data.decode import MAX_MEGAPIXELS
from scalepred.data.load import load_images
from scalepred.data.scan import Skipped, readable, walk
from scalepred.errors import DataError
from scalepred.job.folder import Model
from scalepred.networks.source import on_device
from scalepred.training.scoring import predict_logits


@dataclass(frozen=True, kw_only=True)
class Classified:
    """What an image was taken for: classes and probabilities, most probable first; or why it could not be read."""

    path: str
    ranking: tuple[tuple[str, float], ...] = ()
    problem: str | None = None


def find_images(paths: Sequence[Path]) -> tuple[list[Path], list[Skipped]]:
    """Return the files among these paths and below the folders among them, and what is skipped there, and why.

    Hidden files are left out without a word; a folder that holds no file is skipped itself.

    Raises:
        DataError: naming the paths that don't exist.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise DataError(f"There is nothing at {', '.join(missing)}.")
    files: list[Path] = []
    skipped: list[Skipped] = []
    for path in paths:
        below, unusable = walk(path) if path.is_dir() else ([path], [])
        files += below
        skipped += unusable if below or unusable else [Skipped(readable(path), "it has no images")]
    return files, skipped


def classify(
    model: Model,
    paths: Sequence[Path],
    *,
    device: torch.device,
    dtype: torch.dtype,
    max_megapixels: float = MAX_MEGAPIXELS,
    top: int = 5,
) -> list[Classified]:
    """Classify images; one that can't be read is returned with its problem."""
    loaded = load_images(paths, image_px=model.image_px, max_megapixels=max_megapixels)
    problems = dict(loaded.bad)
    network = on_device(model.architecture.network, device)
    probabilities = np.zeros((0, len(model.classes)))
    if len(loaded.kept):
        logits = predict_logits(network, model.architecture, loaded.images, device=device, dtype=dtype)
        probabilities = logits.softmax(dim=1).numpy()
    row_of = {int(position): row for row, position in enumerate(loaded.kept)}
    return [
        Classified(path=str(path), problem=problems[at])
        if at in problems
        else Classified(path=str(path), ranking=_ranking(model, probabilities[row_of[at]], top))
        for at, path in enumerate(paths)
    ]


def _ranking(model: Model, probabilities: np.ndarray, top: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple((model.classes[at], float(probabilities[at])) for at in order)
