"""Which finetunes are wanted: of a task and source the grid and what lies beyond its edges, of a point its octaves."""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from scalepred.harvest.octaves import MOST, STEP, Seen, further_octaves, next_octaves
from scalepred.recipe import GRID, Recipe, baseline_of, content_id, run_id
from scalepred.records import DIVERGED, EXTENSION, GRID_RUN, POINT, Outcome
from scalepred.training.planned import PlannedRun, planned_run

T = TypeVar("T")

MAX_EXTENSIONS = 4
"""So many scales are tried beyond each edge of the grid, each double or half of the one before."""


def in_turns(items: Iterable[T], *, name: Callable[[T], str], group: Callable[[T], Hashable]) -> list[T]:
    """Order items so that every group has its first before any has its second, and so on.

    A group's items come in the order of a hash of their names: names are often numbered by size, and then what is done
    at any moment would be the small ones.
    """
    seen: Counter[Hashable] = Counter()
    turns = []
    hashed = sorted(items, key=lambda item: content_id("turn", name(item)))
    for item in hashed:
        turns.append(seen[group(item)])
        seen[group(item)] += 1
    return [item for _, item in sorted(zip(turns, hashed, strict=True), key=lambda pair: pair[0])]


def wanted_runs(
    task_id: str, source_id: str, recipes: Sequence[Recipe], *, n_seeds: int, scales: Sequence[float] = GRID
) -> list[PlannedRun]:
    """Return the whole grid of one task and source: for every seed and recipe the scales and the baseline."""
    runs = [
        planned_run(task_id, source_id, recipe=member, scale=scale, seed=seed)
        for seed in range(n_seeds)
        for recipe in recipes
        for member, scale in [(baseline_of(recipe), None), *((recipe, scale) for scale in scales)]
    ]
    return list({run.run_id: run for run in runs}.values())  # recipes that differ in multipliers share a baseline


def missing_runs(
    task_id: str,
    source_id: str,
    recipes: Sequence[Recipe],
    *,
    n_seeds: int,
    outcomes: Mapping[str, Outcome],
    scales: Sequence[float] = GRID,
    given_up: Collection[str] = (),
    extends: bool = True,
) -> list[PlannedRun]:
    """Return what is missing of the grid or, where that is whole, the next runs beyond its edges.

    Args:
        task_id: of the task.
        source_id: of the source.
        recipes: graduated recipes; the baseline belongs to each.
        n_seeds: seeds 0..n_seeds-1.
        outcomes: run_id -> what came out, of all runs that are done.
        scales: of the grid; any but the eleven are not extended.
        given_up: ids of runs that failed, which are not tried again, nor is their grid extended.
        extends: go beyond the edges of the grid.
    """
    wanted = wanted_runs(task_id, source_id, recipes, n_seeds=n_seeds, scales=scales)
    lacking = [run for run in wanted if run.run_id not in outcomes]
    if lacking or not extends or tuple(scales) != GRID:
        return [run for run in lacking if run.run_id not in given_up]
    beyond = [
        run for recipe in recipes for run in _extension(task_id, source_id, recipe, n_seeds=n_seeds, outcomes=outcomes)
    ]
    return [run for run in beyond if run.run_id not in given_up]


def _extension(
    task_id: str, source_id: str, recipe: Recipe, *, n_seeds: int, outcomes: Mapping[str, Outcome]
) -> list[PlannedRun]:
    scores = {s: _score(task_id, source_id, recipe, s, n_seeds=n_seeds, outcomes=outcomes) for s in GRID}
    while (beyond := next_scale(scores)) is not None:
        runs = _seeds(task_id, source_id, recipe, beyond, n_seeds=n_seeds)
        lacking = [run for run in runs if run.run_id not in outcomes]
        if lacking:
            return lacking
        scores[beyond] = _score(task_id, source_id, recipe, beyond, n_seeds=n_seeds, outcomes=outcomes)
    return []


def next_scale(scores: Mapping[float, tuple[float, float]]) -> float | None:
    """Return the scale to try beyond the grid: the double or half of the best one if that lies at an end, else None.

    Args:
        scores: scale -> what is compared, higher is better; holds the grid and the scales beyond it so far.
    """
    best = max(scores, key=lambda scale: scores[scale])
    n_above, n_below = sum(scale > GRID[-1] for scale in scores), sum(scale < GRID[0] for scale in scores)
    if best == max(scores) and n_above < MAX_EXTENSIONS:
        return 2 * best
    if best == min(scores) and n_below < MAX_EXTENSIONS:
        return best / 2
    return None


