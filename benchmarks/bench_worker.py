"""The most memory that a harvest's worker takes for a task of 2,000 images of 64 px, beside a plain loop's process.

    python -m benchmarks.bench_worker [--smoke]

The images are noise; three quarters are to learn from. Both do the twelve finetunes of a bundle, of one epoch each,
with `efficientnet_lite0` and with a ResNet-18 of random weights. Memory is the resident memory of the largest process,
shared pages and all, looked at once a second. Prints a table and ends in one line of JSON.
"""

import argparse
import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.bench_harvest import SMOKE_SOURCE, SOURCES, VERSIONS, measure, note, random_weights
from benchmarks.bundle import SPLITS, Job
from benchmarks.timed import hardware
from scalepred.recipe import Recipe

SIDE_PX = 64
PER_SPLIT = (1500, 100, 400)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a tiny network and 20 images")
    smoke = parser.parse_args().smoke
    counts = (12, 4, 4) if smoke else PER_SPLIT
    machine = hardware()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        task = make_task(scratch / "noise", counts)
        recipe = scratch / "recipe.json"
        recipe.write_text(Recipe(epochs=1, image_px=SIDE_PX).to_json(), encoding="utf-8")
        bytes_by_source = {
            source: largest(
                Job(
                    task=task,
                    source=source,
                    weights=random_weights(source, scratch),
                    recipe=recipe,
                    n_seeds=1,
                    on_white=False,
                )
            )
            for source in ((SMOKE_SOURCE,) if smoke else SOURCES)
        }
    for source, bytes_of in bytes_by_source.items():
        for contender, n_bytes in bytes_of.items():
            print(f"{source:22} {contender:10} {n_bytes / 1e6:8,.0f} MB in the largest process")
    report = {
        "benchmark": "worker",
        "smoke": smoke,
        "n_images": sum(counts),
        "largest_bytes": bytes_by_source,
        "hardware": machine,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
    }
    print(json.dumps(report))


def largest(job: Job) -> dict[str, int]:
    """Return contender -> the bytes of its largest process."""
    bytes_of = {}
    for contender in ("plain", "scalepred"):
        note(f"{job.source}, {contender}")
        looked = measure(contender, job, workers=1, sample_memory=True).largest_bytes
        if looked is None:
            raise SystemExit("This system does not tell the memory of processes in /proc.")
        bytes_of[contender] = looked
    return bytes_of


def make_task(folder: Path, counts: tuple[int, ...]) -> Path:
    """Write two classes of noise into split folders."""
    rng = np.random.default_rng(0)
    for split, n in zip(SPLITS, counts, strict=True):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
            for index in range(n // 2):
                pixels = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{index}.png")
    return folder


if __name__ == "__main__":
    main()
