"""Features, against slow plain loops and cases known by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from small_networks import separable, tiny_source
from torch import nn

from scalepred.data.task import Split
from scalepred.networks.source import source_of
from scalepred.predictor.facts import MAX_IMAGES, as_records, compute_features
from scalepred.predictor.measures import colourfulness, emd_similarity, knn_accuracy, probe_accuracy, size_features
from scalepred.training.bundle import Bundle
from scalepred.training.embed import embeddings

CPU = torch.device("cpu")
NAMES = {
    "log2_n_train",
    "n_classes",
    "images_per_label",
    "least_images_per_label",
    "imbalance",
    "colour",
    "knn_accuracy",
    "knn_above_chance",
    "probe_accuracy",
    "emd_similarity",
}


def a_task(train):
    """Return a task that has nothing but these training images."""
    empty = Split(train.images[:0], train.labels[:0], ())
    return SimpleNamespace(train=train, val=empty, test=empty, classes=tuple(map(str, np.unique(train.labels))))


def clouds(n=40, n_classes=4, d=16, apart=3.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    return (rng.normal(size=(n, d)) + apart * rng.normal(size=(n_classes, d))[labels]).astype(np.float32), labels


def slow_knn(embedded, labels, k=5):
    right = 0
    for i in range(len(labels)):
        near = []
        for j in range(len(labels)):
            if i != j:
                lengths = np.linalg.norm(embedded[i]) * np.linalg.norm(embedded[j])
                near.append((float(embedded[i] @ embedded[j]) / lengths, int(labels[j])))
        votes = {}
        for similarity, label in sorted(near, reverse=True)[:k]:
            votes[label] = votes.get(label, 0) + np.exp(similarity / 0.07)
        right += max(sorted(votes), key=votes.get) == labels[i]
    return right / len(labels)


@pytest.mark.parametrize("apart", [0.0, 0.5, 1.0, 3.0])
def test_knn_agrees_with_a_slow_plain_loop(apart):
    embedded, labels = clouds(apart=apart)
    assert knn_accuracy(embedded, labels) == pytest.approx(slow_knn(embedded, labels))


def test_knn_of_one_image_is_not_known():
    assert knn_accuracy(np.ones((1, 4), np.float32), np.zeros(1, np.int64)) is None


def test_a_probe_tells_what_is_separable_from_what_is_not():
    assert probe_accuracy(*clouds(apart=5.0)) == 1.0
    assert probe_accuracy(*clouds(n=200, apart=0.0)) < 0.5


def test_a_probe_leaves_out_singletons_and_needs_two_classes():
    embedded, labels = clouds(apart=5.0)
    labels = labels.copy()
    labels[0] = 9
    assert probe_accuracy(embedded, labels) == 1.0
    assert probe_accuracy(embedded[:4], np.arange(4)) is None


def test_the_probe_of_two_images_of_each_of_many_classes_warns_of_nothing():
    centres = 10 * np.eye(30, dtype=np.float32)
    assert probe_accuracy(np.concatenate([centres, 1.01 * centres]), np.tile(np.arange(30), 2)) == 1.0


def test_the_similarity_of_one_class_to_one_prototype_is_known_by_hand():
    embedded = np.array([[3.0, 0.0], [3.0, 0.0]], np.float32)
    prototypes = np.array([[0.0, 1.0]], np.float32)  # brought to length 3, at a right angle
    assert emd_similarity(embedded, np.zeros(2, np.int64), prototypes) == pytest.approx(np.exp(-0.01 * 3 * np.sqrt(2)))


def test_the_similarity_moves_the_least_earth():
    prototypes = np.eye(2, dtype=np.float32)
    embedded, labels = np.eye(2, dtype=np.float32).repeat(5, axis=0), np.repeat([0, 1], 5)
    assert emd_similarity(embedded, labels, prototypes) == pytest.approx(1.0)
    uneven = emd_similarity(embedded[:8], labels[:8], prototypes)  # 5 to 3: an eighth has to move by sqrt(2)
    assert uneven == pytest.approx(np.exp(-0.01 * 0.125 * np.sqrt(2)))


def test_the_similarity_to_a_classifier_of_zeros_is_not_known():
    source = tiny_source()
    nn.init.zeros_(source.architecture.network.head.weight)
    features = compute_features(source_of(source.architecture), separable(24), n_classes=2, device=CPU)
    assert set(features) == NAMES - {"emd_similarity"}


def test_what_embeddings_that_are_not_finite_would_tell_is_not_known():
    source = tiny_source()
    nn.init.constant_(source.architecture.network.stages[4][1].weight, torch.inf)
    features = compute_features(source, separable(24), n_classes=2, device=CPU)
    assert set(features) == NAMES - {"knn_accuracy", "knn_above_chance", "probe_accuracy", "emd_similarity"}
    assert all(np.isfinite(feature.value) for feature in features.values())


def test_sizes_are_counted():
    assert size_features(np.array([0, 0, 0, 1])) == {
        "log2_n_train": 2.0,
        "n_classes": 2.0,
        "images_per_label": 2.0,
        "least_images_per_label": 1.0,
        "imbalance": 3.0,
    }


def test_grey_has_no_colour_and_pure_red_all_of_it():
    assert colourfulness(np.full((2, 3, 4, 4), 77, np.uint8)) == 0
    red = np.zeros((1, 3, 4, 4), np.uint8)
    red[:, 0] = 255
    assert colourfulness(red) == 1


def test_embeddings_are_what_the_head_sees():
    source, images = tiny_source(), separable(5).images
    seen = []
    network = source.architecture.network.eval()
    handle = network.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().numpy()))
    with torch.no_grad():
        network((torch.from_numpy(images).float() - 127) / 64)
    handle.remove()
    assert np.allclose(embeddings(source, images, device=CPU, dtype=torch.float32), seen[0], atol=1e-5)


def test_a_task_has_every_feature_and_each_says_what_it_cost():
    features = compute_features(tiny_source(), separable(24), n_classes=2, device=CPU)
    assert set(features) == NAMES
    assert all(np.isfinite(feature.value) and feature.seconds >= 0 for feature in features.values())
    assert features["knn_above_chance"].value == pytest.approx(2 * features["knn_accuracy"].value - 1)
    assert features["knn_accuracy"].seconds > 0


def test_what_singletons_do_not_allow_is_left_out():
    features = compute_features(tiny_source(), separable(3, n_classes=3), n_classes=3, device=CPU)
    assert set(features) == NAMES - {"probe_accuracy"}


def test_features_are_the_same_twice():
    first, again = (compute_features(tiny_source(), separable(24), n_classes=2, device=CPU) for _ in range(2))
    assert {name: f.value for name, f in first.items()} == {name: f.value for name, f in again.items()}


def test_a_large_task_is_looked_at_in_part_and_evenly():
    split = separable(MAX_IMAGES + 500, n_classes=4, px=16)
    seen = []
    source = tiny_source()
    source.architecture.network.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    compute_features(source, split, n_classes=4, device=CPU)
    assert sum(seen) == MAX_IMAGES


@pytest.mark.parametrize("n", [24, 65, 130])
def test_features_of_a_shared_pass_are_bit_for_bit_those_of_a_pass_of_their_own(n):
    source, train = tiny_source(), separable(n, n_classes=4)
    shared = Bundle(task=a_task(train), source=source, device=CPU).embedded()
    own, given = (compute_features(source, train, n_classes=4, device=CPU, embedded=each) for each in (None, shared))
    assert {name: feature.value for name, feature in own.items()} == {n: f.value for n, f in given.items()}


def test_a_part_of_a_shared_pass_is_that_of_a_pass_of_its_own_but_for_rounding():
    source, train = tiny_source(), separable(MAX_IMAGES + 500, n_classes=4, px=16)
    shared = embeddings(source, train.images, device=CPU, dtype=torch.float32)
    own, given = (compute_features(source, train, n_classes=4, device=CPU, embedded=each) for each in (None, shared))
    for name, feature in own.items():
        assert given[name].value == pytest.approx(feature.value, abs=2 / MAX_IMAGES), name


def test_features_become_rows_of_their_set():
    features = compute_features(tiny_source(), separable(24), n_classes=2, device=CPU)
    rows = as_records(features, task_id="t", source_id="s", set_name="basic-1@32px")
    assert {row.name for row in rows} == NAMES
    assert {(row.task_id, row.source_id, row.feature_set) for row in rows} == {("t", "s", "basic-1@32px")}


def test_nothing_but_the_training_split_is_asked_for():
    train = separable(24)
    only = Split(train.images.copy(), train.labels.copy(), ())
    features = compute_features(tiny_source(), only, n_classes=2, device=CPU)
    assert features["log2_n_train"].value == np.log2(24)
