"""Evaluating a saved model: on any labelled images, with classes matched by name and never by position."""

import json
import math
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from browser import browse, needs_chromium
from fakes import QUICK, named_source, write_task
from PIL import Image
from safetensors.torch import save_file
from saved_models import saved

import scalepred
from scalepred.data.layout import Layout
from scalepred.errors import DataError, VersionError
from scalepred.job.folder import load_model
from scalepred.job.paired import wilson
from scalepred.job.report_evaluation import evaluation_report

pytestmark = pytest.mark.slow  # as a whole, to keep the quick tests under a minute

CLASSES = ("caf\u00e9", "<script>", "night")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A task with splits of its own: 12 training, 4 validation and 10 test images of each class."""
    folder = tmp_path_factory.mktemp("data") / "greys"
    for seed, (name, n) in enumerate({"train": 12, "val": 4, "test": 10}.items()):
        write_task(folder / name, classes=CLASSES, n=n, seed=seed)
    return folder


@pytest.fixture(scope="module")
def job(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    save_file(named_source().architecture.network.state_dict(), folder / "w.safetensors")
    return scalepred.finetune(
        data, source="timm/test_resnet", weights=folder / "w.safetensors", recipe=QUICK, scale="probe",
        output=folder / "model", device="cpu",
    )  # fmt: skip


def evaluate(job, data, **options):
    return scalepred.evaluate(job.output, data, device="cpu", **options)


def test_the_test_images_give_the_accuracy_and_the_loss_that_the_job_told(job, data):
    result = evaluate(job, data / "test")
    assert result.accuracy == job.test_accuracy
    assert (result.n, result.set_aside, result.skipped, result.warnings) == (30, {}, [], [])
    assert result.interval == wilson(result.n_right, 30)
    assert result.temperature == job.calibration.temperature
    after = job.calibration.after
    if not job.calibration.is_cross_fitted:
        assert result.quality.log_loss == pytest.approx(after.log_loss, rel=1e-4)


def test_probabilities_and_rows_are_those_that_the_classifier_gives(job, data):
    result = evaluate(job, data / "test")
    classifier = scalepred.load(job.output, device="cpu")
    np.testing.assert_allclose(result.scored.probabilities, classifier.predict_proba(result.scored.paths), atol=1e-5)
    loss = -np.mean([math.log(p[c]) for p, c in zip(result.scored.probabilities, result.scored.labels, strict=True)])
    assert result.quality.log_loss == pytest.approx(loss)
    for row in result.rows:
        right = sum(name == row.name for name in classifier.predict(sorted((data / "test" / row.name).iterdir())))
        assert (row.n, row.n_right) == (10, right)


def test_classes_are_matched_by_name_though_their_places_change(job, data, tmp_path):
    folder = tmp_path / "some"
    shutil.copytree(data / "test" / "night", folder / "night")
    shutil.copytree(data / "test" / CLASSES[0], folder / CLASSES[0])
    shutil.copytree(data / "test" / "<script>", folder / "aaa")  # sorts before all, and the model has no such class
    result = evaluate(job, folder)
    whole = evaluate(job, data / "test")
    by_name = {row.name: row.n_right for row in whole.rows}
    assert {row.name: row.n_right for row in result.rows if row.n} == {n: by_name[n] for n in ("night", CLASSES[0])}
    assert result.set_aside == {"aaa": 10}
    assert result.warnings == [
        "10 images are of classes that the model does not know, and set aside: 'aaa'",
        "no image is of '<script>', so nothing is said of it",
    ]


def test_a_class_in_another_unicode_form_is_the_same_class(job, data, tmp_path):
    shutil.copytree(data / "test" / CLASSES[0], tmp_path / "d" / unicodedata.normalize("NFD", CLASSES[0]))
    shutil.copytree(data / "test" / "night", tmp_path / "d" / "night")
    result = evaluate(job, tmp_path / "d")
    assert (result.n, result.set_aside) == (20, {})


def test_images_of_one_class_alone_can_be_scored_from_a_manifest(job, data, tmp_path):
    paths = sorted((data / "test" / "night").iterdir())
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *(f"{path},night" for path in paths), ""]))
    result = evaluate(job, tmp_path / "m.csv")
    assert result.n == 10
    assert result.accuracy == next(row.recall for row in result.rows if row.name == "night")
    assert "10 images of 1 class<" in evaluation_report(result)


def test_labels_are_read_from_where_the_layout_says_and_how_they_were_read_is_told(run, job, data, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ("night", "<script>"):
        for path in sorted((data / "test" / name).iterdir()):
            shutil.copy(path, flat / f"{name}.{path.name}")
    result = evaluate(job, flat, layout=Layout(label_pattern="{label}.*", exclude_classes=("<script>",)))
    in_folders = evaluate(job, data / "test")
    assert (result.n, result.set_aside) == (10, {})
    assert result.n_right == next(row.n_right for row in in_folders.rows if row.name == "night")
    code, out, err = run(
        "evaluate", job.output, flat, "--label-pattern", "{label}.*", "--exclude-class", "<script>", "--json"
    )
    assert code == 0, err
    assert json.loads(out) == json.loads(json.dumps(result.to_json() | {"report": None}))
    shutil.copytree(data / "test", tmp_path / "wrapped" / "export")
    assert evaluate(job, tmp_path / "wrapped").warnings == [
        "all images lie in 'export', which was stepped into and is no class"
    ]
    refused = run("evaluate", job.output, data / "test", "--label-column", "kind")
    assert (refused[0], "--label-column" in refused[2]) == (2, True)


def test_images_that_the_model_was_trained_on_are_counted_and_told_first(run, job, data):
    result, test, val = (evaluate(job, data / name) for name in ("", "test", "val"))
    assert (result.n, result.n_trained_on, test.n_trained_on, val.n_trained_on) == (78, 36, 0, 0)
    told = "36 of 78 images are ones that the model was trained on: the accuracy of all is not honest"
    assert result.warnings == [told]
    assert result.new == (test.n_right + val.n_right, 42)
    code, out, err = run("evaluate", job.output, data)
    assert (code, err.splitlines()[0]) == (0, f"note: {told}")
    first, second = out.splitlines()[:2]
    assert first.startswith("accuracy:  ")
    assert first.endswith(" of 78 images, not honest: the model was trained on 36 of them")
    assert second.startswith(f"on others: {100 * result.new[0] / 42:.1f} % (")
    assert second.endswith(") of 42 images")


def test_they_are_known_by_their_pixels_whatever_their_names_folders_and_formats(job, data, tmp_path):
    (tmp_path / "d" / "night").mkdir(parents=True)
    for name in ("train", "test"):
        with Image.open(data / name / "night" / "0.png") as image:
            image.save(tmp_path / "d" / "night" / f"copy of {name}.bmp")
    result = evaluate(job, tmp_path / "d")
    assert result.trained_on.tolist() == [path.endswith("train.bmp") for path in result.scored.paths]
    assert result.warnings[0].startswith("1 of 2 images is one that the model was trained on: ")
    values = result.to_json()
    assert (values["n_trained_on"], values["new"]["n"]) == (1, 1)
    assert evaluate(job, data / "test").to_json()["new"]["accuracy"] == job.test_accuracy


def test_a_refit_knows_all_images_and_has_no_accuracy_of_others(data, job, tmp_path):
    refitted = scalepred.finetune(
        data, source="timm/test_resnet", weights=job.output.parent / "w.safetensors", recipe=QUICK, scale="probe",
        output=tmp_path / "model", device="cpu", refit=True,
    )  # fmt: skip
    result = evaluate(refitted, data / "test")
    assert (result.n, result.n_trained_on, result.new) == (30, 30, None)
    assert result.to_json()["new"] is None


def test_a_model_of_before_that_does_not_know_its_images_warns_of_the_splits(data, job, tmp_path):
    classes = json.loads((job.output / "classes.json").read_text(encoding="utf-8"))
    old = saved(tmp_path / "old", "timm/test_resnet", image_px=16, classes=classes)
    assert not (old / "training_images.safetensors").exists()
    result = scalepred.evaluate(old, data, device="cpu")
    assert (result.n_trained_on, result.new, result.to_json()["n_trained_on"]) == (None, None, None)
    assert result.warnings == [
        "48 of 78 images lie in a training or validation split: a model that was trained on them looks better than it "
        "is"
    ]


def test_a_folder_without_its_training_images_or_with_others_is_refused(job, tmp_path):
    folder = shutil.copytree(job.output, tmp_path / "model")
    (file := folder / "training_images.safetensors").write_bytes(b"")
    with pytest.raises(VersionError, match="were damaged, changed, or not saved together"):
        load_model(folder)
    file.unlink()
    with pytest.raises(VersionError, match=r"it has no training_images\.safetensors"):
        load_model(folder)


def test_bad_files_are_skipped_and_named(job, data, tmp_path):
    folder = shutil.copytree(data / "test", tmp_path / "d")
    (folder / "night" / "0.png").write_bytes(b"no image")
    result = evaluate(job, folder)
    assert result.n == 29
    assert [(Path(each.path).name, each.reason[:12]) for each in result.skipped] == [("0.png", "not an image")]


def test_nothing_to_score_says_what_the_model_knows(job, tmp_path):
    write_task(tmp_path / "d", classes=("cat", "dog"), n=2)
    with pytest.raises(DataError) as caught:
        evaluate(job, tmp_path / "d")
    assert str(caught.value) == (
        f"{tmp_path / 'd'} has images of 'cat', 'dog', and the model knows none of these classes. It knows "
        "'<script>', 'caf\u00e9', 'night': give images of those, or rename the folders."
    )
    with pytest.raises(VersionError, match="can't be read as a model"):
        scalepred.evaluate(tmp_path, tmp_path / "d")


def test_the_command_prints_what_the_function_returns_and_writes_a_report(run, job, data, tmp_path):
    page = tmp_path / "page.html"
    code, out, err = run("evaluate", job.output, data / "test", "--report", page, "--json")
    assert code == 0, err
    expected = evaluate(job, data / "test").to_json()
    assert json.loads(out) == json.loads(json.dumps(expected | {"report": str(page)}))
    text = page.read_text(encoding="utf-8")
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert f"{100 * expected['accuracy']:.1f} %" in text
    code, out, err = run("evaluate", job.output, data / "test")
    assert code == 0, err
    assert out.startswith(f"accuracy:  {100 * expected['accuracy']:.1f} % (")


def test_a_report_takes_the_place_of_none_that_a_job_has_left(run, job, data, tmp_path):
    own = (job.output / "report.html").read_bytes()
    (tmp_path / "link.html").symlink_to(job.output / "report.html")
    for page in (job.output / "report.html", tmp_path / "link.html"):
        code, out, err = run("evaluate", job.output, data / "test", "--report", page)
        assert (code, out) == (2, "")
        assert (
            err == f"scalepred: {page} is the report of the model there: give another name, such as evaluation.html.\n"
        )
    assert (job.output / "report.html").read_bytes() == own
    assert run("evaluate", job.output, data / "test", "--report", job.output / "evaluation.html")[0] == 0


def test_a_report_that_has_no_place_is_refused_before_anything_is_read(run, job, tmp_path):
    code, out, err = run("evaluate", job.output, tmp_path / "nowhere", "--report", tmp_path / "x.pdf")
    assert (code, out) == (2, "")
    assert err == f"scalepred: A report is an HTML file, not {tmp_path / 'x.pdf'}: give a name that ends in .html.\n"


@needs_chromium
def test_a_browser_shows_the_report_of_an_evaluation_without_an_error(run, job, data, tmp_path):
    page = tmp_path / "page.html"
    assert run("evaluate", job.output, data, "--report", page)[0] == 0
    shown = browse(page, tmp_path)
    assert "CONSOLE" not in shown.stderr
    assert "36 of 78 images are ones that the model was trained on" in shown.stdout
    assert "<script" not in shown.stdout
