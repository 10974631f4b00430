"""torchvision's sets, on tiny files in their own formats, and without a network."""

import gzip
import socket
import struct
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from image_files import noise, save

from scalepred.data import torchvision_sets
from scalepred.data.layouts import list_images
from scalepred.data.task import inspect, read_task
from scalepred.data.torchvision_sets import BY_SPLIT, BY_TRAIN, WHOLE, data_root, read_torchvision
from scalepred.errors import DataError


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """An empty folder for data sets, and no network."""

    def refuse(*_, **__):
        raise urllib.error.URLError("Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("SCALEPRED_DATA", str(tmp_path))
    return tmp_path


def write_idx(root, name="MNIST", n=30):
    """Write random images as MNIST's files: idx format, big-endian."""
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part in ("train", "t10k"):
        images = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8).tobytes()
        labels = bytes(index % 3 for index in range(n))
        for kind, head, body in (
            ("images-idx3", struct.pack(">IIII", 2051, n, 28, 28), images),
            ("labels-idx1", struct.pack(">II", 2049, n), labels),
        ):
            (folder / f"{part}-{kind}-ubyte").write_bytes(head + body)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + body))


def write_eurosat(root, n=6):
    for at, name in enumerate(("Forest", "River")):
        for index in range(n):
            save(root / "eurosat" / "2750" / name / f"{name}_{index}.jpg", noise(seed=[at, index]))


def write_dtd(root, n=4):
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    for seed, part in enumerate(("train", "val", "test")):
        names = [f"{kind}/{part}{index}.jpg" for kind in ("banded", "dotted") for index in range(n)]
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(names))
        for index, name in enumerate(names):
            save(folder / "images" / name, noise(seed=[seed, index]))


def write_rendered_sst2(root):
    for seed, part in enumerate(("train", "valid", "test")):
        for at, kind in enumerate(("negative", "positive")):
            save(root / "rendered-sst2" / part / kind / "0.png", noise(seed=[seed, at]))


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_the_mnist_family_is_read_with_its_own_splits(root, name):
    write_idx(root, name)
    task = read_task(f"torchvision:{name}")
    assert (task.record.name, task.record.origin) == (name, name)
    assert (task.record.n_train + task.record.n_val, task.record.n_test, task.record.n_classes) == (30, 30, 3)
    assert task.inspection.layout == f"torchvision data set {name}"
    assert task.test.paths[0].startswith(f"torchvision:{name}/test/")


def test_classes_have_the_names_that_the_set_gives_them(root):
    write_idx(root)
    assert list(inspect("torchvision:MNIST").classes) == ["0 - zero", "1 - one", "2 - two"]


def test_a_set_without_splits_is_split_by_us(root):
    write_eurosat(root)
    inspection = inspect("torchvision:EuroSAT")
    assert inspection.classes == {"Forest": 6, "River": 6}
    assert inspection.splits == {"train": 8, "val": 2, "test": 2}


def test_a_set_with_three_splits_keeps_them(root):
    write_dtd(root)
    assert inspect("torchvision:DTD").splits == {"train": 8, "val": 8, "test": 8}


@pytest.mark.parametrize(
    ("name", "write"),
    [("MNIST", write_idx), ("EuroSAT", write_eurosat), ("DTD", write_dtd), ("RenderedSST2", write_rendered_sst2)],
)
def test_labels_are_those_that_the_set_returns_with_each_image(root, name, write):
    write(root)
    for _, opener, label, _ in read_torchvision(f"torchvision:{name}")[1]:
        dataset, index = opener.args
        names = getattr(dataset, "classes", None)
        number = dataset[index][1]
        assert label == (names[number] if names else str(number))


def test_a_set_that_keeps_its_labels_elsewhere_is_read_image_by_image():
    class Strange:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return None, index * 2

    assert torchvision_sets._labels(Strange()) == ["0", "2", "4"]


def test_labels_in_columns_are_read_from_the_first():
    class Columns:
        targets = np.array([[3, 9, 9], [4, 9, 9]])

    assert torchvision_sets._labels(Columns()) == ["3", "4"]


