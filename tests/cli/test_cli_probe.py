"""The linear probe and what is trained on, through the real command line, on real images, with a tiny network."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from fakes import curve_table, named_source, write_task
from image_files import save, write_manifest
from safetensors.torch import save_file

import scalepred
from scalepred.predictor import artifact
from scalepred.predictor.probe_choice import Beside
from scalepred.predictor.train import train
from scalepred.recipe import Recipe

RECIPE = {"epochs": 1, "image_px": 32, "batch_size": 8}
FIELDS = ["accuracy", "interval", "n", "seconds", "note", "expected"]


@pytest.fixture(autouse=True)
def _no_user_folders(monkeypatch, tmp_path):
    """Keep the tests away from the user's own warehouse and predictor, and models in a folder of their own."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    for name in ("SCALEPRED_WAREHOUSE", "SCALEPRED_PREDICTOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def network(folder, *, changed=lambda name, tensor: tensor):
    """Return the options of a tiny network with random weights, which may be changed."""
    state = named_source().architecture.network.state_dict()
    save_file({name: changed(name, tensor).clone() for name, tensor in state.items()}, folder / "w.safetensors")
    (folder / "quick.json").write_text(json.dumps(RECIPE))
    options = ("--source", "timm/test_resnet", "--weights", folder / "w.safetensors", "--recipe", folder / "quick.json")
    return (*options, "--device", "cpu")


@pytest.fixture
def tiny(tmp_path):
    return network(tmp_path)


@pytest.fixture
def task(tmp_path):
    return write_task(tmp_path / "birds", n=20)


