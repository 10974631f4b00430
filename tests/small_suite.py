"""A suite of three tiny tasks, as `python -m benchmarks.wild build` lays one out."""

import csv
import json

import numpy as np
from PIL import Image

TASKS = {"moss-010": "moss", "moss-020": "moss", "sand-010": "sand"}
ROWS = (("train", 12), ("val", 4), ("test", 8))


def write_suite(folder):
    """Write the suite; the tasks of an origin share images. Returns the folder."""
    for origin in dict.fromkeys(TASKS.values()):
        _write_images(folder / "pictures" / origin, origin)
    for name, origin in TASKS.items():
        _write_task(folder / "tasks" / name, name, origin)
    origins = [
        {"origin": origin, "tasks": [{"name": n, "n_train": 24} for n, of in TASKS.items() if of == origin]}
        for origin in dict.fromkeys(TASKS.values())
    ]
    (folder / "manifest.json").write_text(json.dumps({"schema": 1, "origins": origins}))
    return folder


def _write_images(folder, origin):
    rng = np.random.default_rng(len(origin))
    for level, label in enumerate(("dark", "light")):
        (folder / label).mkdir(parents=True)
        for index in range(sum(n for _, n in ROWS) + 1):
            pixels = rng.integers(40 + 120 * level, 100 + 120 * level, size=(24, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{index}.png")


def _write_task(folder, name, origin):
    folder.mkdir(parents=True)
    (folder / "task.json").write_text(json.dumps({"name": name, "origin": origin}))
    first = int(name.endswith("020"))  # so that no two tasks are the same
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split", "group"])
        for label in ("dark", "light"):
            splits = [split for split, n in ROWS for _ in range(n)]
            for index, split in enumerate(splits, start=first):
                rows.writerow([f"../../pictures/{origin}/{label}/{index}.png", label, split, f"{label}{index}"])
