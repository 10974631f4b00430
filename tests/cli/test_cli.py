"""The real command line, on real images, with the real pretrained weights."""

import importlib.util
import io
import json
import sys
from importlib import metadata
from pathlib import Path

import duckdb
import numpy as np
import pytest
from fakes import curve_table
from PIL import Image
from safetensors.torch import save_file

from scalepred.data.digits import write_digits
from scalepred.harvest.local_engine import LocalEngine
from scalepred.job.folder import _sealed
from scalepred.job.output import default_output
from scalepred.job.places import shipped_predictor
from scalepred.networks.architecture import build
from scalepred.networks.names import PACKAGED
from scalepred.predictor.artifact import save
from scalepred.predictor.train import train
from scalepred.recipe import GRID

QUICK = {"epochs": 1, "image_px": 32, "batch_size": 16}


@pytest.fixture(autouse=True)
def _no_user_folders(monkeypatch, tmp_path):
    """Keep the tests away from the user's own warehouse and predictor."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    for name in ("SCALEPRED_WAREHOUSE", "SCALEPRED_PREDICTOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.json"
    path.write_text(json.dumps(QUICK))
    return path


def make_task(folder, *, classes=("dark", "light"), n=6, seed=0):
    """Write noisy images whose brightness tells the class."""
    rng = np.random.default_rng(seed)
    for level, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(n):
            pixels = rng.integers(0, 80, (24, 24, 3)) + level * 150 // max(1, len(classes) - 1)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index}.png")
    return folder


def test_version_is_printed(run):
    assert run("--version") == (0, "scalepred 0.1.0\n", "")


def test_a_checkout_that_was_never_installed_works(run, monkeypatch, tmp_path, quick):
    real = metadata.distribution

    def installed(name):
        if name == "scalepred":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "distribution", installed)
    task = make_task(tmp_path / "task")
    code, _, err = run("finetune", task, "--auto", "--recipe", quick, "--output", tmp_path / "model")
    assert code == 0, err


def test_finetune_takes_exactly_one_of_auto_scale_and_probe(run, tmp_path):
    words = (
        "scalepred: Give one of --auto, to have the scale predicted, --scale X, to choose it, or --probe, to finetune "
        "nothing.\n"
    )
    for given in ((), ("--auto", "--scale", "1"), ("--auto", "--probe"), ("--scale", "1", "--probe")):
        assert run("finetune", tmp_path, *given) == (2, "", words)


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf"])
def test_a_scale_that_is_none_is_refused(run, tmp_path, scale):
    code, _, err = run("finetune", make_task(tmp_path / "task"), "--scale", scale)
    assert code == 2
    assert "A scale is a finite number above 0" in err


def test_a_dtype_that_is_none_is_refused(run, tmp_path):
    words = "scalepred: --dtype must be one of auto, float32, bfloat16, not 'half'.\n"
    assert run("harvest", tmp_path, "--dtype", "half") == (2, "", words)


def test_data_that_is_not_there_is_bad_data(run, tmp_path):
    code, out, err = run("finetune", tmp_path / "none", "--auto")
    assert (code, out) == (3, "")
    assert (
        err
        == f"scalepred: There is nothing at {tmp_path / 'none'}: give a folder of class folders or a CSV manifest.\n"
    )


def test_one_class_is_refused_before_any_training(run, tmp_path):
    code, _, err = run("finetune", make_task(tmp_path / "task", classes=("only",)), "--auto")
    assert code == 3
    assert "at least two classes with images are needed" in err
    assert not Path("task-model").exists()


def test_inspect_lists_classes_splits_and_what_was_skipped(run, tmp_path):
    task = make_task(tmp_path / "task", classes=("=1+1", "[red]\n🐈"), n=10)
    (task / "=1+1" / "broken.jpg").write_text("no image")
    code, out, _ = run("inspect", task, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["classes"] == {"=1+1": 10, "[red]\n🐈": 10}
    assert sum(document["splits"].values()) == 20
    assert [each["path"] for each in document["skipped"]] == [str(task / "=1+1" / "broken.jpg")]
    assert "not an image" in document["skipped"][0]["reason"]


def test_a_finetune_tells_once_what_many_files_are_skipped_for(run, tmp_path, quick):
    task = make_task(tmp_path / "task", n=10)
    for n in range(5):
        (task / "dark" / f"{n:02}.heic").write_bytes(b"")
    (task / "light" / "cut.png").write_text("no image")
    options = ("--scale", "1", "--recipe", quick, "--output", tmp_path / "model")
    code, _, err = run("finetune", task, *options)
    assert code == 0, err
    lines = err.splitlines()
    at = lines.index("skipped: 6")
    assert lines[at + 1].startswith(f"  5 paths, such as {task / 'dark' / '00.heic'}: empty")
    assert lines[at + 2].startswith(f"  {task / 'light' / 'cut.png'}: not an image")
    assert lines[at + 3] == "  `scalepred inspect` lists them all"
    assert run("inspect", task)[1].count(".heic: empty") == 5


def test_inspect_shows_nasty_names_without_obeying_them(run, tmp_path):
    task = make_task(tmp_path / "task", classes=("[red]x", "a\x1b[31mb"))
    code, out, _ = run("inspect", task)
    assert code == 0
    assert "[red]x" in out
    assert "\x1b[31mb" not in out


def test_inspect_says_what_is_wrong_and_still_prints_its_document(run, tmp_path):
    code, out, err = run("inspect", make_task(tmp_path / "task", classes=("only",)), "--json")
    assert code == 3
    assert json.loads(out)["classes"] == {"only": 6}
    assert "at least two classes" in err
    assert run("inspect", tmp_path / "task")[1].startswith("class folders: 6 images of 1 class (")
    single = make_task(tmp_path / "single", classes=("only",), n=1)
    assert run("inspect", single)[1].startswith("class folders: 1 image of 1 class (")


def test_sources_shows_five_stages_and_a_head(run):
    code, out, _ = run("sources", "efficientnet_lite0", "--json")
    stages = json.loads(out)["stages"]
    assert code == 0
    assert [stage["stage"] for stage in stages] == ["conv1", "conv2", "conv3", "conv4", "conv5", "head"]
    assert [stage["rate_at_scale_1"] for stage in stages] == pytest.approx([0, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3])
    assert sum(stage["n_parameters"] for stage in stages) == json.loads(out)["n_parameters"]
    _, out, _ = run("sources", "efficientnet_lite0", "--recipe", "graduated", "--json")
    rates = [stage["rate_at_scale_1"] for stage in json.loads(out)["stages"]]
    assert rates == [0, 0.001, 0.002, 0.004, 0.008, 0.016]


def test_an_unknown_source_is_refused_with_the_names_that_there_are(run):
    code, _, err = run("sources", "resnet")
    assert code == 2
    assert f"No source 'resnet': give {', '.join(PACKAGED)}, timm/<name>, torchvision/<name>, or a folder" in err


def test_a_missing_warehouse_is_named_with_the_next_step(run, tmp_path):
    code, _, err = run("train-predictor", "--warehouse", tmp_path / "none.duckdb")
    assert code == 3
    assert err == (
        f"scalepred: There is no warehouse at {tmp_path / 'none.duckdb'}: "
        "fill one with `scalepred harvest`, or import a snapshot.\n"
    )


def test_predict_says_what_it_would_choose_and_why(run, tmp_path):
    code, out, _ = run("predict", make_task(tmp_path / "task", n=12), "--json")
    document = json.loads(out)
    assert code == 0
    assert {"scale", "by", "reason", "fixed_scale", "curve", "features"} <= set(document)
    assert document["by"] in ("predicted", "fallback")
    assert document["scale"] in GRID
    assert all(set(point) == {"scale", "relative_accuracy"} for point in document["curve"])
    assert document["features"]["n_classes"] == 2


@pytest.mark.slow
def test_predict_shows_and_draws_the_loss_along_the_first_update(run, tmp_path):
    task, plot = make_task(tmp_path / "task", n=12), tmp_path / "line.svg"
    code, out, _ = run("predict", task, "--image-px", "32", "--verbose", "--plot", plot)
    assert code == 0
    assert "the first update at a new head, followed; loss " in out
    assert "the first update at the fitted head, shrunk half way, followed; loss " in out
    assert out.count("back where it was: the critical rate") == 2
    assert "learning rates (recipe frozen-statistics-32): conv1 0, " in out
    assert "at a new head" in plot.read_text()
    refused = run("predict", task, "--plot", tmp_path / "line.png")
    assert refused[0] == 2
    assert "A plot is an SVG file, not" in refused[2]


@pytest.mark.slow
def test_uneven_classes_are_told_and_class_weights_and_resize_change_the_recipe(run, tmp_path, quick):
    task = make_task(tmp_path / "task", n=24)
    for path in sorted((task / "light").iterdir())[2:]:
        path.unlink()
    told = "the classes are uneven: 'dark' has 24 images and 'light' 2; --class-weights balanced has all of them"
    assert told in run("inspect", task)[1]
    assert told in run("predict", task, "--recipe", quick)[2]
    options = ("--scale", "1", "--recipe", quick, "--output")
    changes = ("--class-weights", "balanced", "--resize", "pad")
    code, _, err = run("finetune", task, *options, tmp_path / "model", *changes)
    assert code == 0, err
    assert told in err
    assert "learning rates (recipe quick-pad-balanced)" in err
    saved = json.loads((tmp_path / "model" / "scalepred.json").read_text())
    assert (saved["recipe"]["class_weights"], saved["recipe"]["resize"], saved["resize"]) == ("balanced", "pad", "pad")
    refused = run("finetune", task, *options, tmp_path / "other", "--class-weights", "even")
    assert (refused[0], "class_weights must be one of none, balanced, not 'even'" in refused[2]) == (2, True)
    words = "A linear probe weighs all images alike: leave out --class-weights"
    assert words in run("finetune", task, "--probe", "--class-weights", "balanced")[2]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="needs tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the library itself
def test_a_finetune_is_logged_where_it_is_asked_for(run, tmp_path, quick):
    task, logs = make_task(tmp_path / "task", n=12), tmp_path / "logs"
    options = ("--scale", "1", "--recipe", quick, "--output", tmp_path / "model")
    code, _, err = run(
        "finetune", task, *options, "--log-to", f"tensorboard:{logs}", "--log-to", f"tensorboard:{logs}2"
    )
    assert code == 0, err
    assert [len(list(folder.rglob("events.*"))) for folder in (logs, tmp_path / "logs2")] == [1, 1]
    refused = run("finetune", task, *options, "--log-to", "wandb:x")
    assert refused == (2, "", "scalepred: log_to must be tensorboard:FOLDER or mlflow:URI, not 'wandb:x'.\n")


@pytest.mark.slow
def test_predict_splits_as_the_finetune_that_it_previews(run, tmp_path):
    task = make_task(tmp_path / "task", n=12)
    first, other = (
        json.loads(run("predict", task, "--split-seed", seed, "--image-px", "32", "--json")[1])["features"]
        for seed in (0, 1)
    )
    assert first != other


@pytest.mark.slow
def test_a_predictor_that_has_not_met_the_source_leaves_it_to_the_one_that_ships(run, tmp_path):
    task, users = make_task(tmp_path / "task"), tmp_path / "user" / "scalepred" / "predictor"
    save(train(curve_table(3)), users)
    code, out, err = run("predict", task, "--json")
    assert code == 0, err
    why = f", which ships, since your own at {users} has not met this source"
    assert f"predictor: {shipped_predictor()}{why}\n" in err
    assert json.loads(out)["scale"] == 4
    code, out, err = run("predict", task, "--predictor", users, "--json")
    assert (code, json.loads(out)["by"]) == (0, "rule")
    assert f"predictor: {users}\n" in err
    assert "nothing was harvested with this source and recipe" in json.loads(out)["reason"]


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_job_does_not_touch_a_folder_of_other_files(run, tmp_path, overwrite):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    code, _, err = run(
        "finetune", make_task(tmp_path / "task"), "--scale", "1", "--output", tmp_path / "mine", *overwrite
    )
    assert code == 2
    assert "holds no model of scalepred, but has README.md already" in err


def test_a_job_is_not_done_for_a_warehouse_that_can_not_be(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("finetune", make_task(tmp_path / "task"), "--scale", "1", "--warehouse", ".")
    assert (code, "The warehouse . names no file" in err, list(tmp_path.glob("*-model"))) == (2, True, [])


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A folder with what is no warehouse, where nothing can be trained."""
    for place in ("scalepred.training.bundle.finetune", "scalepred.harvest.harvest.meet_first_worker"):
        monkeypatch.setattr(place, None)
    room = tmp_path / "room"
    (room / "folder").mkdir(parents=True)
    for name in ("notes.txt", "data.json", "taken.journal"):
        (room / name).write_text('{"mine": 1}')
    with duckdb.connect(str(room / "other.duckdb")) as database:
        database.execute("CREATE TABLE mine (x INTEGER)")
    return room


