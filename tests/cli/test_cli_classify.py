"""`scalepred classify`: verdicts, tables for spreadsheets, paths from a pipe, and results as they are ready."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import TINY, write_task
from PIL import Image
from saved_models import NASTY, saved

from scalepred.errors import UsageError
from scalepred.job.classifier import AT_ONCE, load

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("models") / "model", TINY, image_px=32)


@pytest.fixture
def images(tmp_path):
    return write_task(tmp_path / "images", n=6)


@pytest.fixture
def stdin(monkeypatch):
    def give(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def documents(out):
    return [json.loads(line) for line in out.splitlines()]


def test_below_the_threshold_an_image_is_unsure_and_keeps_its_label(run, model, images):
    probabilities = [each["probability"] for each in json.loads(run("classify", model, images, "--json")[1])["images"]]
    between = float(np.median(probabilities))
    code, out, err = run("classify", model, images, "--json", "--threshold", between)
    assert code == 0, err
    verdicts = {each["path"]: each for each in json.loads(out)["images"]}
    assert {each["verdict"] for each in verdicts.values()} == {"class", "unsure"}
    assert all((each["verdict"] == "unsure") == (each["probability"] < between) for each in verdicts.values())
    assert all(each["label"] in NASTY for each in verdicts.values())
    text = run("classify", model, images, "--threshold", between)[1].splitlines()
    assert sum(": (unsure) " in line for line in text) == sum(p < between for p in probabilities)


def test_a_threshold_that_is_no_probability_is_refused(model):
    with pytest.raises(UsageError) as caught:
        load(model, device="cpu").classify([], threshold=40)
    assert str(caught.value) == "threshold must be a probability from 0 to 1, not 40."


def test_a_table_has_a_row_for_every_image_and_no_cell_is_a_formula(run, tmp_path, monkeypatch):
    model = saved(tmp_path / "model", TINY, image_px=32, classes=("=1+1", "@x"))
    classifier = load(model, device="cpu")
    names = ["=1+1.png", "+a.png", "-b.png", "@c.png", 'd"e,f.png', "g\nh.png"]
    for name in names:
        Image.new("RGB", (40, 40), (200, 10, 30)).save(tmp_path / name)
    (tmp_path / "bad.png").write_text("no image")
    monkeypatch.chdir(tmp_path)
    code, out, err = run("classify", model, "--csv", "--", *names, "bad.png")
    assert code == 0, err
    header, *rows = csv.reader(io.StringIO(out, newline=""))
    assert header == ["path", "verdict", "label", "probability", "distance", "problem"]
    assert [row[0] for row in rows] == [*(f"'{name}" for name in names[:4]), *names[4:], "bad.png"]
    label, probability = classifier.classify([tmp_path / names[0]])[0].ranking[0]
    assert rows[0][1:] == ["class", f"'{label}", str(probability), "", ""]
    assert rows[-1][1:] == ["not read", "", "", "", "not an image of JPEG, PNG, WEBP, BMP, TIFF, GIF, AVIF, JPEG2000"]


def test_lines_of_json_are_those_of_the_document(run, model, images):
    code, out, err = run("classify", model, images, "--json-lines")
    assert code == 0, err
    document = json.loads(run("classify", model, images, "--json")[1])
    assert documents(out) == [{"schema": 2} | each for each in document["images"]]


def test_one_form_of_output_is_given(run, model, images):
    code, _, err = run("classify", model, images, "--json", "--csv")
    assert (code, err) == (2, "scalepred: Give one of --csv, --json and --json-lines.\n")


def test_paths_on_stdin_may_be_of_any_bytes_and_of_folders_and_missing_ones_are_told(run, model, images, stdin):
    odd = os.fsencode(images) + b"/\xff\xfe.png"
    with open(odd, "wb") as file:  # noqa: PTH123  # such a name is no text
        file.write((images / "dark" / "0.png").read_bytes())
    lines = [os.fsencode(images / "dark"), b"", odd, os.fsencode(images / "none.png")]
    stdin(b"\r\n".join(lines) + b"\n")
    code, out, err = run("classify", model, "-", "--json-lines")
    assert code == 0, err
    results = documents(out)
    assert len(results) == 8
    assert [each["verdict"] for each in results] == ["class"] * 7 + ["not read"]
    assert results[-1]["problem"] == "can't be read: No such file or directory"
    assert os.fsencode(results[6]["path"]) == odd


def test_an_empty_stdin_has_no_images(run, model, stdin):
    stdin(b"\n")
    assert run("classify", model, "-") == (3, "", "scalepred: There are no images to classify.\n")


def test_a_missing_path_is_told_before_anything_is_printed(run, model, images):
    code, out, err = run("classify", model, images, images / "none.png", "--csv")
    assert (code, out, err) == (3, "", f"scalepred: There is nothing at {images / 'none.png'}.\n")


def test_results_come_before_the_last_path_is_known(model, images):
    """A pipe that stays open: what was sent so far is answered but for the part that is being decoded."""
    path = images / "dark" / "0.png"
    command = [sys.executable, "-m", "scalepred", "classify", str(model), "-", "--json-lines", "--device", "cpu"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write(f"{path}\n" * 2 * AT_ONCE)
        process.stdin.flush()
        head = [process.stdout.readline() for _ in range(AT_ONCE)]
        assert process.poll() is None
        rest, _ = process.communicate(f"{path}\n")
    assert {json.loads(line)["path"] for line in head} == {str(path)}
    assert len(documents(rest)) == AT_ONCE + 1


@pytest.mark.parametrize("form", ["--csv", "--json-lines", None])
def test_a_reader_who_has_seen_enough_ends_it_quietly(model, images, form):
    """As `head -1` does: results are yet to come when it closes the pipe."""
    command = [sys.executable, "-m", "scalepred", "classify", str(model), "-", "--device", "cpu"]
    command += [form] if form else []
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=ROOT, **pipes, text=True) as process:
        process.stdin.write(f"{images / 'dark' / '0.png'}\n" * 3 * AT_ONCE)
        process.stdin.flush()
        assert process.stdout.readline()
        process.stdout.close()
        process.stdin.close()
        assert (process.stderr.read(), process.wait()) == ("", 0)


def test_one_path_is_a_path_and_not_its_letters(model, images):
    classifier, path = load(model, device="cpu"), images / "dark" / "0.png"
    (expected,) = classifier.classify([path])
    for one in (path, str(path)):
        assert list(classifier.stream(one)) == classifier.classify(one) == [expected]


def test_no_more_than_two_parts_are_asked_for_ahead(model, images):
    asked = []

    def paths():
        for at in range(10 * AT_ONCE):
            asked.append(at)
            yield images / "dark" / "0.png"

    results = load(model, device="cpu").stream(paths())
    for at, _ in zip(range(1, 3 * AT_ONCE), results, strict=False):
        assert len(asked) <= (-(-at // AT_ONCE) + 1) * AT_ONCE
    results.close()
