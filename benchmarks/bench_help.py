"""Times `scalepred --help` against an empty Python process, alternating, as whole processes.

    python -m benchmarks.bench_help [--smoke]

Prints a table and ends in one line of JSON: medians and ranges in seconds, and the median ratio.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time


def seconds_of(command: list[str]) -> float:
    """Return the wall time of a command."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="two runs instead of ten")
    n = 2 if parser.parse_args().smoke else 10
    commands = {
        "scalepred --help": [sys.executable, "-m", "scalepred", "--help"],
        "empty process": [sys.executable, "-c", "pass"],
    }
    for command in commands.values():
        seconds_of(command)  # fills the disk cache
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(n):
        for name, command in commands.items():
            seconds[name].append(seconds_of(command))
    for name, values in seconds.items():
        print(f"{name:18} median {statistics.median(values):.3f} s, {min(values):.3f} to {max(values):.3f} (n = {n})")
    helps, empties = seconds.values()
    print(
        json.dumps(
            {
                "benchmark": "help",
                "n": n,
                "median_seconds": statistics.median(helps),
                "range_seconds": [min(helps), max(helps)],
                "median_ratio": statistics.median(a / b for a, b in zip(helps, empties, strict=True)),
                "python": platform.python_version(),
                "machine": platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