@pytest.mark.parametrize("command", [["finetune", "--scale", "1"], ["harvest"]], ids=["finetune", "harvest"])
@pytest.mark.parametrize(
    ("name", "code_and_words"),
    [
        ("notes.txt", (5, "{} can't be used as a warehouse: It is no DuckDB database. ")),
        ("data.json", (5, "{} can't be used as a warehouse: It is no DuckDB database. ")),
        ("other.duckdb", (5, "{} is a DuckDB database, but not a warehouse: give another path.\n")),
        ("folder", (2, "{} is no file, so it can't be a warehouse: give another path with --warehouse.\n")),
        (
            "notes.txt/w.duckdb",
            (2, "The warehouse {} can't be read or written: Not a directory. What is stored stays "),
        ),
        ("taken.duckdb", (2, "The journal {0.parent}/taken.journal can't be written: Not a directory. ")),
    ],
)
def test_what_can_be_no_warehouse_is_refused_before_anything_is_done_or_made(run, room, command, name, code_and_words):
    code, words = code_and_words
    before = {path: path.read_bytes() for path in room.rglob("*") if path.is_file()}
    task = make_task(room.parent / "task")
    refused, out, err = run(*command, task, "--warehouse", room / name)
    assert (refused, out) == (code, "")
    assert err.startswith("scalepred: " + words.format(room / name))
    assert {path: path.read_bytes() for path in room.rglob("*") if path.is_file()} == before
    assert list(Path.cwd().glob("task-model*")) == []