def test_listing_decodes_no_image_and_a_damaged_one_is_skipped(root):
    write_eurosat(root)
    (root / "eurosat" / "2750" / "River" / "River_0.jpg").write_bytes(b"damaged")
    assert len(list_images("torchvision:EuroSAT").entries) == 12
    inspection = inspect("torchvision:EuroSAT")
    assert inspection.classes == {"Forest": 6, "River": 5}
    assert [each.path for each in inspection.skipped] == ["torchvision:EuroSAT/all/6"]
    assert inspection.skipped[0].reason == "not an image of JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF, JPEG2000"


def test_the_callers_limit_holds_for_sets_too(root):
    write_eurosat(root)
    assert {each.reason for each in inspect("torchvision:EuroSAT", max_megapixels=0.0001).skipped} == {
        "0.001 megapixels, over the limit of 0.0001"
    }


# --- no such set, no network ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "meant"), [("CIFAR11", "CIFAR10"), ("cifar100", "CIFAR100"), ("eurosat", "EuroSAT"), ("zzz", None)]
)
def test_an_unknown_set_is_refused_with_the_nearest(asked, meant):
    with pytest.raises(DataError) as caught:
        read_task(f"torchvision:{asked}")
    hint = f" Did you mean torchvision:{meant}?" if meant else ""
    known = ", ".join(sorted([*BY_TRAIN, *BY_SPLIT, *WHOLE]))
    assert str(caught.value) == f"There is no torchvision set {asked!r} here.{hint} Known: {known}."


def test_every_known_set_is_one_of_torchvisions():
    from torchvision import datasets

    assert all(hasattr(datasets, name) for name in [*BY_TRAIN, *BY_SPLIT, *WHOLE])


@pytest.mark.parametrize("name", ["EuroSAT", "CIFAR10", "DTD", "SVHN"])
def test_without_a_network_the_error_says_at_once_where_to_put_the_set(root, monkeypatch, name):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("It waits."))
    with pytest.raises(DataError) as caught:
        read_task(f"torchvision:{name}")
    assert str(caught.value) == (
        f"torchvision's {name} is not below {root} and could not be downloaded: "
        "<urlopen error Network is unreachable>\n"
        "Copy the data set there from a machine with a network, or point SCALEPRED_DATA at the folder that has it."
    )


def test_every_mirror_that_was_tried_is_named(root):
    with pytest.raises(DataError, match=r"Tried https?://\S+, got: <urlopen error Network is unreachable> Tried "):
        read_task("torchvision:MNIST")


def test_a_download_waits_only_so_long_and_says_nothing_on_stdout(monkeypatch, capsys):
    waits = []

    def refuse(*_, **__):
        waits.append(socket.getdefaulttimeout())
        sys.stdout.write("chatter")
        raise TimeoutError("timed out")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match="timed out"):
        read_task("torchvision:MNIST")
    assert set(waits) == {torchvision_sets.PATIENCE_SECONDS}
    assert socket.getdefaulttimeout() is None
    assert capsys.readouterr().out == ""


def test_a_damaged_set_is_an_error_of_the_data(root):
    write_idx(root)
    raw = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    raw.write_bytes(raw.read_bytes()[:1_000])
    with pytest.raises(DataError, match="torchvision's MNIST is not below"):
        read_task("torchvision:MNIST")


def test_a_folder_for_data_that_can_not_be_made_is_an_error_of_the_data(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCALEPRED_DATA", str(tmp_path / "file" / "below"))
    with pytest.raises(DataError, match="Not a directory"):
        read_task("torchvision:EuroSAT")


def test_the_folder_for_data_is_the_users_cache_unless_given(monkeypatch):
    monkeypatch.delenv("SCALEPRED_DATA")
    assert data_root().parts[-2:] == ("scalepred", "data")
    monkeypatch.setenv("SCALEPRED_DATA", "~/sets")
    assert not str(data_root()).startswith("~")
