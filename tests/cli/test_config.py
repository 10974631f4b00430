"""Defaults for options from `scalepred.toml`, and where every value comes from."""

import json

import pytest
import typer
from fakes import TINY, write_task
from safetensors.torch import save_file

from scalepred.cli import app
from scalepred.cli.config import commands_of, option_kinds
from scalepred.networks.architecture import build


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Go to an empty folder, with a user's folder of settings beside it; returns what writes either's file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    (tmp_path / "user" / "scalepred").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    folders = {"here": tmp_path / "here", "user": tmp_path / "user" / "scalepred"}

    def write(whose, text):
        file = folders[whose] / "scalepred.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


def shown(run, *arguments):
    """Return option -> (value, origin) as --show-config --json tells them."""
    code, out, err = run(*arguments, "--show-config", "--json")
    assert (code, err) == (0, "")
    return {name: (each["value"], each["origin"]) for name, each in json.loads(out)["options"].items()}


def test_the_command_line_goes_before_the_environment_the_folder_the_user_and_the_default(run, here, monkeypatch):
    user = here("user", '[finetune]\nwarehouse = "user.duckdb"\nseed = 1\nsplit-seed = 1\n')
    folder = here("here", '[finetune]\nwarehouse = "here.duckdb"\nseed = 2\n[all]\npredictor = "p"\n')
    monkeypatch.setenv("SCALEPRED_PREDICTOR", "q")
    options = shown(run, "finetune", "data", "--seed", "3")
    assert options["--seed"] == (3, "command line")
    assert options["--predictor"] == ("q", "environment, SCALEPRED_PREDICTOR")
    assert options["--warehouse"] == ("here.duckdb", f"{folder}, finetune.warehouse")
    assert options["--split-seed"] == (1, f"{user}, finetune.split-seed")
    assert options["--image-px"] == (None, "default")
    assert options["DATA"] == ("data", "command line")
    monkeypatch.delenv("SCALEPRED_PREDICTOR")
    assert shown(run, "finetune", "data")["--predictor"] == ("p", f"{folder}, all.predictor")


def test_a_table_of_a_command_goes_before_that_of_all_and_underscores_are_taken_too(run, here):
    file = here("here", '[all]\nlock_timeout = 5\ndevice = "cpu"\n[warehouse.status]\nlock-timeout = 7.5\n')
    assert shown(run, "warehouse", "status")["--lock-timeout"] == (7.5, f"{file}, warehouse.status.lock-timeout")
    assert shown(run, "warehouse", "verify")["--lock-timeout"] == (5.0, f"{file}, all.lock_timeout")
    assert shown(run, "predict", "data")["--device"] == ("cpu", f"{file}, all.device")


def test_a_value_for_all_goes_to_the_commands_that_take_one_of_its_type(run, here):
    here("here", '[all]\nsource = "timm/resnet18"\n[harvest]\nrecipe = ["graduated", "cosine"]\n')
    assert shown(run, "finetune")["--source"][0] == "timm/resnet18"
    assert shown(run, "harvest")["--source"] == (None, "default")
    assert shown(run, "harvest")["--recipe"][0] == ["graduated", "cosine"]


@pytest.mark.parametrize("whose", ["here", "user"])
def test_what_is_given_takes_the_place_of_what_it_excludes(run, here, whose):
    here(whose, "[finetune]\nauto = true\n[pretrain]\nwidth = 8\n")
    assert shown(run, "finetune")["--auto"][0] is True
    assert shown(run, "finetune", "--scale", "2")["--auto"] == (False, "default")
    assert shown(run, "finetune", "--probe")["--auto"] == (False, "default")
    assert shown(run, "pretrain", "--architecture", "resnet27/16")["--width"] == (None, "default")


@pytest.mark.parametrize(
    ("text", "line", "taken"),
    [
        ("[finetune]\nauto = true\njobs = 3\n", "finetune --scale 1", {"--auto": False, "--jobs": 1}),
        ("[finetune]\nauto = true\njobs = 3\n", "finetune --probe", {"--auto": False, "--jobs": 1}),
        ('[finetune]\nlog-to = ["mlflow:x"]\n', "finetune --auto --jobs 2", {"--log-to": None}),
        ("[finetune]\nscale = 2\n", "finetune --auto --jobs 2", {"--scale": None}),
        ('[finetune]\nwarehouse = "w.duckdb"\n', "finetune --probe", {"--warehouse": None}),
        ('[all]\nclass-weights = "balanced"\n', "finetune --probe", {"--class-weights": None}),
        ('[all]\nclass-depth = "2"\n', "inspect --label-pattern {label}.*", {"--class-depth": None}),
        ("[harvest]\nscale = [1]\nextend = false\n", "harvest t --octaves", {"--scale": None, "--extend": True}),
        ("[harvest]\ndraw = 9\ndraw-seed = 1\n", "harvest t --image-px 64", {"--draw": None, "--draw-seed": None}),
        ("[harvest]\nseeds = 2\nimage-px = 64\n", "harvest t --draw 9", {"--seeds": None, "--image-px": None}),
    ],
)
def test_of_all_options_that_exclude_each_other_the_nearest_holds(run, here, text, line, taken):
    file = here("here", text)
    before, after = shown(run, line.split()[0]), shown(run, *line.split())
    assert all(before[name][1].startswith(str(file)) for name in taken)
    assert {name: after[name] for name in taken} == {name: (value, "default") for name, value in taken.items()}


