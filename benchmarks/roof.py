"""The roof: how many images per second the network alone can learn from, with nothing around it.

    python -m benchmarks.roof --source NAME [--weights FILE] --recipe FILE --processes 2 --threads 1 [--seconds 10]

Forward and backward of the recipe's network on one batch of random images that lies in memory, channels-last, frozen
stages without gradients and with their batch normalisation in evaluation mode: no loading, no optimizer, no scoring.
The processes get ready, start at once and count for the same time. Prints one line of JSON with their sum.

A harvest that keeps what frozen stages give does less work than this, and may pass the roof. Other work on the machine
lowers the roof, most of all that of several threads in a process, which wait for each other: run it on an idle machine.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

from benchmarks.plain_loop import freeze, train_mode
from scalepred.networks.source import load_source, new_network, normalise, on_device
from scalepred.recipe import load_recipe

WARM_UP_STEPS = 3
MIN_STEPS = 20
"""Counted however long they take, so that one step that was held up is not the whole measurement."""
N_CLASSES = 5
ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure and print; without ``--processes`` this is one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--processes", type=int, help="left out: this process counts, when a line on stdin says so")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    if arguments.processes is None:
        count(arguments)
    else:
        print(json.dumps({"images_per_second": images_per_second(sys.argv[1:], arguments.processes)}))


def images_per_second(arguments: list[str], n_processes: int) -> float:
    """Return the sum of what so many processes at once reach."""
    at = arguments.index("--processes")
    command = [sys.executable, "-m", "benchmarks.roof", *arguments[:at], *arguments[at + 2 :]]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(n_processes)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    rates = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("A process of the roof failed; its error is above.")
    return sum(float(text) for text in rates)


def count(arguments: argparse.Namespace) -> None:
    """Get ready, say so, wait for a line, and print images per second."""
    torch.set_num_threads(arguments.threads)
    recipe = load_recipe(arguments.recipe)
    source = load_source(arguments.source, weights=arguments.weights)
    generator = torch.Generator().manual_seed(0)
    network = on_device(new_network(source, n_classes=N_CLASSES, generator=generator), torch.device("cpu"))
    freeze(network, source.architecture.stages, recipe.multipliers)
    train_mode(network, source.architecture.stages, recipe.multipliers)
    size = (recipe.batch_size, 3, recipe.image_px, recipe.image_px)
    pixels = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
    images = normalise(pixels, source.architecture)
    labels = torch.randint(0, N_CLASSES, size[:1], generator=generator)

    def step() -> None:
        network.zero_grad()
        functional.cross_entropy(network(images), labels).backward()

    for _ in range(WARM_UP_STEPS):
        step()
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    n_steps = 0
    while n_steps < MIN_STEPS or time.perf_counter() - started < arguments.seconds:
        step()
        n_steps += 1
    print(n_steps * recipe.batch_size / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
