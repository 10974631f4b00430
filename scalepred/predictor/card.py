"""A predictor's card: what it was trained on, how it does on held-out origins, and what it is not good for."""

import dataclasses
import datetime
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scalepred import __version__
from scalepred.files import write_text
from scalepred.predictor.harvested import Harvested
from scalepred.predictor.own_runs import MOST_TASKS
from scalepred.predictor.probe_choice import FEWEST, MOST, Beside
from scalepred.predictor.probe_evidence import judge
from scalepred.predictor.scores import CONTROL, FIXED, HEAD_ONLY, PREDICTED, SEARCH
from scalepred.predictor.train import MIN_ORIGINS, Predictor
from scalepred.records import RecipeRecord, SourceRecord

VERSIONS = ("lightgbm", "numpy")

OVERVIEW = ("source", "recipe", "tasks", "origins", "best fixed scale", "predicted", "control", "head only", "search")

HEADINGS = ("method", "jobs", "accuracy", "gain", "mean regret", "gap closed", "over a point worse")
"""Headings of the table of all groups, and of that of each."""

BESIDES = (
    "source",
    "recipe",
    "tasks",
    "origins",
    "at most",
    "the probe over a finetune",
    "taken",
    "the choice over a finetune",
    "and over the probe",
)
"""Headings of the table of linear probes beside finetunes."""

NONE_PREDICTED = (
    f"Nothing is predicted: no source has met {MIN_ORIGINS} origins with one recipe. "
    "The best fixed scale of each is used."
)


OWN_RUNS = (
    f"Where a source and recipe have {MOST_TASKS} tasks or fewer, these move the rule's scale, and --auto takes that "
    "instead of their best fixed scale, unless it leaves that for a predicted one."
)


def facts(
    predictor: Predictor,
    harvested: Harvested,
    sources: Sequence[SourceRecord],
    recipes: Sequence[RecipeRecord],
    *,
    label: str,
) -> Predictor:
    """Return the predictor with what describes it: counts, names of tasks, origins, sources and recipes, versions."""
    table = harvested.table
    source_ids = {group.source_id for group in predictor.all_groups}
    recipe_ids = {group.recipe_id for group in predictor.all_groups}
    described = {
        "label": label,
        "trained_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "n_bundles": len(table.names),
        "n_incomplete": harvested.n_incomplete,
        "tasks": sorted(set(table.names)),
        "origins": sorted(set(table.origins)),
        "sources": {source.source_id: source.name for source in sources if source.source_id in source_ids},
        "recipes": {recipe.recipe_id: recipe.name for recipe in recipes if recipe.recipe_id in recipe_ids},
        "recipe_fields": {recipe.recipe_id: recipe.json for recipe in recipes if recipe.recipe_id in recipe_ids},
        "versions": {"scalepred": __version__, **{name: version(name) for name in VERSIONS}},
    }
    return dataclasses.replace(predictor, facts=described)


def write_card(predictor: Predictor, folder: Path) -> None:
    """Write ``README.md`` beside the predictor."""
    write_text(folder / "README.md", card(predictor))


def card(predictor: Predictor) -> str:
    """Return the card as Markdown."""
    about, octaves = predictor.facts, predictor.octave_groups
    counts = f"on {len(about['tasks'])} tasks of {len(about['origins'])} origins"
    trained_on = counts if about["tasks"] else "on no whole grid"
    fixed = [
        f"- `{about['sources'].get(group.source_id, group.source_id)}`, recipe "
        f"`{about['recipes'].get(group.recipe_id, group.recipe_id)}`: best fixed scale {group.fixed_scale:g} "
        f"({group.n_tasks} tasks of {group.n_origins} origins{', over octaves' if group in octaves else ''})"
        for group in predictor.all_groups
    ]
    return "\n".join(
        [
            "# Scale predictor" + (f": {about['label']}" if about["label"] else ""),
            "",
            f"Trained {about['trained_at']} by scalepred {about['versions']['scalepred']} {trained_on}.",
            "",
            *fixed,
            "",
            *([OWN_RUNS, ""] if predictor.own_curves else []),
            *_how_it_does(predictor),
            "",
            *_besides(predictor),
            f"Features: {', '.join(predictor.feature_names)}, log2_scale.",
            "",
            f"Tasks: {', '.join(about['tasks'])}.",
            "",
            "It knows the sources and recipes above and no others; for those, and for tasks unlike all of its own, "
            "the best fixed scale is used and the reason says so.",
            "",
        ]
    )


