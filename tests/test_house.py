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

LAYERS = [
    {"errors", "config", "records", "files"},
    {"schedule", "targets", "model_text", "plan"},
    {"images", "torchvision_sets", "digits", "tasks", "resnet27", "sources", "devices", "depthwise", "cut"}
    | {"migrations", "warehouse", "journal", "predictor"},
    {"finetune", "features", "bundle", "keeping", "table", "evaluate", "card", "pretrain"},
    {"calls", "worker", "engines", "ray_engine", "harvest", "modelfolder", "auto"},
    {"cli"},
]
"""Modules may import from lower layers, and within their own; what lies on the left knows nothing of the right."""

ONLY_THERE = {
    "duckdb": {"warehouse"},
    "lightgbm": {"predictor"},
    "filelock": {"journal"},
    "ray": {"ray_engine"},
    "PIL": {"images", "digits", "torchvision_sets"},
}


def _modules() -> dict[str, Path]:
    return {path.stem: path for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _layer(module: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if module in layer)


def _own(path: Path) -> set[str]:
    known = {*_modules(), "cli"}
    return {n.split(".")[1] for n in _imported(path) if n.startswith("scalepred.") and n.split(".")[1] in known}


def test_every_module_has_a_layer():
    assert set(_modules()) | {"cli"} == set().union(*LAYERS)


@pytest.mark.parametrize("module", sorted(_modules()))
def test_a_module_imports_from_its_own_layer_and_below(module):
    above = {other for other in _own(_modules()[module]) if _layer(other) > _layer(module)}
    assert above == set()


def test_nothing_imports_in_a_circle():
    graph = {name: _own(path) - {name} for name, path in _modules().items()}
    done: set[str] = set()
    while ready := {name for name in graph if name not in done and graph[name] <= done}:
        done |= ready
    assert done == set(graph)


@pytest.mark.parametrize(("library", "users"), ONLY_THERE.items())
def test_a_library_is_known_in_one_place(library, users):
    found = {name for name, path in _modules().items() if any(n.split(".")[0] == library for n in _imported(path))}
    assert found == users


def test_the_core_knows_no_database_and_no_console():
    for module in ("finetune", "features", "predictor", "evaluate", "targets", "schedule"):
        libraries = {name.split(".")[0] for name in _imported(_modules()[module])}
        assert libraries.isdisjoint({"duckdb", "rich", "typer"}), module


def test_the_first_layers_need_the_standard_library_and_numpy_only():
    for module in LAYERS[0] | LAYERS[1]:
        libraries = {name.split(".")[0] for name in _imported(_modules()[module])} - {"scalepred"}
        assert libraries - {"numpy"} <= set(sys.stdlib_module_names), module


def test_the_readme_lists_every_module_with_its_own_sentence():
    listed = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", _section("The parts"), flags=re.MULTILINE))
    real = {name: _sentence(path) for name, path in _modules().items()} | {
        "cli": _sentence(PACKAGE / "cli/__init__.py")
    }
    assert listed == real


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
        "scalepred/sql/0001_initial.sql",
        "scalepred/cli/harvest.py",
        "scalepred/models/default/predictor.json",
        "scalepred/models/default/model.txt",
    } <= names
