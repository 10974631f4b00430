"""Writes scikit-learn's handwritten digits as folders of PNG files, the data of `scalepred demo`."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from scalepred.errors import DataError

DEMO_IMAGES = 600
"""The demo uses the first 600; some of them are also in tasks that the shipped predictor learnt from."""


def write_digits(folder: Path, *, first: int = 0, last: int | None = DEMO_IMAGES) -> list[Path]:
    """Write digits ``first`` up to ``last`` as ``folder/<digit>/<number>.png``, 8 x 8 px, black on white.

    Returns the files in the order of the collection; a file that is there already gets the same pixels again.

    Raises:
        DataError: if they can't be written there.
    """
    digits = load_digits()
    written = []
    for index in range(len(digits.target))[first:last]:
        path = folder / str(digits.target[index]) / f"{index:04d}.png"
        pixels = 255 - np.rint(digits.images[index] * 255 / 16).astype(np.uint8)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        except OSError as error:
            raise DataError(f"The digits can't be written to {path}: {error.strerror or error}.") from error
        written.append(path)
    return written