def test_a_predictor_is_not_put_into_a_folder_of_other_files(run, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    code, _, err = run("train-predictor", "--warehouse", tmp_path / "none.duckdb", "--output", tmp_path)
    assert code == 2
    assert "holds no predictor of scalepred, but has README.md already" in err


def test_a_model_is_called_after_its_data(tmp_path, monkeypatch):
    for name in ("photos.v1", "photos.v2", "St. Louis", "a:b"):
        (tmp_path / name).mkdir()
    (tmp_path / "list.v1.csv").touch()
    monkeypatch.chdir(tmp_path)
    names = ("photos.v1", "photos.v2/", "./St. Louis", "a:b", "list.v1.csv", "torchvision:CIFAR10", "none.v1")
    assert [str(default_output(name)) for name in names] == [
        "photos.v1-model",
        "photos.v2-model",
        "St. Louis-model",
        "a:b-model",
        "list.v1-model",
        "CIFAR10-model",
        "none-model",
    ]


@pytest.mark.parametrize(("current", "data"), [(".", "."), ("dark", ".."), ("dark", "../../task.v1")])
def test_a_model_lies_beside_data_that_the_current_folder_is_in(tmp_path, monkeypatch, current, data):
    monkeypatch.chdir(make_task(tmp_path / "task.v1") / current)
    assert default_output(data) == tmp_path / "task.v1-model"


@pytest.mark.parametrize("output", ["", "model", "dark/model", "../task/model"])
def test_a_model_is_not_put_into_its_data(run, tmp_path, monkeypatch, output):
    task = make_task(tmp_path / "task")
    monkeypatch.chdir(task)
    code, _, err = run("finetune", ".", "--scale", "1", "--output", task / output)
    assert code == 2
    assert err == (
        f"scalepred: {task / output} lies in the data at {task}, and would be taken for a class there: "
        "give an --output outside of it.\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", [("predict",), ("finetune", "--auto"), ("finetune", "--scale", "1")])
def test_a_network_of_another_size_is_refused_with_the_next_step(run, tmp_path, command):
    task, weights = make_task(tmp_path / "task"), tmp_path / "w.safetensors"
    save_file(build("timm/vit_tiny_patch16_224").network.state_dict(), weights)
    name, *options = command
    arguments = (task, *options, "--source", "timm/vit_tiny_patch16_224", "--weights", weights)
    code, _, err = run(name, *arguments)
    assert code == 2
    assert "timm/vit_tiny_patch16_224 can't take images of 128 px" in err
    assert "it was made for 224: give --image-px" in err


def test_a_name_that_stdout_can_not_hold_is_shown_as_escapes(run, tmp_path, monkeypatch):
    task, stdout = make_task(tmp_path / "task", classes=("caf\u00e9", "\u732b")), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stdout, encoding="latin-1"))
    code, _, err = run("inspect", task)
    assert code == 0, err
    sys.stdout.flush()
    assert "caf\u00e9" in stdout.getvalue().decode("latin-1")
    assert "\\u732b" in stdout.getvalue().decode("latin-1")


