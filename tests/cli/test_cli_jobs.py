"""`scalepred finetune --auto --jobs K` and what is told of a choice, by the command line and from Python."""

import json

import pytest
from fakes import TINY, named_source, write_task
from safetensors.torch import save_file

import scalepred

RECIPE = {"epochs": 2, "image_px": 32, "batch_size": 8, "optimizer": "adamw"}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Return a folder of data, recipe and weights."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    save_file(named_source().architecture.network.state_dict(), folder / "tiny.safetensors")
    write_task(folder / "birds", n=30)
    return folder


def options(parts):
    named = ["--source", TINY, "--weights", parts / "tiny.safetensors", "--recipe", parts / "recipe.json"]
    return [parts / "birds", *named, "--device", "cpu"]


@pytest.mark.slow
def test_two_jobs_are_run_told_and_listed(run, parts, tmp_path):
    code, out, err = run("finetune", *options(parts), "--auto", "--jobs", 2, "--output", tmp_path / "model", "--json")
    assert code == 0, err
    search = json.loads(out)["metrics"]["search"]
    assert len(search["jobs"]) == search["run"] == search["wanted"] == 2
    assert [each["chosen"] for each in search["jobs"]].count(True) == 1
    for number, each in enumerate(search["jobs"], start=1):
        assert f"job {number} of up to 2: scale {each['scale']:g}, {100 * each['val_accuracy']:.1f} % of" in err
    assert "2 of 2 jobs run; kept is that at scale" in err
    assert json.loads(out)["metrics"]["trained_on"] == "train"


@pytest.mark.slow
def test_two_jobs_from_python_are_shown_as_a_table(run, parts, tmp_path):
    folder = tmp_path / "model"
    settings = {"weights": parts / "tiny.safetensors", "recipe": parts / "recipe.json", "device": "cpu"}
    job = scalepred.finetune(parts / "birds", source=TINY, jobs=2, output=folder, **settings)
    assert len(job.search.runs) == 2
    assert "2 of 2 jobs run" in (folder / "report.html").read_text()
    code, out, _ = run("finetune", *options(parts), "--auto", "--jobs", 2, "--output", tmp_path / "again")
    assert code == 0
    assert "expected accuracy" in out
    assert out.count("kept") == 1


@pytest.mark.slow
def test_predict_tells_the_width_of_a_choice_by_the_rule(run, parts):
    code, out, err = run("predict", *options(parts))
    assert code == 0, err
    told = " ".join(out.split())
    assert "are expected within half a point of the best" in told
    assert "half the scale is expected to" in told
    assert "nearest harvested points: " in told
    document = json.loads(run("predict", *options(parts), "--json")[1])
    assert document["by"] == "rule"
    assert document["outlook"]["n_curves"] == 730
    assert len(document["outlook"]["nearest"]) == 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--scale", "2", "--jobs", "2"], "scale 2 was given"),
        (["--probe", "--jobs", "2"], "a linear probe has no scale"),
        (["--auto", "--jobs", "2", "--train-on", "all"], "none may train on them"),
        (["--auto", "--jobs", "2", "--log-to", "tensorboard:x"], "A log is of one job"),
    ],
)
def test_jobs_that_make_no_sense_are_refused_before_anything_is_read(run, parts, more, said):
    code, _, err = run("finetune", *options(parts), *more)
    assert code == 2
    assert said in " ".join(err.split())
