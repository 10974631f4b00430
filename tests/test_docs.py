"""The documents tell the truth: their examples run, their links lead somewhere, their lists are those of the code."""

import ast
import dataclasses
import importlib.util
import inspect
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import test_house
import typer
from fakes import named_source, write_task
from image_files import save
from manifest_files import write_examples
from PIL import Image
from safetensors.torch import save_file
from wide_points import records_of, wide_points

import scalepred
from scalepred import errors
from scalepred.cli import app
from scalepred.data.digits import write_digits
from scalepred.data.unpack import LIMITS
from scalepred.networks.architecture import build
from scalepred.recipe import RECIPES, Recipe
from scalepred.store.warehouse import open_warehouse
from scalepred.training.loop import finetune

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
MOST_LINES = 150
"""Of the README, which is for somebody with five minutes."""
TINY = ("--source", "timm/test_resnet", "--weights", "tiny.safetensors", "--recipe", "quick.json")
"""A network and a recipe that take no time."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def commands(page: Path) -> list[list[str]]:
    """Return the arguments of every line of a block, fenced or indented, that calls scalepred, in their order."""
    found, in_fence = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        in_fence ^= line.startswith("```")
        if re.match("scalepred " if in_fence else "    scalepred ", line):
            found.append(shlex.split(line, comments=True)[1:])
    return found


def parse(arguments: list[str]) -> typer.Context:
    """Parse a command line without running it."""
    command, words = typer.main.get_command(app), list(arguments)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    return command.make_context("scalepred", words)


def all_parameters(command=None) -> Iterator[object]:
    """Yield the parameters of all commands."""
    command = command or typer.main.get_command(app)
    yield from command.params
    for below in getattr(command, "commands", {}).values():
        yield from all_parameters(below)


def column(name: str, heading: str, *, at: int = 0) -> list[str]:
    """Return a column of a page's table, found by its first heading, without backticks."""
    table = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[-|: ]+\|\n((?:\|.*\n)+)", text_of(name), re.MULTILINE)
    assert table, f"{name} has no table of {heading}"
    return [row.strip("|").split("|")[at].strip(" `") for row in table[1].splitlines()]


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


LINES = [(page.name, line) for page in PAGES for line in commands(page)]
ELSEWHERE = {"torchvision:CIFAR10", "my_source"}
"""Needs a network, and is made by an earlier command."""
LOOKING = {shlex.join(line): line for _, line in LINES if line[0] in ("inspect", "sources") and not ELSEWHERE & {*line}}
PYTHON = [(page.name, block) for page in PAGES for block in blocks(page, "python")]


# --- what is written there ------------------------------------------------------------------------------------------


def test_the_readme_is_for_five_minutes():
    assert len(text_of("README.md").splitlines()) <= MOST_LINES


def test_there_are_examples_to_test():
    assert len(LINES) > 30
    assert len(PYTHON) > 1


def test_the_limits_of_archives_are_those_of_the_code():
    told = " ".join(text_of("docs/data.md").split())
    assert f"more than {LIMITS.n_entries:,} entries or {LIMITS.n_bytes >> 30} GiB are refused" in told
    assert f"more than {LIMITS.ratio_from_bytes >> 30} GiB and to more than {LIMITS.ratio} times their size" in told


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda value: value if isinstance(value, str) else value[0])
def test_every_command_line_is_one_that_scalepred_takes(page, line):
    given = parse(line).params
    recipes = given.get("recipe") or []
    for recipe in [recipes] if isinstance(recipes, str) else recipes:
        assert recipe in RECIPES or recipe.endswith(".json")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_named_exists(page):
    named = set(re.findall(r"`(?:scalepred [\w -]+ )?(--[a-z][\w-]+)", page.read_text(encoding="utf-8")))
    real = {name for each in all_parameters() for name in (*each.opts, *each.secondary_opts)}
    assert named - real - {"--help"} == set()


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=lambda value: value.splitlines()[0])
def test_every_python_example_compiles_and_uses_what_scalepred_has(page, block):
    tree = ast.parse(block)
    compile(tree, page, "exec")
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "scalepred"
    }
    assert [name for name in used if not hasattr(scalepred, name)] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_are_there(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in map(slug, headings), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_repository_that_are_named_are_there(page):
    named = re.findall(
        r"`((?:scalepred|tests|docs|examples|models|benchmarks|warehouse)/[\w./-]*)`", page.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_images_are_no_pictures(page):
    assert re.findall(r"(?<!`)\bpictures?\b(?!`)", page.read_text(encoding="utf-8")) == []


# --- lists that the code has too ------------------------------------------------------------------------------------


def test_the_exit_codes_are_those_of_errors_and_commands():
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "scalepred/cli").glob("*.py")]
    exits = {int(code) for text in texts for code in re.findall(r"typer\.Exit\((\d+)\)", text)}
    real = {0, 130} | exits | {kind.exit_code for kind in kinds}
    assert set(map(int, column("docs/commands.md", "exit code"))) == real