@pytest.mark.slow
def test_images_that_are_skipped_are_told(run, tmp_path, quick):
    task, model, empty = make_task(tmp_path / "task"), tmp_path / "model", tmp_path / "empty"
    assert run("finetune", task, "--scale", "1", "--recipe", quick, "--output", model)[0] == 0
    (task / "dark" / "again.png").symlink_to("0.png")
    (task / "dark" / "gone.png").symlink_to("nowhere")
    code, out, err = run("classify", model, task / "dark", "--json")
    assert code == 0
    assert len(json.loads(out)["images"]) == 6
    assert json.loads(out)["skipped"] == [
        {"path": str(task / "dark" / "again.png"), "reason": f"the same as {task / 'dark' / '0.png'}"},
        {"path": str(task / "dark" / "gone.png"), "reason": "link to nothing"},
    ]
    assert f"skipped: {task / 'dark' / 'gone.png'}: link to nothing\n" in err
    empty.mkdir()
    assert run("classify", model, empty) == (
        3,
        "",
        f"skipped: {empty}: it has no images\nscalepred: There are no images to classify.\n",
    )


@pytest.mark.slow
def test_a_job_at_a_given_scale_saves_a_model_that_classifies(run, tmp_path, quick):
    task, model = make_task(tmp_path / "task", n=20), tmp_path / "model"
    code, out, err = run("finetune", task, "--scale", "2", "--recipe", quick, "--output", model, "--json")
    job = json.loads(out)
    assert code == 0, err
    assert job["schema"] == 2
    assert job["choice"]["scale"] == 2
    assert job["choice"]["by"] == "given"
    assert set(job["seconds"]) == {"scan", "features", "train", "evaluate", "total"}
    assert {key: job["metrics"][key] for key in ("n_train", "n_val", "n_test")} == {
        "n_train": 32,
        "n_val": 0,
        "n_test": 8,
    }
    assert Path(job["output"]) == model
    files = {path.name for path in model.iterdir()}
    about = {"config.json", "scalepred.json", "classes.json", "metrics.json", "run.json", "README.md"}
    of_images = {"none_of_these.safetensors", "training_images.safetensors"}
    assert files == {"model.safetensors", "report.html", *of_images, *about}
    code, out, _ = run("classify", model, task / "light", "--json")
    assert code == 0
    assert len(json.loads(out)["images"]) == 20
    assert {each["label"] for each in json.loads(out)["images"]} <= {"dark", "light"}


