"""The paper's data: ImageNet22K and Oxford Flowers as they are given, domains, and their four parts."""

import csv
import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from image_files import noise, save
from scipy.io import loadmat, savemat

from benchmarks.paper.domains import (
    Domain,
    DomainImage,
    a_tenth,
    apart,
    at_most,
    in_parts,
    overlap,
    write_domain,
)
from benchmarks.paper.imagenet22k import HIERARCHY, ROOTS, WORDS, read_imagenet22k
from benchmarks.paper.made import write_flowers, write_imagenet22k
from benchmarks.paper.oxford_flowers import read_oxford_flowers, write_oxford_flowers
from benchmarks.paper.suite import MEMBERS, read_suite
from scalepred.data.task import read_task
from scalepred.errors import DataError


def domain_of(sizes, *, name="d", group_of=lambda label, n: f"{label}{n}"):
    images = [
        DomainImage(Path(f"{label}/{n}.png"), label, group_of(label, n), f"{label}/{n}.png")
        for label, size in sizes.items()
        for n in range(size)
    ]
    return Domain(name=name, images=tuple(images), origin=name)


def counts(images):
    return Counter(image.label for image in images)


# --- ImageNet22K ------------------------------------------------------------------------------------------------------


@pytest.fixture
def imagenet(tmp_path):
    return write_imagenet22k(tmp_path / "imagenet", {"tool": 3, "weapon": 2}, n_images=8)


def add_relation(root, above, below):
    with (root / HIERARCHY).open("a", encoding="utf-8") as file:
        file.write(f"{above} {below}\n")


def test_synsets_below_a_root_at_any_depth_are_its_domain(imagenet):
    shutil.copytree(imagenet / "n90000000", imagenet / "n80000001")
    add_relation(imagenet, "n90000000", "n80000000")  # has no folder itself
    add_relation(imagenet, "n80000000", "n80000001")
    read = read_imagenet22k(imagenet)
    assert {domain.name: counts(domain.images) for domain in read.domains} == {
        "tool": {"n90000000": 8, "n90000001": 8, "n90000002": 8, "n80000001": 8},
        "weapon": {"n90100000": 8, "n90100001": 8},
    }
    assert "animal: no images, so no domain" in read.notes


def test_the_papers_fifteen_domains_are_known():
    assert len(ROOTS) == len(set(ROOTS.values())) == 15
    assert {"fabric", "garment", "person", "food", "fungus", "plant", "music", "tool", "weapon", "fruit"} < set(ROOTS)


def test_a_synset_below_two_roots_belongs_to_the_nearest_and_that_is_told(imagenet):
    add_relation(imagenet, ROOTS["weapon"], "n70000000")
    add_relation(imagenet, "n70000000", "n90000000")
    read = read_imagenet22k(imagenet)
    assert "n90000000" in next(domain for domain in read.domains if domain.name == "tool").labels
    assert "1 synsets are below several domains; each belongs to the nearest" in read.notes


def test_a_cycle_of_the_hierarchy_is_named(imagenet):
    add_relation(imagenet, "n90000001", "n80000000")
    add_relation(imagenet, "n80000000", ROOTS["tool"])
    with pytest.raises(DataError) as caught:
        read_imagenet22k(imagenet)
    tool = ROOTS["tool"]
    told = str(caught.value)
    assert told.startswith(f"The hierarchy {imagenet / HIERARCHY} has a cycle, ")
    assert told.endswith(": remove one of these relations.")
    cycle = told.partition("has a cycle, ")[2].partition(":")[0].split(" > ")
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {tool, "n90000001", "n80000000"}
    relations = [tuple(line.split()) for line in (imagenet / HIERARCHY).read_text().splitlines()]
    assert all(pair in relations for pair in itertools.pairwise(cycle))


def test_a_synset_above_a_cycle_is_not_told_as_part_of_it(imagenet):
    add_relation(imagenet, "n90000001", "n80000000")
    add_relation(imagenet, "n80000000", "n80000001")
    add_relation(imagenet, "n80000001", "n80000000")
    with pytest.raises(DataError, match=r"has a cycle, n8000000\d > n8000000\d > n8000000\d:"):
        read_imagenet22k(imagenet)


def test_synsets_without_images_are_told_and_passed_over(imagenet):
    for file in (imagenet / "n90000001").iterdir():
        file.unlink()
    read = read_imagenet22k(imagenet)
    assert "tool: 1 synsets have no images: n90000001 (made tool 1)" in read.notes
    assert next(domain for domain in read.domains if domain.name == "tool").labels == ["n90000000", "n90000002"]


