"""A few jobs on one task: known curves are found, noise moves little, and what can't pay is not run."""

import math

import numpy as np
import pytest

from scalepred.predictor.search import (
    LEVEL,
    LEVEL_SPREAD,
    PAYS,
    REACH,
    Prior,
    Tried,
    believe,
    best_of,
    expected_gains,
    image_noise,
)

ZERO = 6
"""The place of the rule's scale in ``REACH``."""


def hill(best, *, steep=0.06):
    """Return a curve that loses more the further a place is from its best."""
    return -steep * (REACH - best) ** 2


def prior(*curves, diverged=None, n_images=400, weights=None):
    relative = np.array(curves)
    return Prior(
        octaves=REACH,
        relative=relative,
        diverged=np.zeros(relative.shape) if diverged is None else np.array(diverged, dtype=float),
        weights=np.full(len(curves), 1 / len(curves)) if weights is None else np.array(weights),
        chance=0.2,
        n_images=n_images,
    )


def job(octave, accuracy, *, loss=0.5):
    at = int(np.flatnonzero(octave == REACH)[0])
    return Tried(at, accuracy, None if accuracy is None else loss)


def test_two_jobs_tell_which_way_a_known_curve_is_shifted():
    shifted = prior(*(hill(best) for best in (-3, -2, -1, 0, 1, 2, 3)))
    truth = 0.8 + hill(2)
    first = [job(0, truth[ZERO])]
    assert believe(shifted, []).weights == pytest.approx(np.full(7, 1 / 7))
    both = believe(shifted, [*first, job(1, truth[ZERO + 1])])
    assert int(both.weights.argmax()) == 5
    assert int(both.mean.argmax()) == ZERO + 2
    assert believe(shifted, first).mean[ZERO] == pytest.approx(truth[ZERO], abs=0.02)


def test_the_next_job_runs_where_a_known_curve_rises_and_none_pays_at_its_best():
    rises = prior(hill(2))
    gains = expected_gains(believe(rises, [job(0, 0.56)]), [job(0, 0.56)])
    assert REACH[int(gains.argmax())] == 2
    assert gains.max() == pytest.approx(0.24, abs=0.03)
    assert gains[ZERO] == -math.inf
    steep = prior(hill(0, steep=0.3))
    assert expected_gains(believe(steep, [job(0, 0.8)]), [job(0, 0.8)]).max() < PAYS


def test_few_validation_images_move_little():
    two = [hill(0), hill(1)]
    seen = [job(0, 0.7), job(1, 0.8)]
    weights = {n: believe(prior(*two, n_images=n), seen).weights[1] for n in (2, 10, 1000)}
    assert 0.5 < weights[2] < weights[10] < weights[1000]
    flat = np.zeros(len(REACH))
    moved = {n: np.ptp(believe(prior(flat, n_images=n), seen).mean[ZERO : ZERO + 2]) for n in (10, 1000)}
    assert moved[10] < 0.6 * moved[1000] < 0.1


def test_what_can_not_be_told_from_few_images_promises_less():
    flat = np.zeros(len(REACH))
    first = [job(0, 0.7)]
    promised = [expected_gains(believe(prior(flat, n_images=n), first), first).max() for n in (2, 10, 100, 10_000)]
    assert promised == sorted(promised)
    assert promised[0] < promised[-1]


def test_every_job_that_comes_out_the_same_leaves_less_to_gain():
    flat = prior(np.zeros(len(REACH)))
    tried, left = [job(0, 0.9)], []
    while len(tried) < len(REACH):
        gains = expected_gains(believe(flat, tried), tried)
        left.append(gains.max())
        tried.append(job(REACH[int(gains.argmax())], 0.9))
    assert left[0] > PAYS
    assert left[-1] < 0.7 * left[0]


def test_a_job_that_diverged_moves_down_and_nothing_above_it_is_run():
    cliffs = [edge <= REACH for edge in (-2, 0, 2, 99)]
    known = prior(*[np.zeros(len(REACH))] * 4, diverged=cliffs)
    tried = [job(0, None)]
    belief = believe(known, tried)
    assert belief.weights[:2].sum() > 0.9
    assert belief.mean[REACH >= 0] == pytest.approx(np.full(7, 0.2))
    assert belief.mean[REACH < -2].min() > belief.mean[REACH == -1][0] > 0.2
    assert REACH[int(expected_gains(belief, tried).argmax())] < -2


def test_a_job_that_did_not_diverge_speaks_against_cliffs_below_it():
    known = prior(hill(0), hill(0), diverged=[REACH >= 0, REACH >= 99])
    belief = believe(known, [job(0, 0.7)])
    assert belief.weights[1] > 0.95
    assert belief.mean[ZERO] == pytest.approx(0.7, abs=0.02)