@pytest.mark.slow
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_classify_sees_the_images_as_the_job_that_scored_them_did(run, tmp_path, resize):
    task, model, recipe = make_wide_task(tmp_path / "task"), tmp_path / "model", tmp_path / "mine.json"
    recipe.write_text(json.dumps({"steps": 5, "image_px": 32, "batch_size": 8, "resize": resize, "base_lr": 0.01}))
    code, out, err = run("finetune", task, "--scale", "1", "--recipe", recipe, "--output", model, "--json")
    assert code == 0, err
    metrics = json.loads(out)["metrics"]
    assert losses_of(run, model, task / "test", 12) == pytest.approx(
        (metrics["test_loss"], metrics["test_accuracy"]), rel=1e-4
    )
    for other in {"squash", "crop", "pad"} - {resize}:  # the way matters: by another one the loss is another
        pretend(model, other)
        assert losses_of(run, model, task / "test", 12)[0] != pytest.approx(metrics["test_loss"], rel=1e-3)


def make_wide_task(folder):
    """Write noisy wide images of two classes, split by folders; the class shows in the middle third alone."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 10), ("val", 3), ("test", 6)):
        for level, name in enumerate(("dark", "light")):
            (folder / split / name).mkdir(parents=True)
            for index in range(n):
                pixels = rng.integers(0, 250, (40, 120, 3))
                pixels[:, 40:80] = pixels[:, 40:80] // 4 + 150 * level
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{index}.png")
    return folder


def losses_of(run, model, folder, n):
    """Return mean cross-entropy and accuracy of what classify says of a folder's n images, at temperature 1."""
    code, out, err = run("classify", model, folder, "--json")
    assert code == 0, err
    images = json.loads(out)["images"]
    assert len(images) == n
    temperature = json.loads((model / "scalepred.json").read_text())["temperature"]
    right = [
        (
            Path(image["path"]).parent.name,
            {each["label"]: each["probability"] ** temperature for each in image["ranking"]},
        )
        for image in images
    ]
    loss = -np.mean([np.log(shares[name] / sum(shares.values())) for name, shares in right])
    return loss, np.mean([max(probabilities, key=probabilities.get) == name for name, probabilities in right])


