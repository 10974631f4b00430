"""The linear probe: parity with scikit-learn, what it tells of itself, and data that nothing can be learnt from."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from scalepred.training.probe import STRENGTHS, fit_probe


def blobs(n=60, n_classes=3, d=20, *, distance=2.0, seed=0):
    """Return features whose classes lie around different centres, on axes of very different lengths."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centres = distance * rng.normal(size=(n_classes, d)) / math.sqrt(d)
    features = (centres[labels] + rng.normal(size=(n, d))) * np.exp(rng.normal(size=d)) + 5
    return features.astype(np.float32), labels


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(("is_standardised", "atol"), [(False, 5e-2), (True, 2e-2)])  # L-BFGS stops near the solution
def test_it_is_the_solution_that_scikit_learn_finds_for_scaled_features(n_classes, is_standardised, atol):
    features, labels = blobs(n_classes=n_classes)
    probe = fit_probe(features, labels, n_classes=n_classes, is_standardised=is_standardised)
    spread = features.std(0, dtype=np.float64)
    scaled = (features - features.mean(0)) / (spread if is_standardised else np.sqrt(spread + 1e-3 * spread.mean()))
    scaled /= math.sqrt((scaled**2).sum(axis=1).mean())
    trusted = LogisticRegression(C=probe.strength, tol=1e-8, max_iter=5000).fit(scaled, labels)
    expected = trusted.predict_log_proba(scaled)
    logits = probe.logits(features)
    found = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected, atol=atol)


def test_the_strength_is_chosen_by_held_out_images_and_noise_is_held_back():
    clear, noisy = (fit_probe(*blobs(n=90, distance=distance), n_classes=3) for distance in (40.0, 0.0))
    assert clear.accuracy == 1.0
    assert noisy.strength == STRENGTHS[0]
    assert noisy.accuracy < 0.5
    assert noisy.log_loss == pytest.approx(math.log(3), abs=0.15)
    assert (clear.n_scored, clear.note) == (90, "")


def test_features_that_hardly_vary_and_tell_nothing_do_not_drown_those_that_do():
    features, labels = blobs(n=3060, d=8, distance=6.0)
    noise = 1e-3 * np.random.default_rng(1).normal(size=(3060, 400))
    features = np.concatenate([features, noise], axis=1).astype(np.float32)
    right = []
    for is_standardised in (False, True):
        probe = fit_probe(features[:60], labels[:60], n_classes=3, is_standardised=is_standardised)
        right.append((probe.logits(features[60:]).argmax(1) == labels[60:]).mean())
    assert right[0] > right[1] + 0.1


def test_parts_count_alike_however_large_their_numbers_are():
    features, labels = blobs(n=600, d=12, distance=3.0)
    larger = features.copy()
    larger[:, :4] *= 1000
    logits = [fit_probe(each, labels, n_classes=3, parts=(4, 8)).logits(each) for each in (features, larger)]
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-2, atol=1e-2)
    without = [fit_probe(each, labels, n_classes=3).logits(each) for each in (features, larger)]
    assert np.abs(without[0] - without[1]).max() > 0.1


def test_one_part_of_all_features_changes_nothing():
    features, labels = blobs()
    whole, parted = (fit_probe(features, labels, n_classes=3, parts=parts) for parts in ((), (20,)))
    torch.testing.assert_close(whole.weight, parted.weight, rtol=1e-3, atol=1e-4)


def test_a_part_that_does_not_vary_gets_no_weight():
    features, labels = blobs()
    constant = np.concatenate([features, np.full((60, 3), 7, np.float32)], axis=1)
    probe = fit_probe(constant, labels, n_classes=3, parts=(20, 3))
    assert (probe.weight[:, 20:] == 0).all()
    assert probe.accuracy == pytest.approx(fit_probe(features, labels, n_classes=3).accuracy, abs=0.02)


def test_its_cross_validated_accuracy_is_that_of_new_images():
    features, labels = blobs(n=3000, distance=3.0)
    probe = fit_probe(features[:300], labels[:300], n_classes=3)
    new = (probe.logits(features[300:]).argmax(1) == labels[300:]).mean()
    assert probe.accuracy == pytest.approx(new, abs=0.06)


def copies_of(n=40, times=4):
    """Return noise, each row several times with hardly a difference, labels at random, and whose copy each is."""
    features, labels = blobs(n=n, distance=0.0)
    groups = np.tile(np.arange(n), times)
    near = features[groups] + 1e-3 * np.random.default_rng(1).normal(size=(n * times, features.shape[1]))
    return near.astype(np.float32), labels[groups], groups


