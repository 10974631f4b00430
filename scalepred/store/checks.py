"""Checks every row of a warehouse: ids against their parts, accuracies against their bits, references."""

from collections.abc import Sequence
from typing import Any

from scalepred.errors import UsageError
from scalepred.recipe import GRID, Recipe, run_id
from scalepred.records import DIVERGED, DONE, EXTENSION, ROLES

_CHUNK = 50_000


def problems_of(connection: Any) -> list[str]:
    """Return what is wrong with a warehouse's rows, in words; an empty list if nothing is."""
    problems = []
    for words, query in _CHECKS.items():
        bad = connection.execute(f"{query} ORDER BY 1").fetchmany(4)
        problems += _problem(words, [str(row[0]) for row in bad])
    return problems + _wrong_ids(connection)


def _wrong_ids(connection: Any) -> list[str]:
    """Recompute the ids of recipes and runs from their parts."""
    recipes = connection.execute("SELECT recipe_id, json FROM recipes ORDER BY 1").fetchall()
    wrong = [recipe_id for recipe_id, text in recipes if _recipe_id(text) != recipe_id]
    problems = _problem("recipes whose id is not the hash of their JSON", wrong)
    cursor = connection.execute("SELECT run_id, task_id, source_id, recipe_id, scale, seed FROM runs")
    wrong = []
    while rows := cursor.fetchmany(_CHUNK):
        wrong += [row[0] for row in rows if _run_id(*row[1:]) != row[0]]
    return problems + _problem("runs whose id is not the hash of their parts", sorted(wrong))


def _problem(words: str, ids: Sequence[str]) -> list[str]:
    """Return one line for what is wrong with some rows, naming the first three; none if there are none."""
    return [f"{words}: {', '.join(ids[:3])}{' …' if len(ids) > 3 else ''}"] if ids else []