def pretend(model, resize):
    """Have a model's folder say that its images became squares in another way."""
    facts = json.loads((model / "scalepred.json").read_text()) | {"resize": resize}
    (model / "scalepred.json").write_text(json.dumps(_sealed(facts, model)))


@pytest.mark.slow
def test_a_model_is_not_overwritten_unless_asked(run, tmp_path, quick):
    task, model = make_task(tmp_path / "task"), tmp_path / "model"
    arguments = ("finetune", task, "--scale", "1", "--recipe", quick, "--output", model)
    assert run(*arguments)[0] == 0
    before = (model / "model.safetensors").read_bytes()
    code, _, err = run(*arguments, "--seed", "1")
    assert code == 2
    assert err == f"scalepred: {model} holds a model already: give another --output, or --overwrite to replace it.\n"
    assert (model / "model.safetensors").read_bytes() == before
    assert run(*arguments, "--seed", "1", "--overwrite")[0] == 0
    assert (model / "model.safetensors").read_bytes() != before


def test_recipes_of_the_same_name_are_refused(run, tmp_path, quick):
    task, other = make_task(tmp_path / "task"), tmp_path / "other" / "quick.json"
    other.parent.mkdir()
    other.write_text(quick.read_text())
    words = f"scalepred: --recipe {quick} and --recipe {other} have the same name: rename one of the files.\n"
    assert run("harvest", task, "--recipe", quick, "--recipe", quick, "--recipe", other) == (2, "", words)


