"""What a harvest is asked for, and what it tells: its plan and its progress."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scalepred.recipe import Recipe, baseline_of
from scalepred.records import RecipeRecord, RunRecord


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a harvest is asked for.

    Attributes:
        data: tasks, as ``task.read_task`` takes them.
        recipes: name -> graduated recipe; the baseline belongs to each.
        n_seeds: seeds 0..n_seeds-1.
        warehouse: a DuckDB file, which need not exist.
        max_workers: workers at a time.
        extends: go beyond the edges of the grid where the best scale lies there.
        grows: on CUDA devices, begin with one worker on each, and start more as they fit.
        lock_timeout_seconds: how long to wait while another process holds the warehouse.
    """

    data: Sequence[str]
    recipes: Mapping[str, Recipe]
    n_seeds: int
    warehouse: Path
    max_workers: int
    extends: bool = True
    grows: bool = False
    lock_timeout_seconds: float = 60.0

    def recipes_at(self, image_px: int) -> list[Recipe]:
        """Return the recipes that take images of a size."""
        return [recipe for recipe in self.recipes.values() if recipe.image_px == image_px]

    def sizes_px(self) -> list[int]:
        """Return the image sizes of the recipes, each once, smallest first."""
        return sorted({recipe.image_px for recipe in self.recipes.values()})

    def recipe_records(self) -> list[RecipeRecord]:
        """Return the rows of the recipes and of their baselines."""
        return [
            RecipeRecord(recipe_id=member.recipe_id, name=member_name, json=member.to_json())
            for name, recipe in self.recipes.items()
            for member_name, member in ((name, recipe), (_baseline_name(name), baseline_of(recipe)))
        ]


def _baseline_name(recipe: str) -> str:
    return "baseline" if recipe == "graduated" else f"baseline of {recipe}"


@dataclass(frozen=True, kw_only=True)
class PlannedBundle:
    """A task and source with missing runs, as the plan shows it; a task that was never read counts in full."""

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
        refused: task -> why it can't be harvested.
    """

    bundles: tuple[PlannedBundle, ...]
    n_stored: int
    refused: Mapping[str, str]

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