def test_a_form_of_output_takes_the_place_of_that_in_the_file(run, here, tmp_path):
    here("here", "[all]\njson = true\n")
    (tmp_path / "here" / "model").mkdir()
    for option in ("--csv", "--json-lines"):
        code, _, err = run("classify", "model", "image.jpg", option)
        assert (code, "model can't be read as a model" in err) == (5, True)
    code, _, err = run("warehouse", "query", "SELECT 1 AS one", "--csv", "--warehouse", "w.duckdb")
    assert (code, "--csv" in err) == (3, False)  # there is no warehouse


def test_a_default_that_is_given_excludes_nothing(run, here):
    here("user", "[finetune]\nscale = 2\n")
    here("here", "[finetune]\nauto = false\njobs = 1\n")
    assert shown(run, "finetune")["--scale"][0] == 2.0
    assert shown(run, "finetune", "--jobs", "1")["--scale"][0] == 2.0


def test_an_option_is_called_in_the_file_what_it_is_called_on_the_command_line(run, here):
    file = here("here", '[export]\nformat = "timm"\nimages = ["a", "b"]\n')
    options = shown(run, "export", "model")
    assert options["--format"] == ("timm", f"{file}, export.format")
    assert options["--images"] == (["a", "b"], f"{file}, export.images")
    assert shown(run, "export", "model", "--format", "onnx")["--format"] == ("onnx", "command line")
    for names, function in commands_of(app):
        command = typer.main.get_command(app)
        for name in names:
            command = command.commands[name]
        called = {each.name: each.opts for each in command.params}
        assert all(f"--{name.replace('_', '-')}" in called[name] for name in option_kinds(function)), names


def test_the_folder_takes_the_place_of_what_it_excludes_of_the_users(run, here):
    here("user", "[finetune]\nauto = true\n")
    here("here", "[finetune]\nscale = 2\n")
    options = shown(run, "finetune")
    assert (options["--auto"], options["--scale"][0]) == ((False, "default"), 2.0)


def test_all_that_is_wrong_with_a_file_is_one_error(run, here):
    text = '[finetune]\nsauce = "x"\nseed = 1.5\njson = "no"\n[inspect]\nlook = 1\n[foo]\n[warehouse]\nstatus = 3\n'
    file = here("here", text)
    code, out, err = run("inspect", "data")
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[0] == f"scalepred: {file} can't be used:"
    assert lines[1].startswith("  - finetune.sauce: there is no such option; there are auto, checkpoint-seconds, ")
    assert lines[2:4] == [
        "  - finetune.seed must be a whole number, not 1.5",
        "  - finetune.json must be true or false, not 'no'",
    ]
    assert lines[4] == (
        "  - inspect.look: there is no such option; there are class-depth, exclude-class, group, group-pattern, "
        "image-column, image-folder, json, label-column, label-pattern, max-megapixels, min-images, save-manifest, "
        "split-seed, strict"
    )
    assert lines[5].startswith(
        "  - foo: there is no such table; there are all, classify, demo, evaluate, export, finetune, "
    )
    assert lines[6:] == ["  - warehouse.status must be a table, such as [warehouse.status]"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[finetune\n", "is no TOML in UTF-8: Expected ']'"),
        ("seed = 1\n", "seed: there is no such table; there are all, classify"),
        ("[finetune]\nseed = true\n", "finetune.seed must be a whole number, not True"),
        ("[finetune]\nrefit = 1\n", "finetune.refit must be true or false, not 1"),
        ("[harvest]\nsource = 'a'\n", "harvest.source must be a list, each a text, not 'a'"),
        ("[all]\nsauce = 1\n", "all.sauce: there is no such option; there are address, "),
        ("[finetune]\ndata = 'x'\n", "finetune.data: there is no such option"),
        ("[finetune]\nshow-config = true\n", "finetune.show-config: there is no such option"),
        ("[finetune]\nseed = -1\n", "finetune.seed: "),
        ("[finetune.seed]\nx = 1\n", "finetune.seed must be a whole number, not {'x': 1}"),
    ],
)
def test_what_a_file_gets_wrong_is_told_with_its_path(run, here, text, words):
    file = here("here", text)
    code, out, err = run("finetune", "data", "--auto")
    assert (code, out) == (2, "")
    assert str(file) in err
    assert words in err


def test_a_file_that_can_not_be_read_is_told(run, here):
    file = here("here", "")
    file.write_bytes(b"\xff\xfe")
    code, _, err = run("sources")
    assert code == 2
    assert f"scalepred: {file} is no TOML in UTF-8: " in err


def test_a_file_says_nothing_of_help_and_version(run, here):
    here("here", "nonsense")
    assert run("--version")[0] == 0
    assert run("--help")[0] == 0


def test_showing_needs_no_data_and_does_nothing(run, here):
    code, out, err = run("pretrain", "--show-config")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[:3]] == ["option", "DATA", "--name"]
    assert run("pretrain")[0] == 2


def test_a_wrong_value_on_the_command_line_is_one_when_showing_too(run, here):
    assert run("finetune", "--seed", "x", "--show-config")[0] == 2


@pytest.mark.slow
def test_a_finetune_takes_its_defaults_from_the_file_and_says_so(run, here, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    save_file(build(TINY).network.state_dict(), "tiny.safetensors")
    write_task(tmp_path / "birds")
    text = f'[all]\nsource = "{TINY}"\nweights = "tiny.safetensors"\ndevice = "cpu"\nimage-px = 32\n'
    file = here("here", f"{text}[finetune]\nauto = true\ntrain-on = 'train'\n")
    code, out, err = run("finetune", tmp_path / "birds", "--scale", "1", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["trained_on"] == "train"
    assert json.loads(out)["choice"]["by"] == "given"
    assert err.splitlines()[0] == f"from {file}: --source, --weights, --device, --image-px, --train-on"