def test_folders_of_no_domain_are_told(imagenet):
    save(imagenet / "n12345678" / "a.png")
    assert "1 folders belong to no domain: n12345678" in read_imagenet22k(imagenet).notes


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: (root / HIERARCHY).unlink(), "wordnet.is_a.txt can't be read: No such file or directory."),
        (lambda root: (root / WORDS).write_bytes(b"\xff\xfe\xff"), "words.txt can't be read: it is no text in UTF-8."),
        (lambda root: (root / HIERARCHY).write_text("n1 n2\nn3\n"), "wordnet.is_a.txt, line 2: 'n3' is no pair of"),
        (lambda root: (root / WORDS).write_text("n1 one\n"), "words.txt, line 1: there is no tab between"),
        (lambda root: (root / WORDS).write_text("n1\tone\n"), "words.txt lacks the roots of these domains:"),
        (lambda root: [shutil.rmtree(each) for each in root.glob("n9*")], "has images of none of the 15 domains"),
    ],
)
def test_what_is_no_imagenet22k_is_refused_with_the_reason(imagenet, change, told):
    change(imagenet)
    with pytest.raises(DataError) as caught:
        read_imagenet22k(imagenet)
    assert told in str(caught.value)


# --- Oxford Flowers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def flowers(tmp_path):
    return write_flowers(tmp_path / "data", n_classes=3)


def test_flowers_train_on_ten_images_a_class_and_hold_out_the_rest(flowers, tmp_path):
    write_oxford_flowers(read_oxford_flowers(flowers), tmp_path / "oxford")
    task = read_task(tmp_path / "oxford" / "target", image_px=16)
    assert (task.record.name, task.record.origin, task.classes[0]) == ("oxford-target", "oxford", "flower-001")
    assert (task.record.n_train, task.record.n_val, task.record.n_test) == (30, 6, 6)
    assert {path.rpartition("/")[2] for path in task.val.paths} == {
        f"image_{n:05d}.jpg" for n in (11, 12, 25, 26, 39, 40)
    }


def test_torchvision_reads_the_same_images_and_labels(flowers, monkeypatch):
    from torchvision.datasets import Flowers102

    monkeypatch.setattr(Flowers102, "_check_integrity", lambda _: True)  # it compares with the sums of the real files
    own = read_oxford_flowers(flowers).splits
    for name in own:
        theirs = Flowers102(str(flowers), split=name)
        pairs = [
            (Path(file).name, f"flower-{label + 1:03d}")
            for file, label in zip(theirs._image_files, theirs._labels, strict=True)
        ]
        assert pairs == [(image.path.name, image.label) for image in own[name]]


def test_the_folder_of_the_set_itself_is_taken_too(flowers):
    assert read_oxford_flowers(flowers / "flowers-102") == read_oxford_flowers(flowers)


def change_ids(root, name, change):
    file = root / "flowers-102" / "setid.mat"
    ids = {key: value[0] for key, value in loadmat(str(file)).items() if not key.startswith("__")}
    savemat(file, {key: (change(value) if key == name else value)[None, :] for key, value in ids.items()})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: (root / "flowers-102" / "setid.mat").unlink(), "setid.mat is missing: torchvision's Flowers102"),
        (lambda root: (root / "flowers-102" / "setid.mat").write_bytes(b"no"), "setid.mat can't be read: "),
        (lambda root: savemat(root / "flowers-102" / "imagelabels.mat", {"a": 1}), "it has no 'labels'"),
        (lambda root: (root / "flowers-102" / "jpg" / "image_00002.jpg").unlink(), "1 images are missing, the first"),
        (lambda root: change_ids(root, "trnid", lambda ids: ids[1:]), "10 images to train on; not so {1: 9}"),
        (lambda root: change_ids(root, "valid", lambda ids: ids - 1), "3 images are in two splits, the first is [10]"),
        (lambda root: change_ids(root, "tstid", lambda ids: ids + 1), "image 43 has no label: there are 42"),
    ],
)
def test_what_is_no_oxford_flowers_is_refused_with_the_reason(flowers, change, told):
    change(flowers)
    with pytest.raises(DataError) as caught:
        read_oxford_flowers(flowers)
    assert told in str(caught.value)


# --- parts ------------------------------------------------------------------------------------------------------------


def test_four_parts_are_equal_hold_every_image_once_and_each_label_evenly():
    domain = domain_of({"a": 40, "b": 81, "c": 7})
    parts = in_parts(domain)
    four = (parts.source, parts.source_val, parts.target_val, parts.transfer)
    assert sorted(image.key for part in four for image in part) == sorted(image.key for image in domain.images)
    assert [counts(part)["a"] for part in four] == [10, 10, 10, 10]
    assert all(20 <= counts(part)["b"] <= 21 and 1 <= counts(part)["c"] <= 2 for part in four)
    assert set(parts.target) < set(parts.transfer)
    assert counts(parts.target) == {"a": 1, "b": 2, "c": 1}