def _how_it_does(predictor: Predictor) -> list[str]:
    if predictor.booster is None:
        return [f"Nothing is predicted: fewer than {MIN_ORIGINS} origins. The best fixed scale is used for every task."]
    evaluation = predictor.evaluation
    if not evaluation["groups"]:
        return [NONE_PREDICTED]
    lines = [
        "Every origin held out in turn; accuracies on test images that chose nothing. Gains are against the best "
        "fixed scale, in points, with 95 % bootstrap intervals over origins. The honest best, and regret and gap "
        "against it, are of tasks with several seeds alone: it is chosen by one half of seeds and images and scored "
        "on the other, so a good choice may close more than all of the gap.",
        "",
        _line(OVERVIEW),
        "|---" * len(OVERVIEW) + "|",
        *(_line(overview_cells(predictor, group)) for group in evaluation["groups"]),
    ]
    for group in evaluation["groups"]:
        lines += [
            "",
            f"## {' with recipe '.join(f'`{name}`' for name in names(predictor, group))}",
            "",
            _line(HEADINGS),
            "|---" * len(HEADINGS) + "|",
            *(_line(cells(row, group["n_tasks"])) for row in group["rows"]),
            "",
            f"The predictor left the fixed scale for {group['n_moved']} of {group['n_tasks']} held-out tasks, and "
            f"found {group['n_abstained']} unlike all others.",
        ]
    return [*lines, "", " ".join([_threshold(predictor.threshold), *_coverage(evaluation["interval_coverage"])])]


def _besides(predictor: Predictor) -> list[str]:
    if not predictor.besides:
        return []
    return [
        "## Linear probe or finetune",
        "",
        "Test accuracy of the linear probe on all stages minus that of a finetune at the best fixed scale, in points. "
        f"`--auto` takes the probe where that is above zero in the mean of the {FEWEST} to {MOST} tasks nearest in "
        "their number of training images, and finetunes where a task has more than any. Every origin held out in turn.",
        "",
        _line(BESIDES),
        "|---" * len(BESIDES) + "|",
        *(_line(beside_cells(predictor, each)) for each in predictor.besides),
        "",
    ]


def beside_cells(predictor: Predictor, beside: Beside) -> list[str]:
    """Return a line of the table of linear probes beside finetunes, in per cent and points."""
    judged = judge(beside)
    gains = {
        name: "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in judged[name]))
        for name in ("probe_over_finetune", "over_finetune", "over_probe")
    }
    return [
        *names(predictor, judged),
        str(judged["n_tasks"]),
        str(judged["n_origins"]),
        f"{judged['most_train']} images",
        gains["probe_over_finetune"],
        f"{judged['taken']:.0%}",
        gains["over_finetune"],
        gains["over_probe"],
    ]


def _threshold(threshold: float) -> str:
    if math.isinf(threshold):
        return "No predicted gain paid on held-out tasks, so it keeps the fixed scale."
    return f"It leaves the fixed scale above a predicted gain of {100 * threshold:.2f} points."


def _coverage(share: float | None) -> list[str]:
    if share is None:
        return []
    return [f"Its 80 % interval for the gain held {100 * share:.0f} % of the gains of origins held out."]


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def names(predictor: Predictor, group: dict[str, Any]) -> tuple[str, str]:
    """Return what the source and the recipe of a group are called."""
    source_id, recipe_id = group["source_id"], group["recipe_id"]
    return predictor.facts["sources"].get(source_id, source_id), predictor.facts["recipes"].get(recipe_id, recipe_id)


def overview_cells(predictor: Predictor, group: dict[str, Any]) -> list[str]:
    """Return a group's line of the overview: who, how many tasks and origins, and what each method gains."""
    rows = {row["method"]: row for row in group["rows"]}
    gains = [_gain(rows[method]) if method in rows else "" for method in (PREDICTED, CONTROL, HEAD_ONLY, SEARCH)]
    counts = [str(group["n_tasks"]), str(group["n_origins"])]
    return [*names(predictor, group), *counts, f"{100 * rows[FIXED]['accuracy']:.1f} %", *gains]


def cells(row: dict[str, Any], n_tasks: int) -> list[str]:
    """Return a row of a group's table as text, in per cent and points; it says where it lacks some of the tasks."""
    return [
        row["method"] if row["n_tasks"] == n_tasks else f"{row['method']}, {row['n_tasks']} tasks",
        str(row["jobs"]),
        f"{100 * row['accuracy']:.1f} %",
        _gain(row),
        "" if row["regret_mean"] is None else f"{100 * row['regret_mean']:.1f}",
        "" if row["gap_closed"] is None else f"{100 * row['gap_closed']:.0f} %",
        f"{100 * row['worse_share']:.0f} %",
    ]


def _gain(row: dict[str, Any]) -> str:
    interval = row["over_fixed_interval"]
    spread = "" if interval is None else f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
    return f"{100 * row['over_fixed']:+.1f}{spread}"
