"""Scores each way of choosing a scale: rows, groups, and the whole evaluation."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from scalepred.predictor.honest import bootstrap_interval, gap_closed, regret

PREDICTED = "predicted scale"

FIXED = "best fixed scale"

HEAD_ONLY = "head only (the paper's baseline)"

CONTROL = "predicted, features permuted (control)"

SEARCH = "search: best of all scales on validation"

POINT = 0.01
"""A point of accuracy, as a fraction."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one way of choosing does over held-out tasks; accuracies and regrets are fractions of test images.

    Attributes:
        method: its name.
        jobs: finetunes that a user pays for.
        n_tasks: tasks that it could be scored on.
        accuracy: mean over tasks.
        over_fixed, over_fixed_interval: mean gain over the best fixed scale, and its 95 % interval over origins.
        regret_mean, regret_median, regret_p90: against the honest best, over tasks with repeats; None without any.
        gap_closed: over the same, part of the way from the fixed scale to the honest best; None where no gap is shown,
            that is, the gap's 95 % interval over origins is not above 0.
        worse_share: share of tasks more than a point below the best fixed scale.
    """

    method: str
    jobs: int
    n_tasks: int
    accuracy: float
    over_fixed: float
    over_fixed_interval: tuple[float, float] | None
    regret_mean: float | None
    regret_median: float | None
    regret_p90: float | None
    gap_closed: float | None
    worse_share: float


@dataclass(frozen=True, kw_only=True)
class GroupEvaluation:
    """The leave-one-origin-out table of one source and recipe.

    Attributes:
        source_id, recipe_id: which.
        rows: a row per method.
        n_tasks, n_origins: behind every row.
        n_moved: held-out tasks for which the predictor left the fixed scale.
        n_abstained: held-out tasks for which it predicted nothing, because they are unlike the others.
    """

    source_id: str
    recipe_id: str
    rows: tuple[Row, ...]
    n_tasks: int
    n_origins: int
    n_moved: int
    n_abstained: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a predictor does on held-out origins, for each source and recipe that it predicts for.

    They are never pooled: the same tasks meet several, and a mean over all would tell of none.

    Attributes:
        groups: those of at least ``MIN_ORIGINS`` origins, most tasks first.
        gain_errors: real less predicted gain over the fixed scale, where it was left, of all groups.
        interval_coverage: share of these that lie in the 80 % interval made without their origin's; None where
            there are too few.
    """

    groups: tuple[GroupEvaluation, ...]
    gain_errors: tuple[float, ...]
    interval_coverage: float | None

    def to_json(self) -> dict[str, object]:
        """Return JSON values, without the errors."""
        values = asdict(self)
        del values["gain_errors"]
        return values


@dataclass(frozen=True)
class Scoring:
    """Scores rows against test accuracies (n, s), origins, the fixed columns (n,) and the honest best (n,)."""

    test: np.ndarray
    origins: tuple[str, ...]
    fixed: np.ndarray
    best: np.ndarray

    def scores(self, columns: np.ndarray) -> np.ndarray:
        """Return the test accuracy of each task at these columns, (n,)."""
        return np.asarray(self.test[np.arange(len(columns)), columns])

    def row(self, method: str, jobs: int, scores: np.ndarray, group: np.ndarray) -> Row | None:
        """Score the tasks of a group that have a score; None where none has."""
        rows = group[np.isfinite(scores[group])]
        if not len(rows):
            return None
        scored, fixed, best = scores[rows], self.scores(self.fixed)[rows], self.best[rows]
        gain, lost = scored - fixed, regret(best, scored)
        lost = lost[np.isfinite(lost)]
        origins = [self.origins[row] for row in rows]
        interval = bootstrap_interval(gain, origins, lambda drawn: float(drawn.mean()), seed=0)
        closed = gap_closed(scored, fixed, best) if self._has_gap(rows) else math.nan
        return Row(
            method=method,
            jobs=jobs,
            n_tasks=len(rows),
            accuracy=float(scored.mean()),
            over_fixed=float(gain.mean()),
            over_fixed_interval=None if math.isnan(interval[0]) else interval,
            regret_mean=float(lost.mean()) if len(lost) else None,
            regret_median=float(np.median(lost)) if len(lost) else None,
            regret_p90=float(np.quantile(lost, 0.9)) if len(lost) else None,
            gap_closed=None if math.isnan(closed) else closed,
            worse_share=float((gain < -POINT).mean()),
        )

    def _has_gap(self, rows: np.ndarray) -> bool:
        """Say whether the honest best is shown to be above the fixed scale; else a share of the gap is noise."""
        gap = self.best[rows] - self.scores(self.fixed)[rows]
        finite = np.isfinite(gap)
        origins = [self.origins[row] for row in rows[finite]]
        return bool(finite.any()) and bootstrap_interval(gap[finite], origins, np.mean, seed=0)[0] > 0