def test_a_probe_is_saved_like_any_model_and_classifies(run, task, tiny):
    code, out, err = run("finetune", task, "--probe", *tiny, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["choice"] is None
    assert document["metrics"]["test_accuracy"] == document["probe"]["test_accuracy"] is not None
    assert document["probe"]["compared"] is None
    assert set(document["seconds"]) == {"scan", "features", "train", "evaluate", "total"}
    assert "training on 32 images (train+val); 8 are held out\n" in err
    code, out, err = run("classify", "birds-model", task / "light", "--json")
    assert code == 0, err
    assert {each["label"] for each in json.loads(out)["images"]} <= {"dark", "light"}


def test_a_probe_says_in_text_how_good_it_is_and_where_it_lies(run, task, tiny):
    code, out, err = run("finetune", task, "--probe", *tiny)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("test accuracy:       ")
    assert lines[0].endswith(" % of 8 images")
    assert lines[1].startswith("linear probe on frozen features: ")
    assert lines[2].startswith("The model was trained on training and validation images together")
    assert "not above" not in out


def test_a_job_stands_beside_its_probe_on_the_same_images(run, task, tiny):
    code, out, err = run("finetune", task, "--scale", "0.01", *tiny)
    assert code == 0, err
    assert "linear probe on frozen features: " in err
    assert "  whether a finetune beats it is not known; `scalepred finetune DATA --probe` saves it\n" in err
    assert "% of the same 8 images\n" in out
    assert "--probe saves the probe, which is cheaper" in out
    card = Path("birds-model/README.md").read_text()
    verdict = json.loads(Path("birds-model/metrics.json").read_text())["probe"]["compared"]["verdict"]
    assert verdict in card
    assert verdict in out


def test_images_of_a_group_count_as_one_in_the_interval(run, task, tiny, tmp_path):
    names = [f"{label}/{index}" for label in ("dark", "light") for index in range(20)]
    probes = []
    for n in (1, 5):
        rows = [
            f"birds/{name}.png,{name.split('/')[0]},{name.split('/')[0]} {at // n}" for at, name in enumerate(names)
        ]
        data = write_manifest(tmp_path / f"by-{n}.csv", rows, header="path,label,group")
        code, out, err = run("predict", data, *tiny, "--json")
        assert code == 0, err
        probes.append(json.loads(out)["probe"])
    wide = [each["interval"][1] - each["interval"][0] for each in probes]
    assert wide[1] > 1.5 * wide[0]
    assert probes[1]["n"] >= 15


@pytest.mark.parametrize("train_on", [(), ("--train-on", "train"), ("--train-on", "all")])
def test_predict_looks_at_what_the_finetune_trains_on(run, task, tiny, train_on):
    code, out, err = run("predict", task, *tiny, *train_on, "--json")
    assert code == 0, err
    predicted = json.loads(out)
    assert list(predicted["probe"]) == FIELDS
    code, out, err = run("finetune", task, "--auto", *tiny, *train_on, "--json")
    assert code == 0, err
    job = json.loads(out)
    assert round(2 ** predicted["features"]["log2_n_train"]) == job["metrics"]["n_train"]
    assert (predicted["scale"], predicted["by"]) == (job["choice"]["scale"], job["choice"]["by"])
    told, beside = ([probe["probe"][name] for name in ("accuracy", "n", "note")] for probe in (predicted, job))
    assert told == beside


def test_predict_tells_the_probe_in_text(run, task, tiny):
    code, out, err = run("predict", task, *tiny)
    assert code == 0, err
    assert "linear probe on frozen features: " in out
    assert " training images, " in out


def test_nothing_is_measured_where_all_is_trained_on_and_it_says_so(run, task, tiny):
    code, out, err = run("finetune", task, "--scale", "1", "--train-on", "all", *tiny)
    assert code == 0, err
    assert "training on 40 images (all); none is held out, so nothing will be measured\n" in err
    assert "test accuracy:       not measured\n" in out
    code, _, err = run("finetune", task, "--scale", "1", "--train-on", "all", "--refit", "--overwrite", *tiny)
    assert code == 2
    assert "here no image is left to measure it on: leave out --refit, or hold images out with --train-on train" in err


def test_a_refit_tells_both_models_apart(run, task, tiny):
    code, out, err = run("finetune", task, "--scale", "1", "--refit", *tiny)
    assert code == 0, err
    assert "The accuracies are those of a first model, trained on training and validation images together" in out
    assert "was then trained in the same way on all 40 images" in out


def test_a_probe_is_refused_for_a_warehouse_before_anything_is_read(run, tmp_path):
    code, _, err = run("finetune", tmp_path / "none", "--probe", "--warehouse", "my.duckdb")
    assert code == 2
    assert err == (
        "scalepred: A warehouse keeps finetunes, each with its recipe and scale, and a linear probe has neither: leave "
        "out --warehouse, or finetune with --auto or --scale X.\n"
    )


def test_what_to_train_on_must_be_known(run, task):
    code, _, err = run("finetune", task, "--auto", "--train-on", "test")
    assert (code, err) == (2, "scalepred: train_on must be one of train, train+val, all, not 'test'.\n")


# --- a job that chooses ---------------------------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path):
    """Return the option of a predictor that has met the tiny network, and the probe so much above its finetunes."""

    def call(gain, *, n_train=40):
        ids = {"source_id": named_source().source_id, "recipe_id": Recipe(**RECIPE).recipe_id}
        table = curve_table(3)
        table = dataclasses.replace(table, **{f"{name}s": (each,) * len(table.names) for name, each in ids.items()})
        beside = Beside(**ids, n_train=(8, 20, n_train), origins=(0, 1, 2), gains=(gain, gain, gain))
        folder = tmp_path / f"predictor-{gain}-{n_train}"
        artifact.save(dataclasses.replace(train(table), besides=(beside,)), folder)
        return ("--predictor", folder)

    return call


def test_a_job_saves_the_probe_where_that_is_expected_to_be_better_and_says_why(run, task, tiny, told):
    code, out, err = run("finetune", task, "--auto", *tiny, *told(0.05), "--json")
    assert code == 0, err
    job = json.loads(out)
    assert job["choice"] is None
    assert job["probe"]["expected"]["is_better"] is True
    reason = job["probe"]["expected"]["reason"]
    assert "(8 to 40 training images, 3 origins) the linear probe is 5.0 points above the finetune" in reason
    assert f"the linear probe, no finetune: {reason}; --no-probe finetunes" in " ".join(err.split())
    assert "learning rates" not in err
    assert job["seconds"]["train"] > 0
    for file in ("README.md", "report.html"):
        assert reason.replace("on the 3", "On the 3") in Path("birds-model", file).read_text()
    assert json.loads(Path("birds-model/metrics.json").read_text())["probe"]["expected"] == job["probe"]["expected"]
    options = {"source": tiny[1], "weights": tiny[3], "recipe": tiny[5], "predictor": told(0.05)[1]}
    same = scalepred.finetune(task, output="again", **options)
    assert same.scale is None
    assert same.test_accuracy == job["metrics"]["test_accuracy"]


@pytest.mark.parametrize(
    "case",
    [
        (("--no-probe",), (0.05, 40)),
        ((), (-0.05, 40)),
        ((), (0.05, 31)),
        (("--jobs", "2"), (0.05, 40)),
        (("--warehouse", "my.duckdb"), (0.05, 40)),
        (("--resize", "pad"), (0.05, 40)),
    ],
)
def test_a_job_finetunes_where_the_probe_is_not_wanted_or_not_known_to_be_better(run, task, tiny, told, case):
    how, (gain, n_train) = case
    code, out, err = run("finetune", task, "--auto", *how, *tiny, *told(gain, n_train=n_train), "--json")
    assert code == 0, err
    job = json.loads(out)
    assert job["choice"]["scale"] > 0
    expected = job["probe"]["expected"]
    if n_train < 32 or "--resize" in how:
        assert expected is None
    else:
        assert expected["is_better"] is (gain > 0)
        assert f"{expected['reason']}; `scalepred finetune DATA --probe` saves it" in " ".join(err.split())


def test_predict_says_which_is_expected_to_be_better(run, task, tiny, told):
    for gain, words, option in (
        (0.05, "5.0 points above the finetune (+5.0 to +5.0)", "--auto"),
        (-0.05, "5.0 points below the finetune (-5.0 to -5.0)", "--probe"),
    ):
        code, out, err = run("predict", task, *tiny, *told(gain))
        assert code == 0, err
        assert f"{words}; `scalepred finetune DATA {option}` saves it" in " ".join(out.split())


def test_not_to_take_the_probe_is_for_a_job_that_chooses(run, task):
    for how, what in ((("--probe",), "the linear probe is asked for"), (("--scale", "1"), "a scale is given")):
        code, _, err = run("finetune", task, *how, "--no-probe")
        assert code == 2
        assert what in err


# --- data that little can be learnt from ------------------------------------------------------------------------------


def few(folder, counts):
    """Write so many different images of each class."""
    for at, (name, n) in enumerate(counts.items()):
        for index in range(n):
            noise = torch.randint(0, 256, (24, 24, 3), generator=torch.Generator().manual_seed(97 * at + index))
            save(folder / name / f"{index}.png", noise.numpy().astype("uint8"))
    return folder


POOR = {
    "a class of one image": {"a": 9, "b": 9, "only": 1},
    "fewer images than folds": {"a": 2, "b": 2},
    "classes of one image beside one of two": {"a": 2, "b": 1, "c": 1, "d": 1},
}


@pytest.mark.parametrize("kind", POOR)
@pytest.mark.parametrize("how", [("--probe",), ("--scale", "0.1"), ("--auto",), ("--probe", "--train-on", "train")])
def test_poor_data_falls_back_without_a_traceback(run, tmp_path, tiny, kind, how):
    code, out, err = run("finetune", few(tmp_path / "poor", POOR[kind]), *how, *tiny, "--json")
    assert code == 0, err
    probe = json.loads(out)["probe"]
    assert (probe["accuracy"] is None) == (probe["interval"] is None) == (probe["n"] == 0)
    assert bool(probe["note"]) == (probe["n"] == 0)
    assert run("classify", "poor-model", tmp_path / "poor")[0] == 0


@pytest.mark.parametrize("how", [("predict",), ("finetune", "--probe"), ("finetune", "--scale", "0.1")])
def test_where_no_class_has_two_images_the_probe_says_why_it_tells_nothing(run, tmp_path, tiny, how):
    images = few(tmp_path / "images", {"a": 2, "b": 1, "c": 1})
    rows = [f"{path},{path.parent.name},{'val' if path.stem == '1' else 'train'}" for path in images.rglob("*.png")]
    data = write_manifest(tmp_path / "single.csv", rows, header="path,label,split")
    name, *options = how
    code, out, err = run(name, data, *options, *tiny)
    assert code == 0, err
    assert "no class has two images, so the linear probe could not be cross-validated" in out + err


@pytest.mark.parametrize("how", [("predict",), ("finetune", "--probe"), ("finetune", "--scale", "0.1")])
def test_features_that_are_all_the_same_fall_back_with_a_note(run, task, tmp_path, how):
    options = network(tmp_path, changed=lambda name, tensor: tensor if name.startswith("fc") else tensor * 0)
    name, *given = how
    code, out, err = run(name, task, *given, *options)
    assert code == 0, err
    assert "the linear probe knows class counts alone: its features are all the same" in out + err


def test_features_that_are_not_finite_are_no_traceback_either(run, task, tmp_path):
    options = network(tmp_path, changed=lambda name, tensor: tensor * 1e38 if "bn" in name else tensor)
    code, out, err = run("finetune", task, "--probe", *options)
    assert (code, out) == (2, "")
    assert "gives features of these images that are not finite, so no linear probe can be saved: try another" in err
    assert not Path("birds-model").exists()