def test_copies_of_an_image_are_held_out_together_so_that_it_knows_what_new_images_would_give():
    features, labels, groups = copies_of()
    apart, together = (fit_probe(features, labels, n_classes=3, groups=each) for each in ((), groups))
    assert apart.accuracy == 1.0
    assert together.accuracy < 0.5
    assert (together.n_scored, together.n_groups) == (len(labels), 40)
    assert (apart.n_scored, apart.n_groups) == (len(labels), len(labels))
    assert together.strength < apart.strength


def test_groups_of_one_image_each_change_nothing():
    features, labels = blobs()
    alone, numbered = (fit_probe(features, labels, n_classes=3, groups=each) for each in ((), np.arange(60)[::-1]))
    assert numbered.weight.equal(alone.weight)
    assert numbered.log_loss == alone.log_loss


def test_a_class_of_one_group_is_learnt_and_not_scored():
    features, labels = blobs(n=60, distance=20.0)
    groups = np.where(labels == 2, 1000, np.arange(60))
    probe = fit_probe(features, labels, n_classes=3, groups=groups)
    assert (probe.n_scored, probe.n_groups) == (40, 40)
    assert np.isnan(probe.held_out[labels == 2]).all()
    assert np.isfinite(probe.held_out[labels != 2]).all()
    assert (probe.logits(features).argmax(1) == labels).all()


def test_no_class_is_scored_that_was_not_learnt():
    features, labels = blobs(n=60, distance=20.0)
    groups = np.where(labels == 2, 1000 + (np.arange(60) > 30), np.arange(60) // 2)  # classes share groups
    probe = fit_probe(features, labels, n_classes=3, groups=groups)
    scored = ~np.isnan(probe.held_out[:, 0])
    assert probe.n_scored == scored.sum()
    assert np.isfinite(probe.held_out[scored]).all()


def test_one_group_for_each_class_leaves_nothing_to_hold_out_and_it_says_so():
    features, labels = blobs()
    probe = fit_probe(features, labels, n_classes=3, groups=labels)
    assert (probe.accuracy, probe.held_out, probe.n_scored) == (None, None, 0)
    assert probe.note == "no class has two groups of images, so the linear probe could not be cross-validated"


def test_classes_of_one_image_are_learnt_and_not_scored():
    features, labels = blobs(n=30, n_classes=2, distance=20.0)
    labels = np.append(labels, 2)
    features = np.concatenate([features, features.mean(0, keepdims=True) + 100]).astype(np.float32)
    probe = fit_probe(features, labels, n_classes=3)
    assert probe.n_scored == 30
    assert probe.logits(features)[-1].argmax() == 2


def test_without_two_images_of_a_class_nothing_is_cross_validated_and_it_says_so():
    features, _ = blobs(n=4)
    probe = fit_probe(features, np.arange(4), n_classes=4)
    assert (probe.accuracy, probe.log_loss, probe.n_scored) == (None, None, 0)
    assert probe.note == "no class has two images, so the linear probe could not be cross-validated"
    assert probe.logits(features).argmax(1).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda features, labels: (features * np.nan, labels), "its features are not finite"),
        (lambda features, labels: (np.ones_like(features), labels), "its features are all the same"),
        (lambda features, labels: (features, labels * 0), "only one class has images"),
    ],
)
def test_where_there_is_nothing_to_learn_from_it_knows_how_frequent_classes_are(change, why):
    features, labels = change(*blobs(n=31))
    probe = fit_probe(features, labels, n_classes=3)
    assert probe.note == f"the linear probe knows class counts alone: {why}"
    assert not probe.weight.any()
    counts = np.maximum(np.bincount(labels, minlength=3), 0.5)
    np.testing.assert_allclose(probe.bias.exp().numpy(), counts / 31, rtol=1e-5)


def test_more_classes_than_images_and_a_constant_feature_do_no_harm():
    features, labels = blobs(n=6, distance=20.0)
    features[:, 3] = 7
    probe = fit_probe(features, labels, n_classes=10)
    assert not probe.weight[:, 3].any()
    logits = probe.logits(features)
    assert np.isfinite(logits).all()
    assert (logits.argmax(1) == labels).all()


def test_two_images_of_each_of_many_classes_are_as_good_a_task_as_any():
    features, labels = blobs(n=60, n_classes=30, distance=20.0)
    probe = fit_probe(features, labels, n_classes=30)  # in a fold each class has one image; warnings are errors here
    assert (probe.logits(features).argmax(1) == labels).all()


def test_the_same_images_give_the_same_probe():
    first, again = (fit_probe(*blobs(), n_classes=3) for _ in range(2))
    assert first.weight.equal(again.weight)
    assert first.log_loss == again.log_loss