def test_the_kept_job_is_that_of_the_best_expected_accuracy_and_not_the_luckiest():
    tried = [job(0, 0.70), job(5, 0.72)]
    belief = believe(prior(hill(0, steep=0.02), n_images=10), tried)
    assert best_of(belief, tried) == ZERO
    assert best_of(believe(prior(hill(0, steep=0.02), n_images=100_000), tried), tried) == tried[1].at
    assert best_of(believe(prior(hill(0)), [job(0, None), job(-2, 0.4)]), [job(0, None), job(-2, 0.4)]) == ZERO - 2
    assert best_of(believe(prior(hill(0)), [job(0, None)]), [job(0, None)]) == ZERO


def test_the_training_loss_tells_a_job_that_has_hardly_learnt():
    flat = np.zeros(len(REACH))
    seen = [job(-1, 0.5, loss=1.2), job(0, 0.5, loss=0.1)]
    told = believe(prior(flat, n_images=5), seen).mean
    same = believe(prior(flat, n_images=5), [job(-1, 0.5, loss=0.1), job(0, 0.5, loss=0.1)]).mean
    assert told[ZERO] - told[ZERO - 1] > 0.05
    assert same[ZERO] == pytest.approx(same[ZERO - 1])


def test_one_curve_is_a_gaussian_process_as_the_plain_formulas_have_it():
    """All of it by one joint Gaussian of places, accuracies and fits, conditioned as in Rasmussen and Williams 2006."""
    curve, seen = hill(1), [job(-1, 0.6, loss=0.7), job(2, 0.75, loss=0.2)]
    at = [each.at for each in seen]
    m = len(REACH)
    apart = REACH[:, None] - REACH[None]
    shape = 0.12**2 * np.exp(-0.5 * apart**2) + 0.03**2 * np.eye(m)
    joint = np.zeros((m + 4, m + 4))
    rows = [*range(m), *at, *at]
    joint[:] = shape[np.ix_(rows, rows)]
    joint[: m + 2, : m + 2] += LEVEL_SPREAD**2
    joint[m + 2 :, m + 2 :] += LEVEL_SPREAD**2
    joint[range(m, m + 2), range(m, m + 2)] += image_noise(0.675, 400) ** 2
    joint[range(m + 2, m + 4), range(m + 2, m + 4)] += 0.06**2
    fits = 0.4 * np.exp(-np.array([0.7, 0.2]))
    expected = np.concatenate([LEVEL + curve, LEVEL + curve[at], curve[at] + fits.mean() - curve[at].mean()])
    outcome = np.array([0.6, 0.75, *fits])
    gain = joint[:m, m:] @ np.linalg.inv(joint[m:, m:])
    belief = believe(prior(curve), seen)
    assert belief.mean == pytest.approx(expected[:m] + gain @ (outcome - expected[m:]))
    assert belief.spread == pytest.approx(np.sqrt(np.diag(joint[:m, :m] - gain @ joint[m:, :m])))


def test_the_expected_gain_is_what_drawing_the_next_outcome_many_times_gives():
    shifted = prior(*(hill(best, steep=0.02) for best in (-2, 0, 2)), n_images=50)
    tried = [job(0, 0.6), job(1, 0.66)]
    belief, at, rng = believe(shifted, tried), ZERO + 2, np.random.default_rng(0)
    ran = [each.at for each in tried]
    noise = 1 / (1 / image_noise(float(belief.mean[at]), 50) ** 2 + 1 / 0.06**2)
    variance = belief.covariance[at, at] + noise
    best = []
    for curve in rng.choice(3, size=20_000, p=belief.weights):
        outcome = rng.normal(belief.means[curve, at], math.sqrt(variance))
        weights = belief.weights * np.exp(-0.5 * (outcome - belief.means[:, at]) ** 2 / variance)
        places = [*ran, at]
        means = (
            belief.means[:, places] + np.outer(outcome - belief.means[:, at], belief.covariance[at, places]) / variance
        )
        best.append((weights / weights.sum() @ means).max())
    assert expected_gains(belief, tried)[at] == pytest.approx(np.mean(best) - belief.mean[ran].max(), abs=0.001)


def test_a_job_that_finished_is_not_believed_to_have_diverged_since_a_lower_one_did():
    tried = [job(0, 0.5), job(2, 0.9), job(1, None)]
    belief = believe(prior(hill(1), hill(2)), tried)
    at = {each.at: float(belief.mean[each.at]) for each in tried}
    assert at[ZERO + 1] == pytest.approx(0.2)
    assert at[ZERO + 2] > 0.7
    assert best_of(belief, tried) == ZERO + 2
