"""Exports a model to another program's format, and lets nothing stand that computes anything else than the model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scalepred.data.load import load_images
from scalepred.errors import DataError, UsageError
from scalepred.files import appearing, filling
from scalepred.job.export_files import (
    Computed,
    check_onnx,
    check_timm,
    read_onnx,
    read_timm,
    read_torchscript,
    write_onnx,
    write_timm,
    write_torchscript,
)
from scalepred.job.folder import CONFIG, WEIGHTS, Model, is_model, load_model
from scalepred.job.options import check_one_of
from scalepred.training.scoring import predict_logits

AT_MOST = 256
"""Images that an export is checked on."""

GENERATED = 32
"""Images that it is checked on where none are given."""

RELATIVE, ABSOLUTE = 1e-2, 1e-6
"""How far a probability may be from the model's: a hundredth of it, and a millionth; other kernels round otherwise."""

TIMM_FILES = (CONFIG, WEIGHTS)


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format to export to: the ending of its file's name, and what checks for, writes and reads it."""

    ending: str
    check: Callable[[Model], None]
    write: Callable[..., None]
    read: Callable[[Path, Model], Computed]


FORMATS = {
    "onnx": Format(ending=".onnx", check=lambda _: check_onnx(), write=write_onnx, read=read_onnx),
    "torchscript": Format(ending=".pt", check=lambda _: None, write=write_torchscript, read=read_torchscript),
    "timm": Format(ending="-timm", check=check_timm, write=write_timm, read=read_timm),
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was exported, and how near it is to the model.

    Attributes:
        kind: one of ``FORMATS``.
        output: the file, or the folder of timm's.
        n_images: images that both computed.
        generated: no images were given, so these were drawn.
        difference: the largest difference of a probability.
    """

    kind: str
    output: Path
    n_images: int
    generated: bool
    difference: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values for ``scalepred export --json``."""
        tolerance = {"relative": RELATIVE, "absolute": ABSOLUTE}
        return {
            "schema": 2,
            "format": self.kind,
            "output": str(self.output),
            "n_images": self.n_images,
            "generated": self.generated,
            "difference": self.difference,
            "tolerance": tolerance,
        }


def export(
    folder: Path,
    *,
    kind: str,
    output: Path | None = None,
    images: Sequence[Path] = (),
    overwrite: bool = False,
) -> Exported:
    """Write a model in another format once it is known to compute the same there.

    Args:
        folder: of the model.
        kind: one of ``FORMATS``.
        output: the file or folder to write; None for the model's name in the current folder.
        images: image files to compare on, at most ``AT_MOST`` of them; without any, images are drawn.
        overwrite: replace what an export has left there; a model's folder is never replaced.

    Raises:
        UsageError: if the format is unknown or can't hold this model, something is in the way, or the probabilities are
            not the model's; then nothing is written.
        DataError: if none of the images can be read.
        VersionError: if the folder is no model.
    """
    form = FORMATS[check_one_of("format", kind, tuple(FORMATS))]
    model = load_model(folder)
    form.check(model)
    target = output or Path(f"{folder.resolve().name}{form.ending}")
    _check_free(target, is_folder=kind == "timm", overwrite=overwrite)
    squares = _squares(images, model) if images else drawn_images(GENERATED, image_px=model.image_px)
    expected = _expected(model, squares)
    with _appearing(target, is_folder=kind == "timm") as temporary:
        try:
            form.write(model, temporary, example=squares[:2] if len(squares) > 1 else squares.repeat(2, axis=0))
            computed = form.read(temporary, model)
        except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise UsageError(f"{model.architecture.name} can't be written as {kind}: {reason}") from error
        difference = _compare(computed, squares, expected, kind=kind)
    return Exported(kind=kind, output=target, n_images=len(squares), generated=not images, difference=difference)


def drawn_images(n: int, *, image_px: int) -> np.ndarray:
    """Return (n, 3, px, px) uint8 images of blocks and noise, from flat to full of contrast; always the same."""
    rng = np.random.default_rng(0)
    blocks = rng.uniform(-1, 1, (n, 3, 4, 4)).repeat(-(-image_px // 4), axis=2).repeat(-(-image_px // 4), axis=3)
    noise = rng.uniform(-1, 1, (n, 3, image_px, image_px))
    mixed = blocks[:, :, :image_px, :image_px] * rng.uniform(0, 1, (n, 1, 1, 1)) + noise * rng.uniform(
        0, 1, (n, 1, 1, 1)
    )
    return np.clip(rng.uniform(40, 215, (n, 3, 1, 1)) + 100 * mixed, 0, 255).astype(np.uint8)


def _squares(images: Sequence[Path], model: Model) -> np.ndarray:
    """Return (n, 3, px, px) uint8 of at most ``AT_MOST`` of the images that can be read, from first to last.

    Raises:
        DataError: if none can be.
    """
    chosen = [images[at] for at in np.unique(np.linspace(0, len(images) - 1, AT_MOST).astype(int))]
    loaded = load_images(chosen, image_px=model.image_px, resize=model.resize)
    if not len(loaded.images):
        raise DataError(f"None of the {len(chosen)} images to compare on can be read: {loaded.bad[0][1]}.")
    return loaded.images


def _expected(model: Model, squares: np.ndarray) -> np.ndarray:
    """Return (n, n_classes) float32, the model's own probabilities."""
    architecture = model.architecture
    device = torch.device("cpu")
    logits = predict_logits(architecture.network, architecture, squares, device=device, dtype=torch.float32)
    return np.asarray((logits / model.temperature).softmax(dim=1).numpy())


def _compare(computed: Computed, squares: np.ndarray, expected: np.ndarray, *, kind: str) -> float:
    """Return the largest difference of a probability, the first image alone and the others together.

    Raises:
        UsageError: if one is too far from the model's.
    """
    parts = [part for part in (squares[:1], squares[1:]) if len(part)]
    found = np.concatenate([computed(part) for part in parts])
    difference = float(np.abs(found - expected).max())
    if not np.allclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE):
        raise UsageError(
            f"As {kind} the model gives other probabilities than here: on {len(squares)} images they differ by up to "
            f"{difference:.2g}, and {RELATIVE:g} of each is allowed. So nothing was written; try another --format."
        )
    return difference


def _check_free(target: Path, *, is_folder: bool, overwrite: bool) -> None:
    """Raise UsageError if something is in the way that may not be replaced."""
    parent = target.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"There is no folder {parent}: give another --output.")
    if is_folder and is_model(target):
        raise UsageError(f"{target} is a model of scalepred, and timm reads it as it is: give another --output.")
    if target.exists() and target.is_dir() != is_folder:
        raise UsageError(f"{target} is a {'file' if is_folder else 'folder'}: give another --output.")
    taken = [target / name for name in TIMM_FILES] if is_folder else [target]
    there = next((each for each in taken if each.exists() or each.is_symlink()), None)
    if there and not overwrite:
        raise UsageError(f"{there} is there already: give another --output, or --overwrite to replace it.")


@contextmanager
def _appearing(target: Path, *, is_folder: bool) -> Iterator[Path]:
    """Give a temporary place that becomes the target once it is whole; where the block raises, nothing is left."""
    was_there = target.exists()
    try:
        with filling(target, TIMM_FILES) if is_folder else appearing(target) as temporary:
            yield temporary
    except OSError as error:
        raise UsageError(f"{target} can't be written: {error.strerror or error}. Give another --output.") from error
    finally:
        if is_folder and not was_there and target.is_dir() and not any(target.iterdir()):
            target.rmdir()