def test_the_fields_of_a_recipe_are_listed_with_their_defaults():
    names, defaults = (column("docs/commands.md", "field", at=at) for at in (0, 2))
    fields = {field.name: field.default for field in dataclasses.fields(Recipe)}
    assert set(names) == set(fields)
    for name, default in zip(names, defaults, strict=True):
        value = fields[name]
        shown = ", ".join(f"{m:g}" for m in value) if isinstance(value, tuple) else value
        shown = "null" if shown is None else shown
        assert default == (shown if isinstance(shown, str) else f"{shown:g}"), name


def test_the_recipes_are_listed():
    assert set(column("docs/commands.md", "`--recipe`")) - {"a file"} == set(RECIPES)


def test_the_examples_of_recipes_are_recipes():
    first, second = map(Recipe.from_json, blocks(ROOT / "docs/commands.md", "json"))
    assert first == Recipe(epochs=10, schedule="cosine")
    assert second == Recipe(multipliers=(0.116029, 0.178506, 0.274625, 0.4225, 0.65, 10), steps=500, resize="pad")


def test_the_environment_variables_are_listed():
    real = {each.envvar for each in all_parameters() if each.envvar}
    assert set(column("docs/commands.md", "variable")) == real


def test_the_design_says_which_rooms_a_room_may_use():
    rooms, may_use = (column("docs/design.md", "room", at=at) for at in (0, 1))
    listed = {room.strip("/"): set(re.findall(r"\w+", used)) for room, used in zip(rooms, may_use, strict=True)}
    assert listed.pop("cli") == {"all"}
    assert listed == {room: used for room, used in test_house.MAY_USE.items() if room != "cli"}


def test_every_fact_of_the_predictor_that_ships_is_explained():
    facts = json.loads(text_of("models/default/predictor.json"))["feature_names"]
    named = {name for cell in column("docs/scale.md", "fact") for name in re.findall(r"[\w…]+", cell)}
    assert [fact for fact in facts if fact not in named and f"{fact.partition('_')[0]}_…" not in named] == []


def test_the_arguments_of_finetune_are_listed_with_their_defaults():
    names, defaults = (column("docs/python.md", "argument of `finetune`", at=at) for at in (0, 1))
    real = inspect.signature(scalepred.finetune).parameters
    assert names == list(real)
    made = {"": inspect.Parameter.empty, "Layout()": scalepred.Layout()}
    for name, default in zip(names, defaults, strict=True):
        assert (made[default] if default in made else ast.literal_eval(default)) == real[name].default, name


@pytest.mark.parametrize(
    ("heading", "owner"),
    [("attribute", "Inspection"), ("attribute of `Job`", "Job"), ("attribute of `Evaluation`", "Evaluation")],
)
def test_the_attributes_that_are_listed_are_there(heading, owner):
    kind = getattr(scalepred, owner)
    real = {*(field.name for field in dataclasses.fields(kind)), *vars(kind)}
    listed = {name for cell in column("docs/python.md", heading) for name in re.findall(r"\w+", cell)}
    assert listed - real == set()


def test_the_plot_is_of_the_harvest_and_the_predictor_that_ship():
    spec = importlib.util.spec_from_file_location("make_plot", ROOT / "docs/make_plot.py")
    plot = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plot)
    drawn = text_of("docs/scales.svg")
    for source, recipe, words, *_ in plot.CURVES:
        curve = plot.read_curve(source, recipe)
        text = f"{source}, {recipe}: {words}; best {curve.fixed_scale:g}, {curve.n_tasks} tasks"
        assert f"<!-- {text} -->" in drawn  # matplotlib tells of each text what it is