def test_images_of_a_group_stay_in_one_part():
    parts = in_parts(domain_of({"a": 60, "b": 60}, group_of=lambda label, n: f"{n // 5}"))
    four = (parts.source, parts.source_val, parts.target_val, parts.transfer)
    groups = [{image.group for image in part} for part in four]
    assert sum(len(each) for each in groups) == len(set.union(*groups)) == 12
    assert [len(part) for part in four] == [30, 30, 30, 30]


def test_a_label_of_too_few_images_is_in_no_part_and_is_named():
    assert in_parts(domain_of({"a": 8, "b": 8, "few": 3})).dropped == ("few",)


def test_a_domain_too_small_for_four_parts_is_refused():
    with pytest.raises(DataError) as caught:
        in_parts(domain_of({"a": 9, "b": 3}, name="tiny"))
    assert str(caught.value) == (
        "The domain tiny is too small for four parts: 1 of its 2 labels have images for each, and two are needed. "
        "Give every label 4 images or more, in as many groups."
    )


def test_a_tenth_and_a_bound_keep_every_label_and_do_not_depend_on_order():
    images = domain_of({"a": 100, "b": 4}).images
    assert counts(a_tenth(images)) == {"a": 10, "b": 1}
    assert counts(at_most(images, 20)) == {"a": 19, "b": 1}
    assert at_most(images, 104) == images
    assert set(a_tenth(images[::-1])) == set(a_tenth(images))


def test_an_image_in_two_domains_is_left_to_the_smaller_and_told(tmp_path):
    domains = []
    for name, seeds in (("large", (1, 2, 3)), ("small", (3, 4))):
        paths = [save(tmp_path / name / f"{seed}.png", noise(seed=seed)) for seed in seeds]
        images = tuple(DomainImage(p, "a", p.name, p.name) for p in paths)
        domains.append(Domain(name=name, images=images, origin=name))
    kept, notes = apart(domains)
    assert [[image.path.name for image in domain.images] for domain in kept] == [["1.png", "2.png"], ["3.png", "4.png"]]
    assert notes == ["large: 1 of its 3 images are in a smaller domain too: left out"]


def test_classes_that_a_source_and_a_target_share_are_found():
    assert overlap(domain_of({"x/baker": 1, "x/smith": 1}), domain_of({"y/baker": 1, "y/cook": 1})) == ["baker"]


def test_a_domain_becomes_a_source_a_target_and_a_target_ten_times_as_large(tmp_path):
    images = [
        save(tmp_path / "data" / label / f"{n}.png", noise(seed=[ord(label), n])) for label in "ab" for n in range(80)
    ]
    rows = tuple(DomainImage(p, p.parent.name, str(p), f"{p.parent.name}/{p.name}") for p in images)
    domain = Domain(name="d", images=rows, origin="a + b")
    write_domain(domain, tmp_path / "d")
    sizes = {}
    for name in ("source", "target", "large"):
        record = read_task(tmp_path / "d" / name, image_px=16).record
        sizes[name] = (record.n_train, record.n_val, record.n_test)
        assert (record.name, record.origin) == (f"d-{name}", "a + b")
    assert sizes == {"source": (40, 40, 0), "target": (4, 40, 40), "large": (40, 40, 40)}


# --- the suite --------------------------------------------------------------------------------------------------------


def test_collections_of_a_suite_that_look_alike_are_one_domain(tmp_path):
    out, rows = tmp_path / "suite", {}
    for folder, at in (
        ("tasks/sky-kinds-all", "sky-kinds"),
        ("tasks/sky-land-a", "sky-land"),
        ("domains/domain-sprites", "domain-sprites"),
    ):
        image = save(out / "pictures" / at / "ship" / "1.png", noise(seed=len(at)))
        rows[folder] = [f"../../{image.relative_to(out).as_posix()}", "ship", "train", "g"]
        (out / folder).mkdir(parents=True)
        with (out / folder / "manifest.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["path", "label", "split", "group"], rows[folder]])
    origins = [
        {"origin": "sky-kinds", "is_domain": False, "tasks": [{"name": "sky-kinds-all"}]},
        {"origin": "sky-land", "is_domain": False, "tasks": [{"name": "sky-land-a"}]},
        {"origin": "domain-sprites", "is_domain": True, "tasks": []},
        {"origin": "digits", "is_domain": False, "tasks": []},
    ]
    (out / "manifest.json").write_text(json.dumps({"origins": origins}))
    read = {domain.name: (domain.labels, domain.origin) for domain in read_suite(out)}
    assert read == {
        "sky": (["sky-kinds/ship", "sky-land/ship"], "sky-kinds + sky-land"),
        "sprites": (["domain-sprites/ship"], "domain-sprites"),
    }
    assert len(MEMBERS) >= 8


def test_what_is_no_suite_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"is no suite: `python -m benchmarks\.wild build"):
        read_suite(tmp_path)
