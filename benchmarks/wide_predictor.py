"""What learning from design points gains over the rule's constant: `scalepred warehouse evaluate`, as Markdown.

    python -m benchmarks.wide_predictor WAREHOUSE [--min-steps N] [--range-tests FILE.jsonl] [--output FILE]

The metric is the mean test accuracy at the chosen scale. A point's models saw neither its origin nor, in turn, its
network's family, its network, or its recipe's pattern; or its origin alone. What a formulation places is moved by the
octaves that do best for points held out once more inside, and "selected inside" takes the formulation that does best
there. Intervals are of origins and networks drawn at once. Ends in one line of JSON.
"""

import argparse
import json
from pathlib import Path

from benchmarks.rule import MIN_STEPS, read_points
from scalepred.predictor.range_tests import read_range_tests
from scalepred.predictor.wide_evaluation import evaluate_points
from scalepred.predictor.wide_tables import tables_of
from scalepred.processes import n_cores


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("warehouse", type=Path)
    parser.add_argument("--min-steps", type=int, default=MIN_STEPS)
    parser.add_argument("--range-tests", type=Path)
    parser.add_argument("--output", type=Path, help="write the line of JSON to this file too")
    arguments = parser.parse_args()
    tests = {} if arguments.range_tests is None else read_range_tests(arguments.range_tests)
    points = read_points(arguments.warehouse)
    evaluation = evaluate_points(points, min_steps=arguments.min_steps, tests=tests, n_processes=n_cores())
    print(evaluation.summary())
    for table in tables_of(evaluation):
        lines = [table.headings, ["---"] * len(table.headings), *table.rows]
        print(f"\n{table.title}\n", *(f"| {' | '.join(cells)} |" for cells in lines), sep="\n")
    line = json.dumps({"benchmark": "wide_predictor", **evaluation.to_json()})
    if arguments.output:
        arguments.output.write_text(line + "\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main()