@pytest.mark.slow
def test_a_harvest_takes_several_folders_and_each_task_once_and_a_plan_leaves_no_worker(
    run, tmp_path, quick, monkeypatch
):
    stopped, stop = [], LocalEngine.stop
    monkeypatch.setattr(LocalEngine, "stop", lambda self: stopped.append(len(self._workers)) or stop(self))
    for number, place in enumerate(("tasks/a", "tasks/b", "other")):
        make_task(tmp_path / place, seed=number)
    places = (tmp_path / "tasks", tmp_path / "other", tmp_path / "tasks" / "a")
    code, out, err = run(
        "harvest", *places, "--recipe", quick, "--warehouse", tmp_path / "wh.duckdb", "--dry-run", "--json"
    )
    assert (code, json.loads(out)["planned"], stopped) == (0, 36, [1]), err


@pytest.mark.slow
def test_three_commands_lead_from_tasks_to_a_predicted_scale(run, tmp_path, quick):
    for number in range(8):
        make_task(tmp_path / "tasks" / f"task{number}", n=8 + number, seed=number)
    warehouse = tmp_path / "wh.duckdb"
    harvest = ("harvest", tmp_path / "tasks", "--recipe", quick, "--warehouse", warehouse)
    code, out, err = run(*harvest, "--json")
    assert code == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert (summary["planned"], summary["diverged"]) == (96, 0)
    assert summary["done"] == len(out.splitlines()) - 1 >= 96
    code, out, _ = run(*harvest, "--json")
    assert json.loads(out)["planned"] == 0
    assert json.loads(out)["stored_before"] == 96  # of the grid
    with duckdb.connect(str(warehouse), read_only=True) as database:
        query = "SELECT count(*), count(DISTINCT run_id), count(*) FILTER (role = 'grid') FROM runs"
        assert database.execute(query).fetchone() == (summary["done"], summary["done"], 96)
    assert run("warehouse", "verify", "--warehouse", warehouse)[0] == 0

    code, out, err = run("train-predictor", "--warehouse", warehouse, "--json")
    trained = json.loads(out)
    assert code == 0, err
    assert trained["predicts"]
    (group,) = trained["evaluation"]["groups"]
    assert group["n_origins"] == 8
    assert [row["method"] for row in group["rows"]][:2] == ["predicted scale", "best fixed scale"]
    (probe,) = trained["probes"]
    assert (probe["n_tasks"], probe["n_origins"], probe["recipe_id"]) == (8, 8, group["recipe_id"])
    assert "## Linear probe or finetune" in Path(trained["output"], "README.md").read_text(encoding="utf-8")

    new = make_task(tmp_path / "new", n=9, seed=99)
    arguments = ("--auto", "--recipe", quick, "--output", tmp_path / "model", "--warehouse", warehouse, "--json")
    code, out, err = run("finetune", new, *arguments)
    job = json.loads(out)
    assert code == 0, err
    assert job["choice"]["by"] == "own runs"
    assert job["choice"]["reason"].startswith("8 tasks of this source and recipe did best at ")
    assert job["choice"]["fixed_scale"] in GRID
    with duckdb.connect(str(warehouse), read_only=True) as database:
        kept = database.execute('SELECT scale, "by", val_accuracy FROM predictions').fetchall()
    assert kept == [(job["choice"]["scale"], job["choice"]["by"], job["metrics"]["val_accuracy"])]


@pytest.mark.slow
def test_the_default_path_needs_no_network(run, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f"reached for the network: {arguments}")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    recipe = tmp_path / "short.json"
    recipe.write_text('{"epochs": 1, "batchnorm": "frozen"}', encoding="utf-8")
    task, output = make_task(tmp_path / "task"), tmp_path / "model"
    code, out, err = run("finetune", task, "--auto", "--recipe", recipe, "--output", output, "--json")
    assert code == 0, err
    assert json.loads(out)["output"] == str(output)


