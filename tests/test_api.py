"""The public API: light to import, typed, and the same as the command line."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from fakes import QUICK, write_task
from PIL import Image

import scalepred
from scalepred.errors import DataError, ScalepredError, UsageError, VersionError
from scalepred.recipe import RECIPES
from scalepred.store.warehouse import open_warehouse

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "finetune_and_classify.py"


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return write_task(tmp_path_factory.mktemp("data") / "birds", n=12)


@pytest.fixture(scope="module")
def job(task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    return scalepred.finetune(
        task, source="timm/test_resnet", weights=weights(folder), recipe=QUICK, scale=2, output=folder / "model"
    )


def weights(folder):
    """Write random weights of a tiny network, which stand for pretrained ones."""
    from fakes import named_source
    from safetensors.torch import save_file

    save_file(named_source().architecture.network.state_dict(), folder / "w.safetensors")
    return folder / "w.safetensors"


@pytest.fixture(scope="module")
def classifier(job):
    return scalepred.load(job.output, device="cpu")


@pytest.fixture(scope="module")
def paths(task):
    return sorted(task.rglob("*.png"))


# --- the import -------------------------------------------------------------------------------------------------------


def test_the_package_alone_imports_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import scalepred;"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)),"
        "[name for name in sys.modules if name.startswith('scalepred.')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "['scalepred'] []\n"


@pytest.mark.parametrize("name", scalepred.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(scalepred, name).__doc__
    assert name in dir(scalepred)


def test_a_name_that_is_not_public_is_none():
    with pytest.raises(AttributeError, match="module 'scalepred' has no attribute 'learn'"):
        _ = scalepred.learn


def test_all_errors_are_of_one_type():
    assert issubclass(DataError, scalepred.ScalepredError)


# --- inspect and predict ----------------------------------------------------------------------------------------------


def test_inspect_counts_classes_and_splits(task):
    calls = []
    inspection = scalepred.inspect(task, on_progress=lambda done, total: calls.append((done, total)))
    assert inspection.classes == {"dark": 12, "light": 12}
    assert sum(inspection.splits.values()) == 24
    assert calls[-1] == (24, 24)


@pytest.mark.slow
def test_the_predicted_scale_is_that_of_the_command(run, task):
    prediction = scalepred.predict_scale(str(task), image_px=32)
    code, out, err = run("predict", task, "--image-px", "32", "--json")
    assert code == 0, err
    command, library = json.loads(out), prediction.to_json()
    for document in (command, library):
        document["seconds"] = document["probe"]["seconds"] = 0
    assert json.loads(json.dumps(library)) == command
    assert prediction.predictor is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, not 'tpu'."),
        ({"on_bad_image": "ignore"}, "on_bad_image must be one of skip, fail, not 'ignore'."),
        ({"split_seed": -1}, "split_seed must be a whole number of 0 or more, not -1."),
        ({"max_megapixels": 0}, "max_megapixels must be above 0, not 0."),
        ({"max_megapixels": "64"}, "max_megapixels must be a number above 0, not '64'."),
        ({"layout": None}, "layout is a scalepred.Layout, such as Layout(class_depth=2), not None."),
        ({"train_on": "val"}, "train_on must be one of train, train+val, all, not 'val'."),
    ],
)
def test_an_option_that_is_out_of_range_is_named(task, options, message):
    with pytest.raises(UsageError) as caught:
        scalepred.predict_scale(task, **options)
    assert str(caught.value) == message
    with pytest.raises(UsageError) as caught:
        scalepred.finetune(task, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split_seed": -1}, "split_seed must be a whole number of 0 or more, not -1."),
        ({"max_megapixels": "64"}, "max_megapixels must be a number above 0, not '64'."),
        ({"max_megapixels": 0}, "max_megapixels must be above 0, not 0."),
        ({"layout": 2}, "layout is a scalepred.Layout, such as Layout(class_depth=2), not 2."),
    ],
)
def test_an_option_of_inspect_that_can_not_be_used_is_named(task, options, message):
    with pytest.raises(UsageError) as caught:
        scalepred.inspect(task, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a\0b", r"'a\x00b' can't be read: embedded null byte."),
        (3, "The data is 3, which is no path: give a folder of class folders or a CSV manifest."),
    ],
)
def test_data_that_can_be_no_path_is_told(data, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for function in (scalepred.inspect, scalepred.predict_scale, partial(scalepred.finetune, scale=1.0)):
        with pytest.raises(ScalepredError) as caught:
            function(data)
        assert str(caught.value) == message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["lock_timeout_seconds", "checkpoint_seconds"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_seconds_below_zero_are_refused_before_anything_is_read(tmp_path, option, value):
    with pytest.raises(UsageError) as caught:
        scalepred.finetune(tmp_path / "none", **{option: value})
    assert str(caught.value) == f"{option} must be 0 or more, not {value!r}."


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), "fast"])
def test_a_scale_that_is_none_is_refused_before_anything_is_read(scale, tmp_path):
    with pytest.raises(UsageError, match="A scale is a finite number above 0"):
        scalepred.finetune(tmp_path / "nowhere", scale=scale)


@pytest.mark.parametrize("output", ["", "  "])
def test_an_empty_output_is_not_the_current_folder(output):
    with pytest.raises(UsageError) as caught:
        scalepred.finetune("my_images", scale=1, output=output)
    assert str(caught.value) == f"output is {output!r}: give a folder, or None for my_images-model."


# --- finetune ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_job_says_what_came_of_it(job, task):
    assert (job.scale, job.choice.by) == (2.0, "given")
    assert job.classes == ("dark", "light")
    assert 0 <= job.test_accuracy <= 1
    assert (job.val_accuracy, job.trained_on) == (None, "train+val")
    assert (job.probe.compared.split, job.probe.compared.n) == ("test", job.task.record.n_test)
    assert set(job.seconds) == {"scan", "features", "train", "evaluate", "total"}


@pytest.mark.slow
def test_a_job_may_be_stored_in_a_warehouse_with_a_recipe_of_ones_own(task, tmp_path):
    epochs, images = [], []
    made = scalepred.finetune(
        str(task),
        source="timm/test_resnet",
        weights=str(weights(tmp_path)),
        recipe=QUICK,
        image_px=24,
        scale=1.0,
        output=str(tmp_path / "model"),
        warehouse=str(tmp_path / "w.duckdb"),
        on_progress=lambda *counts: images.append(counts),
        on_epoch=lambda *counts: epochs.append(counts),
    )
    assert (images[-1], len(epochs)) == ((24, 24), QUICK.epochs)
    with open_warehouse(tmp_path / "w.duckdb", read_only=True) as store:
        assert [recipe.name for recipe in store.recipes()] == ["custom-24"]
        assert [run.run_id for run in store.runs()] == [made.run.run_id]


@pytest.mark.slow
def test_the_linear_probe_alone_is_a_job_without_a_scale(task, tmp_path):
    probe = scalepred.finetune(
        task, source="timm/test_resnet", weights=weights(tmp_path), recipe=QUICK, scale="probe", output=tmp_path / "m"
    )
    assert (probe.scale, probe.choice) == (None, None)
    assert probe.test_accuracy == probe.probe.test_accuracy
    assert scalepred.load(probe.output, device="cpu").classes == probe.classes


@pytest.mark.slow
def test_a_model_is_not_overwritten_unless_asked(job, task):
    with pytest.raises(UsageError, match="holds a model already"):
        scalepred.finetune(task, scale=1, recipe=RECIPES["cosine"], output=job.output)


# --- load and classify ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_probabilities_are_those_of_the_command(run, job, classifier, paths):
    code, out, err = run("classify", job.output, *paths, "--device", "cpu", "--json")
    assert code == 0, err
    images = json.loads(out)["images"]
    probabilities = classifier.predict_proba(paths)
    assert probabilities.shape == (len(paths), 2)
    assert probabilities.dtype == np.float32
    assert classifier.predict(paths) == [image["label"] for image in images]
    for row, image in zip(probabilities, images, strict=True):
        ranking = {each["label"]: each["probability"] for each in image["ranking"]}
        assert dict(zip(classifier.classes, row.tolist(), strict=True)) == ranking


@pytest.mark.slow
def test_paths_images_and_arrays_are_the_same_and_may_be_mixed(classifier, paths):
    expected = classifier.predict_proba(paths[:3])
    arrays = [np.asarray(Image.open(path)) for path in paths[:3]]
    mixed = [str(paths[0]), Image.open(paths[1]), arrays[2]]
    for images in (iter(paths[:3]), [Image.open(path) for path in paths[:3]], arrays, np.stack(arrays), mixed):
        np.testing.assert_array_equal(classifier.predict_proba(images), expected)


@pytest.mark.slow
def test_one_image_alone_is_a_row(classifier, paths):
    for image in (paths[0], str(paths[0]), Image.open(paths[0]), np.asarray(Image.open(paths[0]))):
        assert classifier.predict_proba(image).shape == (1, 2)
    assert classifier.predict_proba([]).shape == (0, 2)
    assert classifier.predict([]) == []


@pytest.mark.slow
def test_an_image_is_turned_and_put_on_white_as_in_a_file(classifier, paths, tmp_path):
    rgba = Image.open(paths[0]).convert("RGBA")
    rgba.putalpha(100)
    exif = Image.Exif()
    exif[0x0112] = 6
    rgba.save(tmp_path / "clear.png", exif=exif)
    file, image = tmp_path / "clear.png", Image.open(tmp_path / "clear.png")
    np.testing.assert_array_equal(classifier.predict_proba(image), classifier.predict_proba(file))


@pytest.mark.slow
def test_bad_images_are_named_all_at_once(classifier, paths, tmp_path):
    (tmp_path / "cut.png").write_bytes(paths[0].read_bytes()[:60])
    grey = np.zeros((8, 8), np.uint8)
    with pytest.raises(DataError) as caught:
        classifier.predict([paths[0], tmp_path / "cut.png", tmp_path / "none.png", grey])
    first, *rest = str(caught.value).splitlines()
    assert first == "3 of 4 images can't be classified:"
    assert rest[0].startswith(f"  - {tmp_path / 'cut.png'}: ")
    assert rest[1] == f"  - {tmp_path / 'none.png'}: can't be read: No such file or directory"
    assert rest[2] == "  - image 3: an array of (8, 8) uint8, not of (h, w, 3) uint8"


@pytest.mark.slow
@pytest.mark.parametrize("images", [7, [7], [None]])
def test_what_is_no_image_is_refused(classifier, images):
    with pytest.raises(UsageError, match=r"an? image of Pillow's|images of Pillow's"):
        classifier.predict(images)


@pytest.mark.slow
def test_many_images_are_classified_part_by_part(classifier, paths, monkeypatch):
    expected = classifier.predict(paths)
    monkeypatch.setattr("scalepred.job.classifier.AT_ONCE", 5)
    assert classifier.predict(paths) == expected


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(VersionError, match="can't be read as a model"):
        scalepred.load(tmp_path)
    with pytest.raises(UsageError, match="device must be one of auto, cpu, cuda, not 'tpu'"):
        scalepred.load(tmp_path, device="tpu")


# --- the example ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_example_runs_from_images_to_classes(tmp_path):
    command = [sys.executable, str(EXAMPLE), str(tmp_path), "--images", "60", "--image-px", "32"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = shown.stdout.splitlines()
    assert lines[0] == "60 images of 10 classes"
    assert lines[1].startswith("predicted scale ")
    assert lines[2].startswith("finetuned at scale ")
    assert lines[3].endswith(tuple(f"is taken for {digit}" for digit in range(10)))
    assert (tmp_path / "model" / "model.safetensors").is_file()
