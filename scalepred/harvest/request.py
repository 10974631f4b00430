"""What a harvest is asked for, and what it tells: its plan and its progress."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scalepred.data.task import Survey
from scalepred.harvest.draw import DesignPoint
from scalepred.recipe import GRID, RESIZES, Recipe, baseline_of
from scalepred.records import RecipeRecord, RunRecord


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a harvest is asked for: tasks x sources x recipes over the grid, or else design points.

    Attributes:
        data: tasks, as ``task.read_task`` takes them.
        recipes: name -> graduated recipe; the baseline belongs to each. Empty where there are points.
        n_seeds: seeds 0..n_seeds-1 of the grid.
        scales: of the grid; where they are not the eleven, it is not extended.
        points: what is run instead of the grid, in this order; each places its scales itself.
        sources: names of the sources as points have them, in the order in which workers hold them.
        surveys: of tasks that were looked at already; the others are when the harvest is planned.
        warehouse: a DuckDB file, which need not exist.
        max_workers: workers at a time.
        extends: go beyond the edges of the grid where the best scale lies there.
        grows: on CUDA devices, begin with one worker on each, and start more as they fit.
        lock_timeout_seconds: how long to wait while another process holds the warehouse.
    """

    data: Sequence[str]
    warehouse: Path
    max_workers: int
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    n_seeds: int = 1
    scales: Sequence[float] = GRID
    points: Sequence[DesignPoint] = ()
    sources: Sequence[str] = ()
    surveys: Mapping[str, Survey] = field(default_factory=dict)
    extends: bool = True
    grows: bool = False
    lock_timeout_seconds: float = 60.0

    def recipes_at(self, image_px: int, resize: str) -> list[Recipe]:
        """Return the recipes that take images of a size, made squares in one way."""
        return [recipe for recipe in self.recipes.values() if (recipe.image_px, recipe.resize) == (image_px, resize)]

    def size_recipes(self, n_sources: int) -> dict[tuple[int, int], Recipe]:
        """Return (number of a source, image size) -> a recipe of that size, of all that are wanted.

        Of points it is the first one's, so that it stays the same when more are asked for.
        """
        if not self.points:
            return {
                (number, recipe.image_px): recipe for number in range(n_sources) for recipe in self.recipes.values()
            }
        first: dict[int, Recipe] = {}
        for point in self.points:
            first.setdefault(point.recipe.image_px, point.recipe)
        pairs = dict.fromkeys((self.number_of(point.source), point.recipe.image_px) for point in self.points)
        return {(number, image_px): first[image_px] for number, image_px in pairs}

    def number_of(self, source: str) -> int:
        """Return the number of a point's source, as workers hold it."""
        return self.sources.index(source)

    def image_kinds(self) -> list[tuple[int, str]]:
        """Return image size and resize of the recipes, each pair once, smallest first and squashed before others."""
        kinds = {(recipe.image_px, recipe.resize) for recipe in self.recipes.values()}
        return sorted(kinds, key=lambda kind: (kind[0], RESIZES.index(kind[1])))

    def recipe_records(self) -> list[RecipeRecord]:
        """Return the rows of the grid's recipes and of their baselines."""
        return [
            RecipeRecord(recipe_id=member.recipe_id, name=member_name, json=member.to_json())
            for name, recipe in self.recipes.items()
            for member_name, member in ((name, recipe), (_baseline_name(name), baseline_of(recipe)))
        ]


def _baseline_name(recipe: str) -> str:
    return "baseline" if recipe == "graduated" else f"baseline of {recipe}"


@dataclass(frozen=True, kw_only=True)
class PlannedBundle:
    """A task and source with missing runs, as the plan shows it; a task that was never read counts in full.

    Of a design point ``n_runs`` is what is known to be missing; what comes out may ask for more.
    """

    data: str
    source: str
    image_px: int
    n_runs: int
    is_read: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a harvest has to do, as far as the files of its tasks say before they are read.

    Attributes:
        bundles: what is missing, in the order in which it is done.
        n_stored: wanted runs that are done already.
        refused: task or point -> why it can't be harvested.
        n_points: design points that are asked for; 0 for a grid.
    """

    bundles: tuple[PlannedBundle, ...]
    n_stored: int
    refused: Mapping[str, str]
    n_points: int = 0

    @property
    def n_runs(self) -> int:
        """Number of missing runs."""
        return sum(bundle.n_runs for bundle in self.bundles)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a harvest is.

    Attributes:
        run: the run that was just finished, if one was.
        notes: what a user should know.
        n_done, n_diverged, n_left: runs.
        images_per_second: training images, over the whole harvest so far.
        seconds_left: at the speed so far.
        workers: number -> what it does, in words.
    """

    run: RunRecord | None
    notes: tuple[str, ...]
    n_done: int
    n_diverged: int
    n_left: int
    images_per_second: float
    seconds_left: float | None
    workers: Mapping[int, str]