def test_sources_of_several_default_recipes_are_harvested_with_a_given_one_alone(run, tmp_path):
    domain = tmp_path / "domain"
    domain.mkdir()
    (domain / "source.json").write_text("{}", encoding="utf-8")
    sources = ("--source", "efficientnet_lite0", "--source", domain)
    code, _, err = run("harvest", make_task(tmp_path / "task"), *sources, "--dry-run")
    assert code == 2
    assert "These sources have different recipes by default, cosine and frozen-statistics-128: give --recipe." in err


@pytest.mark.slow
def test_with_too_few_tasks_the_best_fixed_scale_is_kept_and_used(run, tmp_path, quick):
    task, warehouse, predictor = make_task(tmp_path / "task"), tmp_path / "wh.duckdb", tmp_path / "predictor"
    assert run("harvest", task, "--recipe", quick, "--warehouse", warehouse)[0] == 0
    code, out, _ = run("train-predictor", "--warehouse", warehouse, "--output", predictor)
    assert code == 0
    assert "too few origins to predict from: 1, and 8 are needed." in out
    assert "Where a source and recipe have 30 tasks or fewer, these move the rule's scale" in " ".join(out.split())
    assert "these move the rule's scale" in (predictor / "README.md").read_text(encoding="utf-8")
    code, out, _ = run("predict", task, "--recipe", quick, "--predictor", predictor, "--json")
    assert code == 0
    assert json.loads(out)["by"] == "own runs"
    assert json.loads(out)["reason"].startswith("1 task of this source and recipe did best at ")
    around = json.loads(out)["outlook"]
    assert around["lowest"] <= json.loads(out)["scale"] <= around["highest"]
    assert len(around["nearest"]) == 3


@pytest.mark.slow
def test_images_of_another_size_are_harvested_predicted_for_and_finetuned_on(run, tmp_path, quick):
    task, warehouse, predictor = make_task(tmp_path / "task"), tmp_path / "wh.duckdb", tmp_path / "predictor"
    assert run("harvest", task, "--recipe", quick, "--image-px", "40", "--warehouse", warehouse)[0] == 0
    with duckdb.connect(str(warehouse), read_only=True) as database:
        rows = database.execute("SELECT name, json FROM recipes ORDER BY name").fetchall()
    assert {json.loads(text)["image_px"] for _, text in rows} == {40}
    assert Path(quick).stem + "-40" in {name for name, _ in rows}
    assert run("train-predictor", "--warehouse", warehouse, "--output", predictor)[0] == 0
    asked = ("--recipe", quick, "--image-px", "48", "--predictor", predictor, "--json")
    code, out, err = run("predict", task, *asked)
    assert code == 0, err
    assert json.loads(out)["reason"].endswith(", the best fixed scale of 1 task at 40 px, is a guess")
    assert json.loads(out)["features"]["recipe_image_px"] == 48
    code, out, err = run("finetune", task, "--auto", *asked, "--output", tmp_path / "model")
    assert code == 0, err
    assert json.loads((tmp_path / "model" / "scalepred.json").read_text(encoding="utf-8"))["image_px"] == 48


@pytest.mark.slow
def test_the_demo_goes_the_whole_way(run, tmp_path, quick, monkeypatch):
    few = write_digits
    monkeypatch.setattr("scalepred.data.digits.write_digits", lambda folder: few(folder, last=40))
    code, out, err = run("demo", tmp_path / "demo", "--json")
    assert code == 0, err
    shown = json.loads(out)
    assert shown["choice"] is None  # of so few images, the linear probe is expected to be the better model
    assert shown["probe"]["expected"]["is_better"] is True
    assert f"scalepred classify {tmp_path / 'demo' / 'model'}" in err