# --- examples that run ----------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Go to a folder that has all that the examples name, away from the user's own warehouse and predictor."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("SCALEPRED_CACHE", str(tmp_path / "cache"))
    for name in ("SCALEPRED_WAREHOUSE", "SCALEPRED_PREDICTOR"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("models", "warehouse"):
        (folder / name).symlink_to(ROOT / name)
    write_digits(folder / "my_images", last=50)
    write_digits(folder / "my_domain", first=60, last=120)
    write_digits(folder / "new_images", first=120, last=150)
    for index in range(20):  # a flat folder, folders of two levels, and clips of several frames
        pixels = np.random.default_rng(index).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        animal, clip = ("cat", "dog")[index % 2], index // 4
        for path in (f"my_photos/{animal}.{index}.jpg", f"my_clips/{animal}/clip{clip}_{index}.jpg"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / path)
    write_examples(folder)
    for seed, name in enumerate(("birds", "fish")):
        write_task(folder / "tasks" / name, seed=seed)
    Image.open(next((folder / "my_domain/3").iterdir())).convert("RGB").save(folder / "new_image.jpg")
    tiny = named_source().architecture.network
    save_file(tiny.state_dict(), folder / "tiny.safetensors")
    (folder / "quick.json").write_text(json.dumps({"epochs": 1, "image_px": 24, "batch_size": 8}))
    (folder / "my_recipe.json").write_text(blocks(ROOT / "docs/commands.md", "json")[0])
    return folder


def played(line: list[str]) -> list[str] | None:
    """Return a command line of the documents so that it takes seconds, or None where it needs a network or cluster.

    What it does stays; it is done with a tiny network, in one epoch, on small images.
    """
    name, *given = line
    if "ray" in given or "torchvision:CIFAR10" in given:
        return None
    quick = []
    if name in ("finetune", "predict", "harvest"):
        quick += [] if "--source" in given else TINY[:4]
        quick += [] if "--recipe" in given or "--draw" in given else TINY[4:]
    if name == "finetune":
        quick += ["--overwrite"]
    if name == "harvest":
        quick += ["--workers", "2", "--dtype", "float32"]
        quick += ["--dry-run"] if "--source" in given and "--dry-run" not in given else []
    if name == "pretrain":
        quick += ["--epochs", "1", *([] if "img_size=" in shlex.join(line) else ["--image-px", "32"])]
    return [*line, *quick]


PLAYED = [page for page in PAGES if any(map(played, commands(page)))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # mlflow asks SQL so
@pytest.mark.parametrize("page", PLAYED, ids=lambda page: page.name)
def test_the_commands_of_a_page_run_one_after_another(page, place, run):
    for line in filter(None, map(played, commands(page))):
        if "resnet18.safetensors" in line:
            save_file(build("timm/resnet18").network.state_dict(), place / "resnet18.safetensors")
        code, _, err = run(*line)
        assert code == 0, f"scalepred {shlex.join(line)}: {err}"


@pytest.mark.parametrize("line", LOOKING.values(), ids=LOOKING)
def test_what_looks_without_training_runs_as_it_is_written(line, place, run):
    code, out, err = run(*line)
    assert code == 0, err
    assert out


@pytest.fixture
def one_epoch(monkeypatch):
    """Have every job in this process be done in one epoch, whatever its recipe says."""

    def shorter(*arguments, recipe, **settings):
        return finetune(*arguments, recipe=dataclasses.replace(recipe, epochs=1), **settings)

    monkeypatch.setattr("scalepred.training.bundle.finetune", shorter)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
@pytest.mark.usefixtures("one_epoch")
def test_the_python_examples_run(page, place):
    names = {}
    for block in blocks(ROOT / page, "python"):
        exec(block, names)  # noqa: S102 - our own documents
    assert (place / "my_model" / "model.safetensors").is_file()


def test_images_of_twelve_bits_are_brought_to_sixteen_as_the_page_says(place):
    for at, name in enumerate("aabb"):
        save(place / "my_scans" / name / f"{at}.png", np.array([[at, 4095, 5000]], np.uint16))
    assert [note for note in scalepred.inspect("my_scans").warnings if "so it is dark" in note]
    for block in blocks(ROOT / "docs/data.md", "python"):
        exec(block, {})  # noqa: S102 - our own documents
    assert not [note for note in scalepred.inspect("my_scans_16").warnings if "so it is dark" in note]
    with Image.open("my_scans_16/b/3.png") as image:
        assert np.asarray(image).tolist() == [[48, 65_520, 65_535]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
def test_an_exported_model_runs_as_the_page_says(place, run):
    for line in map(played, commands(ROOT / "docs/export.md")):
        code, _, err = run(*line)
        assert code == 0, f"scalepred {shlex.join(line)}: {err}"
    names = {}
    for block in blocks(ROOT / "docs/export.md", "python"):
        exec(block, names)  # noqa: S102 - our own documents


@pytest.mark.slow
def test_the_documents_in_json_have_what_is_listed(place, run):
    lines = {
        "inspect": ["my_images"],
        "predict": ["my_images", *TINY],
        "finetune": ["my_images", *TINY, "--scale", "1", "--output", "model"],
        "classify": ["model", "new_image.jpg"],
        "export": ["model", "--format", "torchscript"],
        "evaluate": ["model", "my_images"],
        "sources": [],
        "harvest": ["my_images", *TINY, "--warehouse", "my.duckdb", "--dry-run"],
        "train-predictor": ["--warehouse", "points.duckdb", "--output", "predictor"],
        "warehouse status": ["--warehouse", "my.duckdb"],
        "warehouse verify": ["--warehouse", "my.duckdb"],
        "warehouse export": ["snapshot", "--warehouse", "my.duckdb"],
        "warehouse import": ["snapshot", "--warehouse", "my.duckdb"],
        "warehouse rebuild": ["--snapshot", "snapshot", "--warehouse", "my.duckdb"],
        "warehouse query": ["SELECT 1 AS one", "--warehouse", "my.duckdb"],
        "warehouse report": ["--warehouse", "my.duckdb"],
        "warehouse evaluate": ["--warehouse", "points.duckdb"],
    }
    with open_warehouse(place / "my.duckdb"):
        pass
    with open_warehouse(place / "points.duckdb") as store:
        store.add_all(records_of(wide_points(24, n_networks=3, n_origins=4)))
    names, parts = (column("docs/formats.md", "command", at=at) for at in (0, 1))
    assert names == list(lines)
    for command, listed in zip(names, parts, strict=True):
        code, out, err = run(*command.split(), *lines[command], "--json")
        assert code == 0, err
        document = json.loads(out)
        assert document.pop("schema") == 2
        assert list(document) == re.findall(r"\w+", listed), command
