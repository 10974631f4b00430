"""The folder of a finetuned classifier: it comes back as it was, or is refused."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import QUICK, named_source, run_record, task_record, write_task
from PIL import Image
from safetensors.torch import load_file, save_file
from saved_models import JOB, NASTY

from scalepred.data.load import load_images
from scalepred.data.scan import Skipped
from scalepred.errors import DataError, UsageError, VersionError
from scalepred.files import sha256
from scalepred.job import folder as folder_module
from scalepred.job.classifier import find_images, load
from scalepred.job.folder import is_model, load_model, save_model
from scalepred.job.output import check_free
from scalepred.networks.source import new_network
from scalepred.recipe import STAGES, content_id
from scalepred.training.scoring import predict_logits

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

CPU = torch.device("cpu")
FILES = ["README.md", "classes.json", "config.json", "metrics.json", "model.safetensors", "run.json", "scalepred.json"]
READ = ["scalepred.json", "classes.json", "config.json", "model.safetensors"]


@pytest.fixture(scope="module")
def source():
    return named_source()


@pytest.fixture(scope="module")
def network(source):
    return new_network(source, n_classes=len(NASTY), generator=torch.Generator().manual_seed(0))


def write(folder, source, network, *, classes=NASTY):
    run = run_record(task_record(), 2.0, val=[1, 1, 1, 0])
    save_model(folder, network, source=source, recipe=QUICK, classes=classes, run=run, job=JOB)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, source, network):
    folder = tmp_path_factory.mktemp("saved")
    write(folder, source, network)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def images(tmp_path):
    return find_images([write_task(tmp_path / "images", n=4)])[0]


# --- saving -----------------------------------------------------------------------------------------------------------


def test_a_saved_model_has_its_files_and_says_what_it_is(folder, source):
    assert sorted(path.name for path in folder.iterdir()) == FILES
    config = json.loads((folder / "scalepred.json").read_text())
    assert (config["schema"], config["architecture"], config["image_px"]) == (4, "timm/test_resnet", 16)
    assert (config["source_id"], config["scale"], config["head"]) == (source.source_id, 2.0, "fc")
    assert list(config["rates"]) == list(STAGES)
    assert config["rates"]["head"] == pytest.approx(0.032)
    run = json.loads((folder / "run.json").read_text())
    assert (run["val_correct"], run["job"], run["seed"]) == ("e0", JOB, 0)
    assert json.loads((folder / "metrics.json").read_text()) == JOB["metrics"] | {"probe": JOB["probe"]}
    assert json.loads((folder / "classes.json").read_text()) == list(NASTY)


def test_the_card_says_how_good_it_is_and_shows_names_as_they_are(folder):
    card = (folder / "README.md").read_text()
    assert card.startswith("# Classifier of 6 classes\n\nFinetuned from `timm/test_resnet` by scalepred, at scale 2 ")
    assert "| validation | 4 | 75.0 % | 50.0 % |\n| test | 0 | not measured | not measured |\n" in card
    assert "The model was trained on the training images: 20 images.\n" in card
    assert (
        "\nlinear probe on frozen features: 70.0 % cross-validated (48.0 to 85.0, 20 training images, 0.4 s). "
        "The finetuned model is not shown to be above its linear probe.\n"
    ) in card
    shown = next(line for line in card.splitlines() if "<script>" in line)
    assert shown.startswith('    "=1+1", ')
    assert "a\\nb|c" in shown


def test_other_files_of_the_folder_stay(folder, source, network):
    (folder / "notes.txt").write_text("mine")
    write(folder, source, network, classes=("one", "two", "three", "four", "five", "six"))
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "notes.txt"])
    assert (folder / "notes.txt").read_text() == "mine"
    assert load_model(folder).classes[0] == "one"


@pytest.mark.parametrize(
    "name",
    ["job.folder.save_file", "job.folder._write_json", "job.folder.card", "job.folder._run_json", "files.flush"],
)
def test_a_save_that_fails_leaves_the_old_model_as_it_was(folder, source, network, monkeypatch, name):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"scalepred.{name}", full)
    with pytest.raises(UsageError) as caught:
        write(folder, source, network, classes=tuple("uvwxyz"))
    assert str(caught.value) == (
        f"The model can't be saved to {folder}: No space left on device. Give another folder with --output."
    )
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


FULL = """
import resource, sys
from pathlib import Path
import torch
from fakes import named_source
from scalepred.errors import UsageError
from scalepred.networks.source import new_network
from saved_models import NASTY
from test_folder import write
source = named_source()
network = new_network(source, n_classes=len(NASTY), generator=torch.Generator().manual_seed(0))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write(Path(sys.argv[1]), source, network)
except UsageError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs limits of file sizes")
def test_weights_that_find_no_room_leave_no_model_and_say_so(tmp_path):
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-c", FULL, str(tmp_path / "model")]
    done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"The model can't be saved to {tmp_path / 'model'}: ")
    assert "File too large" in done.stdout
    assert done.stdout.endswith(" Give another folder with --output.\n")
    assert list((tmp_path / "model").iterdir()) == []