def _score(
    task_id: str, source_id: str, recipe: Recipe, scale: float, *, n_seeds: int, outcomes: Mapping[str, Outcome]
) -> tuple[float, float]:
    """Return mean validation accuracy and, for ties, minus the mean loss; a diverged run is worse than all others."""
    of_seeds = [outcomes[run.run_id] for run in _seeds(task_id, source_id, recipe, scale, n_seeds=n_seeds)]
    if any(each.status == DIVERGED for each in of_seeds):
        return (-1.0, 0.0)
    accuracy = sum(each.val_accuracy or 0.0 for each in of_seeds) / len(of_seeds)
    return (round(accuracy, 9), -sum(each.val_loss or 0.0 for each in of_seeds) / len(of_seeds))


def _seeds(task_id: str, source_id: str, recipe: Recipe, scale: float, *, n_seeds: int) -> list[PlannedRun]:
    role = GRID_RUN if scale in GRID else EXTENSION
    return [
        planned_run(task_id, source_id, recipe=recipe, scale=scale, seed=seed, role=role) for seed in range(n_seeds)
    ]


def point_runs(
    task_id: str,
    source_id: str,
    recipe: Recipe,
    *,
    guess: int,
    n_seeds: int,
    n_val: int,
    n_test: int,
    outcomes: Mapping[str, Outcome],
) -> tuple[list[PlannedRun], list[PlannedRun]]:
    """Return which runs of a design point are done, and which come next; none if its curve is known.

    Octaves follow from what came out of seed 0, each decision from all that were asked for before it. Where more are
    stored, placed by an earlier version or around another guess, and show the whole curve, nothing is asked for. A
    second seed is run over the same octaves.

    Args:
        task_id: of the point's task.
        source_id: of its source.
        recipe: its recipe.
        guess: the octave to start from.
        n_seeds: 1 or 2.
        n_val: validation images of the task.
        n_test: its test images.
        outcomes: run_id -> what came out, of all runs that are done.
    """
    ids = {"task_id": task_id, "source_id": source_id, "recipe_id": recipe.recipe_id}  # the last is slow to work out

    def runs_at(octaves: Iterable[int], seed: int) -> list[PlannedRun]:
        scales = [2.0**octave for octave in octaves]
        keys = [run_id(**ids, scale=scale, seed=seed) for scale in scales]
        return [
            PlannedRun(run_id=key, recipe=recipe, scale=scale, seed=seed, role=POINT)
            for key, scale in zip(keys, scales, strict=True)
        ]

    def seen_at(octaves: Iterable[int]) -> dict[int, Seen]:
        at = list(octaves)
        found = [(octave, outcomes.get(run.run_id)) for octave, run in zip(at, runs_at(at, 0), strict=True)]
        return {octave: _seen(outcome, n_val=n_val, n_test=n_test) for octave, outcome in found if outcome}

    seen: dict[int, Seen] = {}
    while octaves := next_octaves(seen, guess=guess, n_images=n_val + n_test):
        seen |= (now := seen_at(octaves))
        if len(now) < len(octaves):
            stored = seen_at(range(guess - STEP * MOST, guess + STEP * MOST + 1))
            if stored.keys() <= seen.keys() or further_octaves(stored, n_images=n_val + n_test):
                return runs_at(seen, 0), runs_at((octave for octave in octaves if octave not in now), 0)
            seen = stored
            break
    again = [run for seed in range(1, n_seeds) for run in runs_at(sorted(seen), seed)]
    done = [*runs_at(seen, 0), *(run for run in again if run.run_id in outcomes)]
    return done, [run for run in again if run.run_id not in outcomes]


def _seen(outcome: Outcome, *, n_val: int, n_test: int) -> Seen:
    """Return the accuracy on validation and test images together, as far as there are any."""
    if outcome.status == DIVERGED:
        return Seen(accuracy=None)
    n_right = (outcome.val_accuracy or 0.0) * n_val + (outcome.test_accuracy or 0.0) * n_test
    return Seen(accuracy=n_right / (n_val + n_test))
