"""How many images a second `scalepred classify` takes, beside a plain loop of Pillow and torch on the same network.

    python -m benchmarks.bench_classify [--images DIR] [--n 1000] [--image-px 64] [--repeats 5] [--smoke]

DIR holds image files, which are taken again and again up to N; without it photograph-like JPEGs of 640 x 480 pixels are
drawn. The plain loop opens, converts and resizes one image after another, and runs batches of 64; the network and its
threads are the same. Both take turns. Prints a table of medians and the least and largest of the repeats, with the CPU
time of all threads, which other work on the machine changes less; ends in a line of JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from scalepred.data.digits import write_digits
from scalepred.data.scan import walk
from scalepred.job.api import finetune
from scalepred.job.classifier import Classifier, load
from scalepred.networks.source import normalise, on_device
from scalepred.training.devices import keep_freed_memory

BATCH = 64


def main() -> None:
    """Measure both and print the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, metavar="DIR")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--image-px", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="a few images once, to see that it runs")
    arguments = parser.parse_args()
    n, repeats = (20, 1) if arguments.smoke else (arguments.n, arguments.repeats)
    keep_freed_memory()  # as the command does; both ways have it
    with tempfile.TemporaryDirectory() as name:
        paths = walk(arguments.images or draw(Path(name) / "drawn", 10))[0]
        classifier = fitted(Path(name), image_px=arguments.image_px)
        rates, cpu = measure(classifier, list(islice(cycle(paths), n)), repeats=repeats)
    table = Table("way", "images/s", "least", "largest", "CPU ms an image")
    for way, values in rates.items():
        shown = (statistics.median(values), min(values), max(values))
        table.add_row(way, *(f"{each:.0f}" for each in shown), f"{1000 * statistics.median(cpu[way]):.2f}")
    Console().print(table)
    document = {
        "benchmark": "classify",
        "n": n,
        "image_px": arguments.image_px,
        "threads": torch.get_num_threads(),
        "images_per_second": rates,
        "cpu_seconds_per_image": cpu,
        "ratio": statistics.median(ours / plain for ours, plain in zip(*rates.values(), strict=True)),
    }
    print(json.dumps(document))


def draw(folder: Path, n: int) -> Path:
    """Write JPEGs that are smooth with some noise, as photographs are."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for at in range(n):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((640, 480), Image.Resampling.BICUBIC), dtype=np.float32)
        noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{at}.jpg", quality=90)
    return folder


def fitted(folder: Path, *, image_px: int) -> Classifier:
    """Return the default network with the linear probe of scikit-learn's digits."""
    write_digits(folder / "digits", last=60)
    job = finetune(folder / "digits", scale="probe", image_px=image_px, output=folder / "model", device="cpu")
    return load(job.output, device="cpu")


def measure(
    classifier: Classifier, paths: Sequence[Path], *, repeats: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return images a second, and CPU seconds of all threads an image, of both ways in turns, after one to warm up."""
    ways: dict[str, Callable[[Classifier, Sequence[Path]], int]] = {"scalepred classify": ours, "plain loop": plain}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    cpu: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, run in ways.items():
            started, spent = time.perf_counter(), time.process_time()
            done = run(classifier, paths if repeat else paths[:BATCH])
            if repeat:
                rates[way].append(done / (time.perf_counter() - started))
                cpu[way].append((time.process_time() - spent) / done)
    return rates, cpu


def ours(classifier: Classifier, paths: Sequence[Path]) -> int:
    """Classify as the command does; return how many were read."""
    return sum(result.problem is None for result in classifier.stream(paths))


def plain(classifier: Classifier, paths: Sequence[Path]) -> int:
    """Classify by what everybody writes first; return how many were read."""
    architecture, px = classifier.model.architecture, classifier.model.image_px
    network = on_device(architecture.network, classifier.device).eval()
    labels: list[int] = []
    for start in range(0, len(paths), BATCH):
        squares = []
        for path in paths[start : start + BATCH]:
            with Image.open(path) as image:
                squares.append(np.asarray(image.convert("RGB").resize((px, px), Image.Resampling.BICUBIC)))
        images = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
        with torch.no_grad():
            labels += network(normalise(images, architecture)).argmax(dim=1).tolist()
    return len(labels)


if __name__ == "__main__":
    main()