def test_a_first_save_that_fails_leaves_no_model(tmp_path, source, network, monkeypatch):
    monkeypatch.setattr(folder_module, "card", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "model", source, network)
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize("n", range(7))
def test_stopped_between_two_files_the_folder_is_the_new_model_or_refused(folder, source, network, monkeypatch, n):
    real, calls = os.replace, []

    def stop(path, target):
        calls.append(target)
        if len(calls) > n:
            raise KeyboardInterrupt
        return real(path, target)

    other = new_network(source, n_classes=6, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr("pathlib.Path.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write(folder, source, other, classes=tuple("uvwxyz"))
    monkeypatch.undo()
    check_free(folder, overwrite=True)
    if n == 0:
        assert load_model(folder).classes == NASTY
    else:
        with pytest.raises(VersionError, match="were damaged, changed, or not saved together"):
            load_model(folder)


# --- before training --------------------------------------------------------------------------------------------------


def test_a_model_is_not_overwritten_unless_asked(folder, tmp_path):
    with pytest.raises(UsageError) as caught:
        check_free(folder, overwrite=False)
    assert str(caught.value) == (
        f"{folder} holds a model already: give another --output, or --overwrite to replace it."
    )  # fmt: skip
    check_free(folder, overwrite=True)
    check_free(tmp_path, overwrite=False)
    check_free(tmp_path / "new" / "deeper", overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_anything_but_a_model_are_never_overwritten(tmp_path, overwrite):
    (tmp_path / "config.json").write_text('{"architecture": "other", "config_id": 7}')
    (tmp_path / "README.md").symlink_to("nowhere")
    with pytest.raises(UsageError) as caught:
        check_free(tmp_path, overwrite=overwrite)
    assert str(caught.value) == (
        f"{tmp_path} holds no model of scalepred, but has config.json and README.md already, which a model would "
        "replace: give another --output."
    )
    (tmp_path / "README.md").rename(tmp_path / "notes.md")
    (tmp_path / "config.json").rename(tmp_path / "settings.json")
    check_free(tmp_path, overwrite=overwrite)


def test_a_damaged_model_may_be_overwritten(folder):
    (folder / "model.safetensors").unlink()
    (folder / "scalepred.json").write_text((folder / "scalepred.json").read_text()[:-3])
    check_free(folder, overwrite=True)
    with pytest.raises(UsageError, match="holds a model already"):
        check_free(folder, overwrite=False)


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_file_in_the_way_is_found_before_training(tmp_path, below):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError) as caught:
        check_free(tmp_path / "file" / below, overwrite=True)
    assert str(caught.value) == f"{tmp_path / 'file'} is a file: give a folder with --output."


def test_a_folder_that_cannot_be_written_is_found_before_training(tmp_path, monkeypatch):
    def refused(**_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    with pytest.raises(UsageError) as caught:
        check_free(tmp_path / "model", overwrite=False)
    assert str(caught.value) == f"{tmp_path} can't be written to: give another folder with --output."


# --- classifying ------------------------------------------------------------------------------------------------------


def test_a_loaded_model_predicts_what_the_network_in_memory_does(folder, source, network, images):
    squares = load_images(images, image_px=QUICK.image_px).images
    logits = predict_logits(network, source.architecture, squares, device=CPU, dtype=torch.float32)
    expected = logits.softmax(dim=1).numpy()
    results = load(folder, device="cpu").classify(images, top=len(NASTY))
    assert [result.path for result in results] == [str(path) for path in images]
    for result, row in zip(results, expected, strict=True):
        assert dict(result.ranking) == pytest.approx(dict(zip(NASTY, row.tolist(), strict=True)), rel=1e-6)
        values = [p for _, p in result.ranking]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1)


def test_nasty_class_names_survive(folder):
    assert load_model(folder).classes == NASTY


def test_only_the_most_probable_classes_are_ranked(folder, images):
    results = load(folder, device="cpu").classify(images[:1], top=2)
    assert len(results[0].ranking) == 2


def test_a_bad_image_among_good_ones_is_named_and_the_others_are_classified(folder, images, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(images[0].read_bytes()[:60])
    classifier = load(folder, device="cpu")
    alone = classifier.classify([images[0], images[1]])
    first, second, third = classifier.classify([images[0], bad, images[1]])
    assert [first, third] == alone
    assert second.ranking == ()
    assert second.path == str(bad)
    assert second.problem


def test_only_bad_images_give_only_problems(folder, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    (result,) = load(folder, device="cpu").classify([tmp_path / "bad.png"])
    assert (result.ranking, bool(result.problem)) == ((), True)


def test_images_are_found_in_folders_and_a_named_file_is_taken_even_if_hidden(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "deep/a.png", ".hidden.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    assert [path.name for path in find_images([tmp_path])[0]] == ["b.png", "a.png"]
    assert find_images([tmp_path / ".hidden.png"]) == ([tmp_path / ".hidden.png"], [])
    with pytest.raises(DataError) as caught:
        find_images([tmp_path, tmp_path / "x", tmp_path / "y"])
    assert str(caught.value) == f"There is nothing at {tmp_path / 'x'}, {tmp_path / 'y'}."


def test_what_is_skipped_in_a_folder_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    full = tmp_path / "full"
    full.mkdir()
    Image.new("RGB", (9, 9)).save(full / "a.png")
    (full / "b.png").hardlink_to(full / "a.png")
    (full / "c.png").symlink_to("a.png")
    (full / "d.png").symlink_to("nowhere")
    files, skipped = find_images([full, tmp_path / "empty"])
    assert files == [full / "a.png"]
    assert skipped == [
        Skipped(str(full / "b.png"), f"the same as {full / 'a.png'}"),
        Skipped(str(full / "c.png"), f"the same as {full / 'a.png'}"),
        Skipped(str(full / "d.png"), "link to nothing"),
        Skipped(str(tmp_path / "empty"), "it has no images"),
    ]


# --- damage -----------------------------------------------------------------------------------------------------------


def refusal(folder):
    with pytest.raises(VersionError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder} can't be read as a model: ")
    assert message.endswith(" Give a folder that `scalepred finetune` has written.")
    return message


def reseal(folder, change, *, file="scalepred.json"):
    """Change the facts as a hostile author would, with their own hash made right."""
    config = json.loads((folder / "scalepred.json").read_text())
    change(config)
    config["config_id"] = content_id("model", {k: v for k, v in config.items() if k != "config_id"})
    (folder / file).write_text(json.dumps(config))


def make_old(folder, **changes):
    """Turn a folder into one that an older scalepred has written, whose facts are in ``config.json``."""

    def change(config):
        config["sha256"].pop("config.json")
        config.update(changes)

    reseal(folder, change, file="config.json")
    (folder / "scalepred.json").unlink()


def test_a_folder_without_a_model_is_refused(tmp_path):
    expected = "it has no scalepred.json and no classes.json and no config.json and no model.safetensors."
    assert expected in refusal(tmp_path)
    assert refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("name", READ)
def test_a_missing_or_cut_or_empty_file_is_refused(folder, name):
    whole = (folder / name).read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 2):
        (folder / name).write_bytes(whole[:length])
        refusal(folder)
    (folder / name).unlink()
    assert f"it has no {name}." in refusal(folder)
    (folder / name).mkdir()
    assert f"it has no {name}." in refusal(folder)


def test_another_schema_is_refused(folder):
    reseal(folder, lambda config: config.update(schema=5))
    with pytest.raises(VersionError) as caught:
        load_model(folder)
    assert str(caught.value) == (
        f"The model at {folder} has schema 5, and this scalepred reads 1, 2, 3 and 4: finetune again, or use the "
        "scalepred that wrote it."
    )


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (1, "whole picture squeezed to a square, bicubic"),
        (2, "whole image squeezed to a square, bicubic"),
        (3, "squash"),
    ],
)
def test_a_model_of_an_older_schema_is_read_and_squashes(folder, images, schema, words):
    before = load(folder, device="cpu").predict_proba(images)
    make_old(folder, schema=schema, resize=words)
    assert is_model(folder)
    classifier = load(folder, device="cpu")
    assert (classifier.classes, classifier.model.resize) == (NASTY, "squash")
    np.testing.assert_array_equal(classifier.predict_proba(images), before)


@pytest.mark.parametrize("resize", ["whole image squeezed to a square, bicubic", "stretch", None, ["crop"]])
def test_a_resize_that_is_unknown_is_refused(folder, resize):
    reseal(folder, lambda config: config.update(resize=resize))
    assert "scalepred.json says that images are resized by" in refusal(folder)


@pytest.mark.parametrize(
    ("resize", "words"),
    [
        ("squash", "Images are squeezed whole to 16 x 16 pixels."),
        ("crop", "Of images the middle square is taken, at 16 x 16 pixels."),
        ("pad", "Images are fitted whole, between bars of their edges' colours, into 16 x 16 pixels."),
    ],
)
def test_the_card_says_how_images_become_squares_and_how_long_it_took(tmp_path, source, network, resize, words):
    run = run_record(task_record(), 2.0, val=[1, 1, 1, 0])
    recipe = dataclasses.replace(QUICK, epochs=20, steps=7, resize=resize)
    save_model(tmp_path / "m", network, source=source, recipe=recipe, classes=NASTY, run=run, job=JOB)
    card = " ".join((tmp_path / "m" / "README.md").read_text().split())
    assert f"{words} 7 steps took 1.0 s on cpu." in card


def test_a_flipped_bit_in_the_weights_is_refused(folder):
    path = folder / "model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1000] ^= 1
    path.write_bytes(damaged)
    expected = "scalepred.json, classes.json, config.json and model.safetensors were damaged, changed, or not saved"
    assert expected in refusal(folder)


def test_a_flipped_bit_in_the_weights_of_an_older_model_is_refused(folder):
    make_old(folder, schema=3)
    path = folder / "model.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1000] ^= 1
    path.write_bytes(damaged)
    assert "config.json, classes.json and model.safetensors were damaged, changed, or not saved" in refusal(folder)


def test_an_older_model_may_be_overwritten_by_a_new_one(folder, source, network):
    make_old(folder, schema=3)
    check_free(folder, overwrite=True)
    write(folder, source, network, classes=tuple("uvwxyz"))
    assert load_model(folder).classes == tuple("uvwxyz")
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_classes_of_another_model_are_refused(folder):
    (folder / "classes.json").write_text(json.dumps(list("uvwxyz")))
    assert "not saved together" in refusal(folder)


@pytest.mark.parametrize("name", ["scalepred.json", "config.json", "classes.json"])
def test_random_edits_are_refused_or_change_nothing(folder, name):
    rng = np.random.default_rng(0)
    whole, facts = (folder / name).read_bytes(), json.loads((folder / "scalepred.json").read_text())
    for _ in range(60):
        edited = bytearray(whole)
        edited[int(rng.integers(len(edited)))] = int(rng.integers(256))
        (folder / name).write_bytes(edited)
        if bytes(edited) != whole:
            try:
                config = folder_module._read_config(folder)
            except (ValueError, KeyError, TypeError, RuntimeError, VersionError):
                continue
            assert config == facts


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(architecture=7),
        lambda config: config.update(architecture="timm/no_such_network"),
        lambda config: config.update(architecture="../../etc"),
        lambda config: config.update(architecture="efficientnet_lite0"),
        lambda config: config.update(image_px="64"),
        lambda config: config.update(image_px=10**9),
        lambda config: config.update(mean=[0, 0, 0]),
        lambda config: config.pop("architecture"),
        lambda config: config.pop("mean"),
    ],
)
def test_a_config_that_fits_no_network_is_refused_though_its_hash_is_right(folder, change):
    reseal(folder, change)
    refusal(folder)


@pytest.mark.parametrize("classes", [None, 7, {}, [], ["one"], "abcdef", [1, 2, 3, 4, 5, 6], ["a", "b"]])
def test_classes_that_fit_no_network_are_refused_though_their_hash_is_right(folder, classes):
    (folder / "classes.json").write_text(json.dumps(classes))
    reseal(folder, lambda config: config["sha256"].update({"classes.json": sha256(folder / "classes.json")}))
    refusal(folder)


def test_weights_that_are_not_finite_are_refused_though_their_hash_is_right(folder):
    path = folder / "model.safetensors"
    state = load_file(path)
    state["fc.bias"][0] = float("nan")
    save_file(state, path)
    reseal(folder, lambda config: config["sha256"].update({path.name: sha256(path)}))
    assert "fc.bias is not finite" in refusal(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", READ)
def test_a_pipe_in_place_of_a_file_does_not_hang(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert f"it has no {name}." in refusal(folder)


def test_what_is_said_of_a_run_has_no_bytes(source):
    run = dataclasses.replace(run_record(task_record(), 2.0, val=[1] * 4), test_correct=None)
    values = folder_module._run_json(run)
    assert (values["val_correct"], values["test_correct"]) == ("f0", None)
    json.dumps(values)
