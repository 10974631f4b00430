"""Places a design point's scales by what comes out: octaves around a guess, then outwards until the curve falls."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

FIRST = 2
"""Octaves on either side of the guess that every point gets."""

FALLS = 2
"""So many scales on a side must be clearly worse than the best; one that diverged is enough."""

PLATEAU = 6
"""So many scales on a side that can't be told from one another, nor from the best, count as the curve's end there."""

MOST = 14
RUN_NOISE = 0.02
"""Standard deviation between seeds, a fraction: 1.7 to 2.7 points at scales of up to 2.5 (log of 2026-11-26)."""

CLEARLY = 1.5
"""Standard deviations of a difference that tell a fall from noise; two in a row are asked for."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of the run at one scale: its accuracy on all held-out images, or None where it diverged."""

    accuracy: float | None


def next_octaves(seen: Mapping[int, Seen], *, guess: int, n_images: int) -> list[int]:
    """Return the octaves to run next, none where the curve is known: at first five around the guess.

    A side is known once two scales there are clearly worse than the best, or one has diverged; or once six in a row
    there can't be told from it, as below a fitted head that finetuning does not improve. Where several tie for the
    best, a side is looked at from the one that is farthest from it.

    Validation and test images decide together. They decide what is run, never what is reported: no accuracy is chosen,
    and on the few validation images of a small task a curve would be cut where it still rises.

    Args:
        seen: octave -> what came out, of all that were run.
        guess: the octave to start from.
        n_images: held-out images behind each accuracy.
    """
    first = [guess + step for step in range(-FIRST, FIRST + 1) if guess + step not in seen]
    if first:
        return first
    if not best_octaves(seen):  # all have diverged
        wanted = [min(seen) - 1]
    else:
        wanted = [_outwards(seen, side) for side in open_sides(seen, n_images=n_images)]
    return wanted[: max(0, MOST - len(seen))]


def open_sides(seen: Mapping[int, Seen], *, n_images: int) -> list[int]:
    """Return the sides of its best, -1 below and 1 above, on which a curve has not come to its end.

    Args:
        seen: octave, or any number that says in which order scales lie -> what came out; not all have diverged.
        n_images: held-out images behind each accuracy.
    """
    return [side for side in (-1, 1) if not _is_known(seen, side, n_images)]


def best_octaves(seen: Mapping[int, Seen]) -> list[int]:
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
    return (max(seen) if side > 0 else min(seen)) + side


def _is_known(seen: Mapping[int, Seen], side: int, n_images: int) -> bool:
    """Say whether the curve has come to its end on one side of the best: -1 below, 1 above."""
    best = best_octaves(seen)[-1 if side < 0 else 0]
    beyond = [seen[octave].accuracy for octave in sorted(seen, key=lambda o: o * side) if (octave - best) * side > 0]
    if any(accuracy is None for accuracy in beyond):
        return True
    top = seen[best].accuracy or 0.0
    worse = [top - (accuracy or 0.0) > clear_fall(top, n_images) for accuracy in beyond]
    return sum(worse) >= FALLS or (len(worse) >= PLATEAU and not any(worse[:PLATEAU]))
