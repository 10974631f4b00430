"""Made data in the forms of ImageNet22K and Oxford Flowers, for `--smoke` and the tests: striped colours and noise."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from benchmarks.paper.imagenet22k import HIERARCHY, ROOTS, WORDS
from benchmarks.paper.oxford_flowers import FOLDER

SIDE_PX = 24
ENTITY = "n00001740"


def write_imagenet22k(root: Path, synsets: Mapping[str, int], *, n_images: int, seed: int = 0) -> Path:
    """Write ROOT in ImageNet22K's form: domain -> so many synsets below its root, each of so many images."""
    root.mkdir(parents=True, exist_ok=True)
    relations = [(ENTITY, each) for each in ROOTS.values()]
    words = {ENTITY: "entity"} | {each: name for name, each in ROOTS.items()}
    for at, (name, n_synsets) in enumerate(synsets.items()):
        for number in range(n_synsets):
            synset = f"n9{at:02d}{number:05d}"
            relations.append((ROOTS[name], synset))
            words[synset] = f"made {name} {number}"
            for index in range(n_images):
                write_image(root / synset / f"{synset}_{index}.JPEG", [seed, at, number], index)
    (root / HIERARCHY).write_text("".join(f"{above} {below}\n" for above, below in relations), encoding="utf-8")
    (root / WORDS).write_text("".join(f"{synset}\t{text}\n" for synset, text in words.items()), encoding="utf-8")
    return root


def write_flowers(root: Path, *, n_classes: int, per_class: int = 14, seed: int = 0) -> Path:
    """Write ROOT/flowers-102 as torchvision keeps it: ten images of a class to train on, two to validate, and more."""
    folder = root / FOLDER
    labels = [label for label in range(1, n_classes + 1) for _ in range(per_class)]
    for number, label in enumerate(labels, start=1):
        write_image(folder / "jpg" / f"image_{number:05d}.jpg", [seed, 77, label], number)
    within = np.arange(len(labels)) % per_class
    ids = np.arange(1, len(labels) + 1)
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    parts = {"trnid": ids[within < 10], "valid": ids[(within >= 10) & (within < 12)], "tstid": ids[within >= 12]}
    savemat(folder / "setid.mat", {name: some[None, :] for name, some in parts.items()})
    return root


def write_image(path: Path, kind: list[int], index: int) -> None:
    """Write an image of a kind: its own colour and stripes, below noise."""
    rng = np.random.default_rng([*kind, index])
    colour, period = np.random.default_rng(kind).integers(40, 216, 3), 2 + sum(kind) % 5
    stripes = 40 * (np.arange(SIDE_PX) // period % 2)
    pixels = colour[None, None] + stripes[:, None, None] + rng.normal(0, 40, (SIDE_PX, SIDE_PX, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
