"""Harvested curves: test accuracy by octaves from where the rule puts a point, for what a new job may expect."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scalepred.predictor.points import Point
from scalepred.predictor.rule import Rule, kind_of
from scalepred.predictor.sealed import are_numbers, read_sealed, write_sealed
from scalepred.predictor.wide_table import smoothed
from scalepred.recipe import HEAD_STARTS, OPTIMIZERS, content_id

SCHEMA = 3
KINDS = frozenset(f"{optimizer}, {start} head" for optimizer in OPTIMIZERS for start in HEAD_STARTS)
FILE = "curves.json"
MAX_BYTES = 3_000_000

OCTAVES = np.arange(-8.0, 8.5, 0.5)
"""Octaves from the rule's scale at which curves are kept; 19 of 20 harvested scales lie within them."""

_STEPS = range(len(OCTAVES) + 1)

DIGITS = 3
"""Of a kept accuracy, which is written in thousandths; a curve's own noise is one or two points."""

HEADS = ("noise", "half")
"""At which critical rates are told: a new one, and the fitted one half way."""

OTHER_HEAD = 0.25
OTHER_OPTIMIZER = 0.1
"""What a curve weighs whose recipe has another start of the head, or another optimizer (log of 2026-11-30)."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A harvested point's curve, and what it is told by.

    Attributes:
        source: name of the network.
        kind: of its recipe, as ``rule.kind_of`` has it.
        log2_steps: of its jobs.
        critical_rates: head -> log2 of the critical rate there; without heads where it can't be told. Rates and no
            scales, so that recipes of other base rates are alike where their starts are.
        best_scale: the middle of its best scales.
        rule_scale: where the rule puts it.
        relative: accuracies minus the best, at ``OCTAVES``; where runs diverged that of the nearest that did not.
        diverges: from which of ``OCTAVES`` on runs diverged; ``len(OCTAVES)`` where none did.
    """

    source: str
    kind: str
    log2_steps: float
    critical_rates: dict[str, float]
    best_scale: float
    rule_scale: float
    relative: tuple[float, ...]
    diverges: int


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The curves of a harvest.

    Attributes:
        curves: n of them.
        rule_id: content id of the constants of the rule that octaves are counted from.
    """

    curves: tuple[Curve, ...]
    rule_id: str

    def relative_at(self, octaves: np.ndarray) -> np.ndarray:
        """Return (n, m) accuracies minus each curve's best, interpolated at (m,) octaves; held beyond ``OCTAVES``."""
        relative: np.ndarray = np.array([curve.relative for curve in self.curves]) @ _between(octaves)
        return relative

    def diverged_at(self, octaves: np.ndarray) -> np.ndarray:
        """Return (n, m) float64: 1 where a curve diverged at (m,) octaves, 0 where not, between them half way."""
        diverges = np.array([curve.diverges for curve in self.curves])
        diverged: np.ndarray = (np.arange(len(OCTAVES)) >= diverges[:, None]) @ _between(octaves)
        return diverged

    def weights(self, kind: str) -> np.ndarray:
        """Return what each curve weighs for a kind of recipe before any job, (n,) float64 of sum 1."""
        weights = np.array([_alike(curve.kind, kind) for curve in self.curves])
        share: np.ndarray = weights / weights.sum()
        return share


def _between(octaves: np.ndarray) -> np.ndarray:
    """Return what each of ``OCTAVES`` weighs at (m,) octaves, (len(OCTAVES), m); beyond them the last is held."""
    weights: np.ndarray = np.array([np.interp(octaves, OCTAVES, row) for row in np.eye(len(OCTAVES))])
    return weights


def _alike(kind: str, other: str) -> float:
    if kind == other:
        return 1.0
    return OTHER_HEAD if kind.partition(",")[0] == other.partition(",")[0] else OTHER_OPTIMIZER


