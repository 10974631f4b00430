"""Places a design point's scales by what comes out: every other octave until it falls, then next to the best."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

Octave = TypeVar("Octave", int, float)

STEP = 2
"""Octaves from one scale to the next, but beside the best."""

FALLS = 2
"""So many scales on a side must be clearly worse than the best; one that diverged is enough."""

PLATEAU = 6
"""So many octaves on a side, none of them clearly worse than the best, count as the curve's end there."""

MOST = 14
RUN_NOISE = 0.02
"""Standard deviation between seeds, a fraction: 1.7 to 2.7 points at scales of up to 2.5 (log of 2026-11-26)."""

CLEARLY = 1.5
"""Standard deviations of a difference that tell a fall from noise; two in a row are asked for."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of the run at one scale: its accuracy on all held-out images, or None where it diverged."""

    accuracy: float | None


def first_octaves(guess: int) -> list[int]:
    """Return the three octaves that every point gets."""
    return [guess - STEP, guess, guess + STEP]


def next_octaves(seen: Mapping[int, Seen], *, guess: int, n_images: int) -> list[int]:
    """Return the octaves to run next, none where the curve is known: at first three around the guess.

    Args:
        seen: octave -> what came out, of all that were run.
        guess: the octave to start from.
        n_images: held-out images behind each accuracy.
    """
    lacking = [octave for octave in first_octaves(guess) if octave not in seen]
    return lacking or further_octaves(seen, n_images=n_images)


def further_octaves(seen: Mapping[int, Seen], *, n_images: int) -> list[int]:
    """Return the octaves to run beyond the first and between them; none where the curve is known.

    By steps of two it goes outwards until one scale on each side is clearly worse than the best, then looks on both
    sides beside the best, then outwards again until the sides are known: once two scales there are clearly worse than
    the best, or one has diverged; or once none of six octaves is, as below a fitted head that finetuning does not
    improve. Where several tie for the best, a side is looked at from the one that is farthest from it.

    Validation and test images decide together. They decide what is run, never what is reported: no accuracy is chosen,
    and on the few validation images of a small task a curve would be cut where it still rises.

    Args:
        seen: octave -> what came out, of all that were run; at least one.
        n_images: held-out images behind each accuracy.
    """
    if not best_octaves(seen):
        wanted = [min(seen) - STEP]
    else:
        wanted = (
            [_outwards(seen, side) for side in open_sides(seen, n_images=n_images, n_falls=1)]
            or _beside_best(seen)
            or [_outwards(seen, side) for side in open_sides(seen, n_images=n_images)]
        )
    return wanted[: max(0, MOST - len(seen))]


def open_sides(seen: Mapping[Octave, Seen], *, n_images: int, n_falls: int = FALLS) -> list[int]:
    """Return the sides of its best, -1 below and 1 above, on which a curve has not come to its end.

    Args:
        seen: octave, or log2 of any scale -> what came out; not all have diverged.
        n_images: held-out images behind each accuracy.
        n_falls: scales on a side that must be clearly worse than the best.
    """
    return [side for side in (-1, 1) if not _is_known(seen, side, n_images, n_falls)]


def best_octaves(seen: Mapping[Octave, Seen]) -> list[Octave]:
    """Return the octaves of the highest accuracy, ascending; none where all have diverged."""
    done = {octave: each.accuracy for octave, each in seen.items() if each.accuracy is not None}
    return sorted(octave for octave in done if done[octave] == max(done.values()))


def clear_fall(best: float, n_images: int) -> float:
    """Return how far below the best accuracy another must lie to be clearly worse, a fraction.

    Source: Agresti and Coull 1998 for the noise of an accuracy (two right and two wrong are added); the same images
    meet both scales, which makes their difference less noisy than this.
    """
    p = (best * n_images + 2) / (n_images + 4)
    return CLEARLY * math.sqrt(p * (1 - p) / (n_images + 4) + 2 * RUN_NOISE**2)


def _outwards(seen: Mapping[int, Seen], side: int) -> int:
    return (max(seen) if side > 0 else min(seen)) + STEP * side


def _beside_best(seen: Mapping[int, Seen]) -> list[int]:
    """Return the octaves next to the best, or to those that tie for it, that were passed over."""
    beside = {octave + side for octave in best_octaves(seen) for side in (-1, 1)} - seen.keys()
    return sorted(octave for octave in beside if min(seen) < octave < max(seen))


def _is_known(seen: Mapping[Octave, Seen], side: int, n_images: int, n_falls: int) -> bool:
    """Say whether the curve has come to its end on one side of the best: -1 below, 1 above."""
    best = best_octaves(seen)[-1 if side < 0 else 0]
    beyond = {(octave - best) * side: each.accuracy for octave, each in seen.items() if (octave - best) * side > 0}
    if any(accuracy is None for accuracy in beyond.values()):
        return True
    top = seen[best].accuracy or 0.0
    worse = {off: top - (accuracy or 0.0) > clear_fall(top, n_images) for off, accuracy in beyond.items()}
    return sum(worse.values()) >= n_falls or (not any(worse.values()) and max(worse, default=0) >= PLATEAU)
