"""Splits are made by class, keep groups together, and depend on content alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalepred.data.splits import split_images


@st.composite
def labelled(draw):
    """Draw labels and groups of up to 60 images; those of a group may have the same content, others never have."""
    n = draw(st.integers(2, 60))
    labels = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    groups = draw(st.lists(st.integers(0, n), min_size=n, max_size=n))
    copies = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    hashes = [f"{group:02d}-{copy}" for group, copy in zip(groups, copies, strict=True)]
    return np.array(labels, dtype=object), np.array(groups), hashes


@settings(max_examples=100)
@given(labelled(), st.integers(0, 5))
def test_groups_never_straddle_and_every_class_keeps_a_training_image(data, seed):
    labels, groups, hashes = data
    codes = split_images(labels, groups, hashes, seed=seed)
    assert all(len(set(codes[groups == group])) == 1 for group in set(groups))
    assert set(labels[codes == 0]) == set(labels)
    assert np.array_equal(codes, split_images(labels, groups, hashes, seed=seed))


@settings(max_examples=60)
@given(labelled(), st.randoms())
def test_the_order_of_files_and_the_numbers_of_groups_decide_nothing(data, random):
    labels, groups, hashes = data
    order = list(range(len(labels)))
    random.shuffle(order)
    numbers = np.array(random.sample(range(100), 61))
    straight = split_images(labels, groups, hashes, seed=1)
    mixed = split_images(labels[order], numbers[groups[order]], [hashes[i] for i in order], seed=1)
    for content in {(h, label) for h, label in zip(hashes, labels, strict=True)}:
        one = Counter(straight[i] for i in range(len(order)) if (hashes[i], labels[i]) == content)
        other = Counter(mixed[at] for at, i in enumerate(order) if (hashes[i], labels[i]) == content)
        assert one == other


@settings(max_examples=30)
@given(st.lists(st.integers(20, 80), min_size=2, max_size=4), st.integers(0, 9))
def test_every_class_is_split_in_a_fifth_and_a_fifth_of_the_rest(counts, seed):
    labels = np.repeat(np.array([*"abcd"], dtype=object)[: len(counts)], counts)
    codes = split_images(labels, np.arange(len(labels)), [f"{i:05d}" for i in range(len(labels))], seed=seed)
    for name, n in Counter(labels).items():
        train, val, test = (int((codes[labels == name] == code).sum()) for code in range(3))
        assert test == round(0.2 * n)
        assert val == round(0.2 * (n - test))
        assert 0.6 <= train / n <= 0.68


@settings(max_examples=60)
@given(labelled(), st.data())
def test_a_users_own_splits_are_kept(data, drawn):
    labels, groups, hashes = data
    n = len(labels)
    own = drawn.draw(st.lists(st.sampled_from([None, "train", "val", "test"]), min_size=n, max_size=n))
    codes = split_images(labels, groups, hashes, seed=0, given=own)
    for code, name in zip(codes, own, strict=True):
        if name in ("val", "test"):
            assert code == ("train", "val", "test").index(name)
        else:
            assert code == 0 or not {"val"} <= set(own)
    if "val" in own:
        assert Counter(codes)[1] == own.count("val")
    elif "test" in own:
        assert Counter(codes)[2] == own.count("test")


def test_another_seed_splits_otherwise():
    labels, hashes = np.array(["a", "b"] * 20, dtype=object), [f"{i:03d}" for i in range(40)]
    first, other = (split_images(labels, np.arange(40), hashes, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first, other)


def test_the_split_is_what_it_was_when_the_first_tasks_were_harvested():
    labels, hashes = np.array(["a", "b"] * 10, dtype=object), [f"{i:03d}" for i in range(20)]
    codes = split_images(labels, np.arange(20), hashes, seed=0)
    assert "".join(map(str, codes)) == "00112020000102001002"


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ([5, 5, 5], (10, 10, 10)),
        ([20, 15, 15], (40, 30, 30)),
        ([30, 3, 3], (60, 6, 6)),
        ([5, 5], (10, 10, 0)),
        ([30, 3], (60, 6, 0)),
        ([3, 3, 3, 3], (12, 6, 6)),
    ],
)
def test_few_groups_go_to_train_first_then_to_val_and_then_to_test(sizes, counts):
    groups = np.repeat(np.arange(2 * len(sizes)), sizes * 2)
    labels = np.repeat(np.array(["a", "b"], dtype=object), sum(sizes))
    for seed in range(5):
        codes = split_images(labels, groups, [f"{i:03d}" for i in range(len(labels))], seed=seed)
        assert tuple(np.bincount(codes, minlength=3)) == counts


def test_a_users_test_images_stay_where_no_group_can_be_spared_to_validate_on():
    given = ["train"] * 8 + ["test"] * 2
    codes = split_images(
        np.array(["a", "b"] * 5, dtype=object), np.arange(10) % 2, [*"0123456789"], seed=0, given=given
    )
    assert codes.tolist() == [0] * 8 + [2] * 2