def curves_of(points: Sequence[Point], rule: Rule) -> Curves:
    """Return the curves of design points that a rule can place, in their order."""
    placed = [(point, rule.bounded_log2_scale(point.facts, point.recipe)) for point in points]
    return Curves(
        curves=tuple(_curve(point, place) for point, place in placed if place is not None), rule_id=rule_id_of(rule)
    )


def rule_id_of(rule: Rule) -> str:
    """Return the content id of a rule's constants."""
    return content_id("constants", {kind: asdict(constant) for kind, constant in sorted(rule.constants.items())})


def _curve(point: Point, place: float) -> Curve:
    ran = ~point.diverged
    relative, diverges = np.zeros(len(OCTAVES)), 0
    if ran.any():
        curve = smoothed(point)
        at = point.log2_scales[ran] - place
        relative = np.interp(OCTAVES, at, curve[ran] - curve[ran].max())
        diverges = int(sum(not point.diverges_at(place + octave) for octave in OCTAVES))
    return Curve(
        source=point.source,
        kind=kind_of(point.recipe),
        log2_steps=round(float(point.facts["log2_steps"]), 2),
        critical_rates=critical_rates(point.facts),
        best_scale=float(f"{2**point.best_log2_scale:.3g}"),
        rule_scale=float(f"{2**place:.3g}"),
        relative=tuple(float(each) for each in (relative + 0.0).round(DIGITS)),
        diverges=diverges,
    )


def critical_rates(facts: Mapping[str, float]) -> dict[str, float]:
    """Return head -> log2 of the critical rate there, to two digits; without those not known."""
    known = {head: facts.get(f"{head}_log2_critical") for head in HEADS}
    return {head: round(value, 2) for head, value in known.items() if value is not None}


def save_curves(curves: Curves, folder: Path) -> None:
    """Write curves as ``curves.json``, sealed by the hash of what it holds."""
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "rule_id": curves.rule_id,
        "octaves": OCTAVES.tolist(),
        "curves": [
            asdict(curve) | {"relative": [round(each * 10**DIGITS) for each in curve.relative]}
            for curve in curves.curves
        ],
    }
    write_sealed(folder / FILE, "curves", values)


def load_curves(folder: Path, rule: Rule) -> Curves:
    """Read the curves that belong to a rule.

    Raises:
        VersionError: if they are missing, damaged, changed by hand, of another schema, or of another rule.
    """
    return read_sealed(
        folder / FILE,
        "curves",
        lambda values: _curves_of(values, rule_id=rule_id_of(rule)),
        what="The harvested curves",
        schema=SCHEMA,
        max_bytes=MAX_BYTES,
    )


def _curves_of(values: dict[str, Any], *, rule_id: str) -> Curves:
    if values["rule_id"] != rule_id:
        raise ValueError("it belongs to another rule than the one beside it")
    if values["octaves"] != OCTAVES.tolist() or not values["curves"]:
        raise ValueError("it has no curves at the octaves that they are to have")
    raw = values["curves"]
    relative = [each["relative"] for each in raw]
    if not all(isinstance(each, list) and len(each) == len(OCTAVES) for each in relative):
        raise ValueError("a curve has not the octaves that it is to have")
    numbers = [number for each in relative for number in each]
    numbers += [number for each in raw for number in each["critical_rates"].values()]
    numbers += [each[name] for each in raw for name in ("log2_steps", "best_scale", "rule_scale")]
    if not are_numbers(numbers):
        raise ValueError("a curve holds what is no finite number")
    thousandths = (np.array(relative) / 10**DIGITS).tolist()
    curves = (_checked(Curve(**each | {"relative": tuple(own)})) for each, own in zip(raw, thousandths, strict=True))
    return Curves(curves=tuple(curves), rule_id=rule_id)


def _checked(curve: Curve) -> Curve:
    if curve.diverges not in _STEPS:
        raise ValueError("a curve diverges at none of its octaves")
    if not (curve.kind in KINDS and isinstance(curve.source, str) and min(curve.best_scale, curve.rule_scale) > 0):
        raise ValueError("a curve is of no kind of recipe, no network or no scale")
    return curve
