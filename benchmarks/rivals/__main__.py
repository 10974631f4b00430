"""Runs one rival on one task and prints its answer: `python -m benchmarks.rivals METHOD FOLDER ...`."""

import sys

from benchmarks.rivals.ask import print_answer, read_asked
from benchmarks.rivals.methods import METHODS


def main() -> None:
    """Run the method that is asked for."""
    method, asked = read_asked()
    import torch  # noqa: PLC0415 - a usage error needs no seconds

    torch.set_num_threads(asked.threads)
    if METHODS[method].run is None:
        sys.exit(f"{method} is run by `scalepred finetune`.")
    print_answer(METHODS[method].run(asked))


if __name__ == "__main__":
    main()