def _recipe_id(text: str) -> str | None:
    try:
        return Recipe.from_json(text).recipe_id
    except (UsageError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def _run_id(task_id: str, source_id: str, recipe_id: str, scale: float | None, seed: int) -> str | None:
    try:
        return run_id(task_id=task_id, source_id=source_id, recipe_id=recipe_id, scale=scale, seed=seed)
    except ValueError:  # a scale that is not finite
        return None


def _orphans(table: str, parent: str, key: str, *, shown: str) -> str:
    return f"SELECT DISTINCT {shown} FROM {table} WHERE {key} NOT IN (SELECT {key} FROM {parent})"


def _miscounted(split: str) -> str:
    """Runs whose accuracy is not what their bits say, or whose bits are too few or too many for the split."""
    return f"""
        SELECT run_id FROM runs JOIN tasks USING (task_id)
        WHERE {split}_accuracy IS NOT NULL AND (
            {split}_correct IS NULL
            OR octet_length({split}_correct) != (n_{split} + 7) // 8
            OR TRY_CAST({split}_correct AS BIT) IS NULL
            OR abs(bit_count(TRY_CAST({split}_correct AS BIT)) - n_{split} * {split}_accuracy) > 1e-6)"""


def _number(field: str) -> str:
    """A whole number of a recipe, or NULL where it has none."""
    return f"TRY_CAST(TRY_CAST(json AS JSON)->>'$.{field}' AS INTEGER)"


def _not_json(table: str, column: str, *, shown: str) -> str:
    return f"SELECT {shown} FROM {table} WHERE NOT coalesce(json_type(TRY_CAST({column} AS JSON)) = 'OBJECT', false)"


_CHECKS = {
    "runs of unknown tasks": _orphans("runs", "tasks", "task_id", shown="run_id"),
    "runs of unknown sources": _orphans("runs", "sources", "source_id", shown="run_id"),
    "runs of unknown recipes": _orphans("runs", "recipes", "recipe_id", shown="run_id"),
    "features of unknown tasks": _orphans("features", "tasks", "task_id", shown="task_id"),
    "features of unknown sources": _orphans("features", "sources", "source_id", shown="source_id"),
    "tasks whose classes and images are not those of their label counts": """
        SELECT task_id FROM tasks, LATERAL (
            SELECT TRY_CAST(TRY_CAST(label_counts AS JSON) AS MAP(VARCHAR, BIGINT)) AS counts)
        WHERE counts IS NULL
        OR cardinality(counts) != n_classes
        OR list_sum(map_values(counts)) != n_train + n_val + n_test""",
    "sources whose facts are no JSON object": _not_json("sources", "facts", shown="source_id"),
    "runs whose versions are no JSON object": _not_json("runs", "versions", shown="run_id"),
    "predictions that are no JSON object": _not_json("predictions", "predicted", shown="prediction_id"),
    "runs of unknown status": f"SELECT run_id FROM runs WHERE status NOT IN ('{DONE}', '{DIVERGED}')",
    "runs of unknown role": f"SELECT run_id FROM runs WHERE role IS NULL OR role NOT IN {ROLES}",
    "extension runs within the grid": (
        f"SELECT run_id FROM runs WHERE role = '{EXTENSION}' AND coalesce(scale BETWEEN {GRID[0]} AND {GRID[-1]}, true)"
    ),
    "runs whose execution is no JSON object": _not_json("runs", "execution", shown="run_id"),
    "runs whose course is no JSON object": _not_json("runs", "course", shown="run_id"),
    "runs whose scale is no finite number above 0": (
        "SELECT run_id FROM runs WHERE NOT coalesce(isfinite(scale) AND scale > 0, true)"
    ),
    "done runs without a validation accuracy, though their task has validation images": (
        "SELECT run_id FROM runs JOIN tasks USING (task_id) "
        f"WHERE status = '{DONE}' AND val_accuracy IS NULL AND n_val > 0"
    ),
    "done runs without a test accuracy, though their task has test images": (
        "SELECT run_id FROM runs JOIN tasks USING (task_id) "
        f"WHERE status = '{DONE}' AND test_accuracy IS NULL AND n_test > 0"
    ),
    "done runs with a step at which they diverged": (
        f"SELECT run_id FROM runs WHERE status = '{DONE}' AND diverged_step IS NOT NULL"
    ),
    "diverged runs with an accuracy, or without a step": (
        f"SELECT run_id FROM runs WHERE status = '{DIVERGED}' "
        "AND (val_accuracy IS NOT NULL OR test_accuracy IS NOT NULL OR diverged_step IS NULL)"
    ),
    "accuracies outside 0..1": (
        "SELECT run_id FROM runs WHERE NOT coalesce(val_accuracy BETWEEN 0 AND 1, true) "
        "OR NOT coalesce(test_accuracy BETWEEN 0 AND 1, true)"
    ),
    "losses that are not finite": (
        "SELECT run_id FROM runs WHERE NOT coalesce(isfinite(val_loss), true) "
        "OR NOT coalesce(isfinite(test_loss), true) OR len(list_filter(epoch_losses, lambda x: NOT isfinite(x))) > 0"
    ),
    "validation accuracies that differ from their bits": _miscounted("val"),
    "test accuracies that differ from their bits": _miscounted("test"),
    "runs without a positive duration": "SELECT run_id FROM runs WHERE NOT (isfinite(seconds) AND seconds > 0)",
    "runs whose rates are not one for each stage and epoch": (
        f"SELECT run_id FROM runs JOIN (SELECT recipe_id, {_number('epochs')} AS epochs, {_number('steps')} AS steps, "
        f"{_number('batch_size')} AS batch_size FROM recipes) USING (recipe_id) LEFT JOIN tasks USING (task_id) "
        "WHERE coalesce(len(rates) != coalesce(epochs, ceil(steps / ceil(n_train / batch_size))), false) "
        "OR len(list_filter(rates, lambda rate: len(rate) != 6)) > 0"
    ),
    "features that are not finite": "SELECT task_id FROM features WHERE NOT isfinite(value)",
}
