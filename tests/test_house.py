"""The house rules: imports go one way, the README tells the truth, and help is instant."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "scalepred"

MAY_USE = {
    "data": set(),
    "networks": set(),
    "training": {"data", "networks"},
    "store": set(),
    "predictor": {"data", "networks", "training"},
    "harvest": {"data", "networks", "training", "store", "predictor"},
    "job": {"data", "networks", "training", "store", "predictor"},
    "cli": {"data", "networks", "training", "store", "predictor", "harvest", "job"},
}
"""Room -> the rooms that it may import from; all may use ``scalepred/`` itself, whose modules use none of them."""

ONLY_THERE = {
    "duckdb": {"store", "data"},  # the warehouse; a manifest that is Parquet
    "lightgbm": {"predictor"},
    "filelock": {"store"},
    "ray": {"harvest"},
    "PIL": {"data"},
    "pillow_heif": {"data"},
    "typer": {"cli"},
    "rich": {"cli"},
    "matplotlib": {"job"},
    "onnx": {"job"},
    "onnxruntime": {"job"},
    "jinja2": {"job"},
    "mlflow": {"job"},
}
LINES = 400
"""A module of more holds a second idea."""


def _modules(room: str) -> dict[str, Path]:
    """Return name -> file of a room's modules; the room "" is ``scalepred/`` itself."""
    return {path.stem: path for path in (PACKAGE / room).glob("*.py") if not path.stem.startswith("__")}


def _imported(path: Path) -> set[str]:
    """Return the dotted names that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _arrows(room: str) -> set[tuple[str, str, str]]:
    """Return (module, other room, that room's module) of all imports from rooms into others."""
    arrows = set()
    for module, path in _modules(room).items():
        for name in _imported(path):
            parts = name.split(".")
            if parts[0] == "scalepred" and parts[1] in MAY_USE and parts[1] != room:
                arrows.add((module, parts[1], parts[2]))
    return arrows


def _exported(room: str) -> list[str]:
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    return next(ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign))


def test_every_folder_of_the_package_is_a_room():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(MAY_USE)


@pytest.mark.parametrize("room", MAY_USE)
def test_a_room_imports_from_the_rooms_that_it_may_use(room):
    assert {other for _, other, _ in _arrows(room)} <= MAY_USE[room]


@pytest.mark.parametrize("room", MAY_USE)
def test_no_room_reaches_into_what_another_does_not_export(room):
    assert {(other, module) for _, other, module in _arrows(room) if module not in _exported(other)} == set()


@pytest.mark.parametrize("room", sorted(set(MAY_USE) - {"cli"}))
def test_a_room_exports_modules_that_it_has_and_others_or_benchmarks_use(room):
    outside = [path for other in MAY_USE if other != room for path in _modules(other).values()]
    outside += [*(ROOT / "benchmarks").rglob("*.py"), PACKAGE / "__init__.py"]
    used = {name.split(".")[2] for path in outside for name in _imported(path) if name.startswith(f"scalepred.{room}.")}
    assert set(_exported(room)) == used
    assert used <= set(_modules(room))


def test_the_modules_of_the_package_itself_use_no_room():
    for module, path in _modules("").items():
        libraries = {name.split(".")[0] for name in _imported(path)} - {"scalepred"}
        assert libraries <= set(sys.stdlib_module_names), module
    assert _arrows("") == set()


@pytest.mark.parametrize("room", ["", *MAY_USE])
def test_nothing_imports_in_a_circle(room):
    prefix = ".".join(filter(None, ["scalepred", room]))
    graph = {
        name: {
            other for other in _modules(room) if any(f"{n}.".startswith(f"{prefix}.{other}.") for n in _imported(path))
        }
        for name, path in _modules(room).items()
    }
    done: set[str] = set()
    while ready := {name for name in graph if name not in done and graph[name] <= done}:
        done |= ready
    assert done == set(graph)


@pytest.mark.parametrize(("library", "rooms"), ONLY_THERE.items())
def test_a_library_is_known_in_one_room(library, rooms):
    users = {
        room
        for room in MAY_USE
        for path in _modules(room).values()
        for n in _imported(path)
        if n.split(".")[0] == library
    }
    assert users == rooms


@pytest.mark.parametrize("room", ["", *MAY_USE])
def test_a_module_opens_with_a_sentence_and_holds_one_idea(room):
    for path in [*_modules(room).values(), PACKAGE / room / "__init__.py"]:
        assert _sentence(path).endswith("."), path
        assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES, path


def test_tests_mirror_the_rooms():
    folders = {path.name for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(MAY_USE) | {"assets"}


def test_the_readme_lists_every_room_with_its_own_sentence():
    listed = dict(re.findall(r"^\| `(\w+)/` \| (.+) \|$", _section("The rooms"), flags=re.MULTILINE))
    assert listed == {room: _sentence(PACKAGE / room / "__init__.py") for room in MAY_USE}


def test_the_readme_lists_every_command():
    listed = re.findall(r"^\| `scalepred ([\w-]+)`", _section("Commands"), flags=re.MULTILINE)
    shown = subprocess.run([sys.executable, "-m", "scalepred", "--help"], capture_output=True, text=True, check=True)
    real = re.findall(r"^  ([a-z][\w-]*)  ", shown.stdout.partition("Commands:")[2], flags=re.MULTILINE)
    assert real
    assert sorted(listed) == sorted(real)


def test_ci_runs_the_test_command_of_the_readme():
    command = re.search(r"^    (.+)$", _section("Tests"), flags=re.MULTILINE)
    assert command
    assert command[1] in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


def test_every_dependency_has_its_reason_in_contributing():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [re.split(r"[<>=\[ ]", each)[0] for each in project["dependencies"]]
    reasons = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    assert [name for name in named if name not in reasons] == []


def test_help_imports_nothing_heavy():
    code = "import sys, scalepred.cli; print([m for m in ('torch', 'duckdb', 'numpy', 'rich') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def _section(title: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def _sentence(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, path
    return docstring.splitlines()[0]


def test_the_benchmark_of_help_still_runs():
    command = [sys.executable, "-m", "benchmarks.bench_help", "--smoke"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert '"benchmark": "help"' in shown.stdout.splitlines()[-1]


@pytest.mark.slow
def test_the_wheel_carries_the_sql_the_predictor_and_the_typing_marker(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("scalepred-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "scalepred/py.typed",
        "scalepred/store/sql/0001_initial.sql",
        "scalepred/cli/harvest.py",
        "scalepred/models/default/predictor.json",
        "scalepred/models/default/model.txt",
        "scalepred/job/templates/page.css",
        "scalepred/job/templates/job.html",
    } <= names


def test_commands_have_at_most_60_lines():
    long = [
        f"{path.name}: {node.name}"
        for path in _modules("cli").values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []
