"""The networks that the harvest starts from: how they are trained, and how useful a probe says that they are."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import noise, save

from benchmarks import networks as bench
from benchmarks.wild import networks as wild
from scalepred.data.task import read_task
from scalepred.networks.architecture import build, check_takes
from scalepred.networks.names import PACKAGED, family_of, is_source_folder
from scalepred.networks.source import load_source

ROOT = Path(__file__).resolve().parent.parent
TINY = wild.Network(
    name="tiny",
    architecture="timm/test_vit:depth=5,embed_dim=16,img_size=64,num_heads=2,patch_size=16",
    epochs=1,
    options=wild.ADAMW[:-2],
)


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """A suite with three domains of two classes, each of eight images, whose labels are the same in all domains."""
    out = tmp_path_factory.mktemp("suite")
    for domain in wild.DOMAINS:
        rows = []
        for label in ("dark", "light"):
            for at in range(8):
                pixels = noise(seed=[len(domain), len(label), at]) // 3 + 150 * (label == "light")
                path = save(out / "pictures" / domain / label / f"{at}.png", pixels.astype(np.uint8))
                rows.append(
                    [f"../../{path.relative_to(out).as_posix()}", label, "test" if at < 3 else "train", f"g{at}{label}"]
                )
        folder = out / "domains" / domain
        folder.mkdir(parents=True)
        with (folder / "manifest.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["path", "label", "split", "group"], *rows])
    return out


def test_with_those_that_are_there_twelve_networks_of_seven_families_are_trained():
    there = [*PACKAGED, *map(str, sorted((ROOT / "models" / "sources").iterdir()))]
    names = {*map(family_of, there), *(family_of(network.architecture) for network in wild.NETWORKS)}
    assert len({network.name for network in wild.NETWORKS}) == len(wild.NETWORKS)
    assert len(wild.NETWORKS) + len(PACKAGED) + 3 >= 12
    assert len(names) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("network", wild.NETWORKS, ids=lambda network: network.name)
def test_every_network_can_be_built_and_takes_images_of_64_pixels(network):
    architecture = build(network.architecture, n_classes=5)
    assert architecture.name == network.architecture
    check_takes(architecture, image_px=64)


def test_the_mixed_domain_has_the_images_of_all_under_names_of_their_own(suite):
    wild.mixed(suite)
    task = read_task(suite / "domains" / wild.MIXED, image_px=16)
    assert task.classes == tuple(sorted(f"{domain}-{label}" for domain in wild.DOMAINS for label in ("dark", "light")))
    assert sum(len(split.labels) for split in (task.train, task.val, task.test)) == 48


@pytest.mark.slow
def test_a_network_is_trained_once(suite, monkeypatch, capfd):
    monkeypatch.setattr(wild, "NETWORKS", (TINY,))
    wild.print_or_train(suite, only=[], is_list=True)
    assert "pretrain" in capfd.readouterr().out
    assert not (suite / "sources").exists()
    for _ in range(2):
        wild.print_or_train(suite, only=["tiny"], is_list=False)
    assert is_source_folder(str(suite / "sources" / "tiny"))
    assert f"tiny: in {suite / 'sources'}" in capfd.readouterr().out
    with pytest.raises(SystemExit, match="No network huge; choose from tiny"):
        wild.print_or_train(suite, only=["huge"], is_list=False)


def test_a_network_that_ships_is_not_trained_again(suite, monkeypatch, capfd):
    monkeypatch.setattr(wild, "NETWORKS", (wild.Network(name="icons", architecture="none", epochs=1, options=()),))
    wild.print_or_train(suite, only=[], is_list=False)
    assert "icons: in " in capfd.readouterr().out


def test_the_probe_of_a_source_is_scored_on_test_images_and_told_beside_chance(suite, tmp_path):
    tasks = [read_task(suite / "domains" / name, image_px=32) for name in wild.DOMAINS[1:]]
    source = str(ROOT / "models" / "sources" / "icons")
    probed = bench.probe(source, tasks)
    assert probed.family == "resnet27"
    np.testing.assert_allclose(probed.accuracies, [bench.accuracy(load_source(source), task) for task in tasks])
    assert probed.accuracies.min() == 1.0  # dark and light are told apart with any features
    document = bench.document([probed], tasks, np.full(2, 0.5), image_px=32)
    assert document["sources"][0]["above_chance"] == (50.0, 50.0, 50.0)


def test_a_card_has_the_newest_table_once(suite, tmp_path):
    tasks = [read_task(suite / "domains" / name, image_px=32) for name in wild.DOMAINS[:2]]
    probed = bench.Probed(
        name="x", family="vit", n_parameters=1, accuracies=np.ones(2), untrained=np.full(2, 0.5), seconds=0.0
    )
    card = tmp_path / "README.md"
    card.write_text("# x\n\nWords.\n")
    for _ in range(2):
        bench.write_card(card, probed, probed, tasks, np.full(2, 0.5))
    text = card.read_text()
    assert text.startswith("# x\n\nWords.\n\n## Linear probe on foreign tasks\n\n")
    assert text.count(bench.HEADING) == 1
    assert text.endswith("| 50 % | 50 % | 100 % | 100 % |\n")
    assert "* above chance: +50.0 (+50.0 to +50.0) points\n" in text


@pytest.mark.slow
def test_the_benchmark_ends_in_one_line_of_json(suite):
    command = [sys.executable, "-m", "benchmarks.networks", "models/sources/icons", "--tasks", str(suite / "domains")]
    shown = subprocess.run(
        [*command, "--only", *wild.DOMAINS, "--image-px", "32"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    line = json.loads(shown.stdout.splitlines()[-1])
    assert [each["name"] for each in line["sources"]] == ["efficientnet_lite0", "models/sources/icons"]
    assert line["tasks"] == list(wild.DOMAINS)
