"""The card of the rule that ships: its constants, and how it does on families of networks that it never met.

    python -m benchmarks.rule_card

Reads models/default/rule.json and benchmarks/results/wide_predictor.json, which are remade by the commands of the log,
and writes models/default/rule.md and docs/jobs.svg. Prints the table of README, whose rows are of all points.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.timed import ROOT
from scalepred.files import write_text
from scalepred.job.accuracy_plot import save_accuracy_plot
from scalepred.predictor.rule import Constant, Rule, load_rule
from scalepred.predictor.wide_scores import Row

FOLDER = ROOT / "models" / "default"
WIDE = ROOT / "benchmarks" / "results" / "wide_predictor.json"
CARD = "rule.md"
PLOT = ROOT / "docs" / "jobs.svg"

HELD_OUT = "family and origin"

METHODS = {
    "scale 1": "scale 1",
    "best fixed rate": "one fixed rate for each optimizer, of other families",
    "the rule, as it ships": "**the rule**",
    "selected inside": "the best of all models that learn, selected inside",
    "lowest training loss after two epochs, of all scales": "two epochs at every scale, the lowest training loss",
    "linear probe, cross-validated on the training images": "linear probe, cross-validated",
    "own network's best fixed rate (naive)": "the own network's best fixed rate, known after a harvest alone",
    "best of each curve, chosen on half of the images": "best of each curve, chosen on half of the test images",
}
"""Method, as the evaluation names it -> what the card calls it."""

SHORT = (
    "best fixed rate",
    "the rule, as it ships",
    "own network's best fixed rate (naive)",
)
"""What README shows."""

OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}

COORDINATES = {
    "rate": "1, so it is a fixed rate",
    "noise": "the critical rate at a new head",
    "half": "the critical rate half way",
    "both": "the geometric mean of the critical rates at a new head and half way",
}
"""What a constant is multiplied by; a minimum is of the same line."""


def main() -> None:
    """Write the card and the plot, and print README's table."""
    wide = json.loads(WIDE.read_text(encoding="utf-8"))
    write_text(FOLDER / CARD, card(load_rule(FOLDER), wide))
    save_plot(wide, PLOT)
    print("\n".join(readme_table(wide)))


def card(rule: Rule, wide: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    lines = [
        "# The rule that ships",
        "",
        "`rule.json` has a constant for each optimizer and start of the head. A scale is the constant times what is "
        "measured of the start, over the recipe's base rate, and never above the critical scale "
        "([how it works](../../docs/scale.md#the-critical-rate)). Made by `python -m benchmarks.rule`; this card by "
        "`python -m benchmarks.rule_card`.",
        "",
        "| recipes | constant | times | points | origins | networks | four of five lie within |",
        "|---|---:|---|---:|---:|---:|---:|",
        *(constant_row(kind, constant) for kind, constant in sorted(rule.constants.items())),
        "",
        f"Judged on {wide['n_points']} design points of {wide['n_origins']} origins on {wide['n_networks']} networks "
        f"of {wide['n_families']} families. Neither the family of a point's network nor its origin had a part in what "
        "it is judged on. Test accuracy in per cent; gains in points with 95 % intervals, for which origins and "
        "families or networks are drawn at once. The own gap is the way from the best fixed rate of other families to "
        "the own network's.",
        "",
        "All points:",
        "",
        *table(wide, "all", tuple(METHODS)),
        "",
        f"Points of {wide['min_steps']} steps or more, as a user's job takes:",
        "",
        *table(wide, f"{wide['min_steps']} steps or more", tuple(METHODS)),
        "",
        "![Test accuracy against jobs spent, for each optimizer](../../docs/jobs.svg)",
    ]
    return "\n".join(lines) + "\n"


def save_plot(wide: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy against jobs spent, as `scalepred warehouse evaluate --plot` does."""
    save_accuracy_plot([Row(**row) for row in wide["rows"]], path, held_out=HELD_OUT)


def constant_row(kind: str, constant: Constant) -> str:
    """Return a row of the table of constants."""
    name, _, damped = constant.coordinate.partition(", ")
    plain = name.removesuffix(" minimum")
    times = COORDINATES[plain] if plain == name else f"the rate at the lowest loss, instead of {COORDINATES[plain]}"
    times += ", times (1 - momentum)" if damped else ""
    return (
        f"| {kind} | 2^{constant.log2:g} | {times} | {constant.n_points} | {constant.n_origins} | {constant.n_sources} "
        f"| a factor of {2**constant.octaves:.2g} |"
    )


def readme_table(wide: Mapping[str, Any]) -> Iterator[str]:
    """Yield README's table, of all points."""
    rows = _rows(wide, "all")
    heads = [f"{name}, {rows[optimizer, 'scale 1']['n']} points" for optimizer, name in OPTIMIZERS.items()]
    yield "| scale for a network of a family that was never met | " + " | ".join(heads) + " |"
    yield "|---|" + "---|" * len(heads)
    for method in SHORT:
        found = [rows[optimizer, method] for optimizer in OPTIMIZERS]
        cells = [", ".join(filter(None, [f"{100 * row['accuracy']:.1f} %", _gain(row)])) for row in found]
        yield f"| {METHODS[method]} | " + " | ".join(cells) + " |"


def table(wide: Mapping[str, Any], points: str, methods: Sequence[str]) -> Iterator[str]:
    """Yield a table of how ways of choosing do on families that were never met.

    Args:
        wide: what the evaluation wrote.
        points: "all", or the longer ones as the evaluation names them.
        methods: of ``METHODS``.
    """
    rows = _rows(wide, points)
    heads = [f"{name}, n = {rows[optimizer, 'scale 1']['n']}" for optimizer, name in OPTIMIZERS.items()]
    yield "| scale | " + " | ".join(f"{head} | over one fixed rate | own gap" for head in heads) + " | jobs |"
    yield "|---|" + "---:|---:|---:|" * len(heads) + "---:|"
    for method in methods:
        found = [rows[optimizer, method] for optimizer in OPTIMIZERS]
        cells = " | ".join(f"{100 * row['accuracy']:.1f} | {_gain(row)} | {row['own_gap_closed']:.0%}" for row in found)
        yield f"| {METHODS[method]} | {cells} | {max(row['jobs'] for row in found):.2g} |"


def _rows(wide: Mapping[str, Any], points: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return optimizer and method -> what the evaluation says of them, families and origins held out."""
    return {
        (row["points"].partition(", ")[0], row["method"]): row
        for row in wide["rows"]
        if row["hold_out"] == HELD_OUT and row["points"].partition(", ")[2] == points
    }


def _gain(row: Mapping[str, Any]) -> str:
    if row["method"] == "best fixed rate":
        return ""
    low, high = (100 * each for each in row["over_rate_interval"])
    return f"{100 * row['over_rate']:+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
