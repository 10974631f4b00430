"""Finetunes on scikit-learn's handwritten digits in one job, and classifies some that it has not seen.

python examples/finetune_and_classify.py FOLDER
"""

# ruff: noqa: T201
import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import scalepred
from scalepred.data.digits import write_digits

N_NEW = 50


def main() -> None:
    """Write images, look at them, predict the scale, finetune, and classify new images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the images and the model go")
    parser.add_argument("--images", type=int, default=600, help="digits to finetune on")
    parser.add_argument("--image-px", type=int, default=64, help="side that they are resized to")
    arguments = parser.parse_args()
    data, model = arguments.folder / "digits", arguments.folder / "model"

    write_digits(data, last=arguments.images)
    inspection = scalepred.inspect(data)
    print(f"{sum(inspection.classes.values())} images of {len(inspection.classes)} classes")

    prediction = scalepred.predict_scale(data, image_px=arguments.image_px)
    print(f"predicted scale {prediction.scale:g}: {prediction.choice.reason}")

    job = scalepred.finetune(data, image_px=arguments.image_px, output=model, overwrite=True)
    made = "a linear probe" if job.scale is None else f"finetuned at scale {job.scale:g}"
    print(f"{made}; test accuracy {job.test_accuracy}")

    digits = load_digits()
    grey = 255 - np.rint(digits.images[-N_NEW:] * 255 / 16).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=3)  # (n, 8, 8, 3)
    classifier = scalepred.load(model)
    names = classifier.predict(images)
    right = sum(name == str(digit) for name, digit in zip(names, digits.target[-N_NEW:], strict=True))
    print(f"{right} of {N_NEW} new digits are right; the first is taken for {names[0]}")


if __name__ == "__main__":
    main()
