"""The bundles of a harvest: each a task and source, or a design point, and what it lacks."""

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from scalepred.harvest.draw import DesignPoint
from scalepred.harvest.space import describe
from scalepred.recipe import Recipe
from scalepred.records import RecipeRecord
from scalepred.training.planned import PlannedRun

MAX_DEATHS = 3
"""A bundle or run during which workers died so often is given up."""


@dataclass(kw_only=True, eq=False)
class BundleState:
    """A task and source, or a design point, in a harvest, and what it lacks.

    Attributes:
        data: the task, as it was asked for.
        origin: of the task.
        source: number of the source, as workers hold it.
        source_id: of the source.
        image_px: side of the images.
        resize: how they become squares.
        dtype: that its runs are computed in.
        point: the design point that it is; None for a grid's task and source.
        guess: the octave that a point's scales are placed around; None until the facts of its start are known.
        n_seeds: of a point.
        n_val, n_test: held-out images of a point's task, once that was read.
        n_stored: its runs that were done when its task was known, but for those beyond a grid's edges.
        n_expected: runs to expect while the task was never read, or the point is not placed.
        task_id: None until the task is read, and so is what there is to do.
        todo: runs that nobody has in hand.
        wants_features: its features are missing, and no worker computes them.
        n_train: training images, once a worker has opened it.
        n_running: runs that workers have in hand.
        is_given_up: it is refused, and nothing more of it is done.
        failed_at: worker -> its machine, of those that could not open it, or died of it.
        failed_seconds: when the last of these did, by ``time.monotonic``.
        reason: what it said.
    """

    data: str
    origin: str
    source: int
    source_id: str
    image_px: int
    dtype: str
    resize: str = "squash"
    point: DesignPoint | None = None
    guess: int | None = None
    n_seeds: int = 1
    n_val: int = 0
    n_test: int = 0
    n_stored: int = 0
    n_expected: int = 0
    task_id: str | None = None
    todo: deque[PlannedRun] = field(default_factory=deque)
    wants_features: bool = False
    n_train: int = 0
    n_running: int = 0
    is_given_up: bool = False
    failed_at: dict[int, str] = field(default_factory=dict)
    failed_seconds: float = 0.0
    reason: str = ""

    @property
    def name(self) -> str:
        """The task's folder or file, without the way there, and a point's number of images."""
        return Path(self.data).name + ("" if self.n_images is None else f"~{self.n_images}")

    @property
    def label(self) -> str:
        """What it is refused as: the task, and which design point."""
        if self.point is None:
            return self.data
        return f"{self.data} (point {self.point.index}: {self.point.source}, {describe(self.point.recipe)})"

    @property
    def n_images(self) -> int | None:
        """How many training and validation images a point may have; None for all."""
        return self.point.n_images if self.point else None

    @property
    def recipe(self) -> Recipe | None:
        """A point's recipe; a grid may have several."""
        return self.point.recipe if self.point else None

    @property
    def n_left(self) -> int:
        """Number of runs that are not done, as far as is known."""
        is_unplaced = self.point is not None and self.guess is None
        return self.n_expected if self.task_id is None or is_unplaced else len(self.todo) + self.n_running

    @property
    def lacks_something(self) -> bool:
        """Whether runs or features are missing."""
        return self.n_left > 0 or self.wants_features

    def may_be_opened_by(self, worker: int, *, host: str) -> bool:
        """Say whether a worker may try: none that failed before, and none of a machine where ``MAX_DEATHS`` did."""
        n_failed = sum(each == host for each in self.failed_at.values())
        return worker not in self.failed_at and n_failed < MAX_DEATHS

    @property
    def recipe_records(self) -> list[RecipeRecord]:
        """The row of a point's recipe; a grid's are kept together."""
        if self.point is None:
            return []
        recipe, name = self.point.recipe, self.point.name
        return [RecipeRecord(recipe_id=recipe.recipe_id, name=name or describe(recipe), json=recipe.to_json())]
