"""What a shell and a terminal are owed: completion, no colour where none is wanted, and lines of 80 columns."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios

import pytest
import typer
from fakes import write_task
from rows import fill

from scalepred.cli import app
from scalepred.cli.output import fitted

WIDTH = 80
SEQUENCE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")
NEEDS_BASH = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def home(tmp_path):
    """Return an empty home with `scalepred` on the path of its shell."""
    script = tmp_path / "bin" / "scalepred"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom scalepred.cli import main\nmain()\n")
    script.chmod(0o755)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def in_bash(home, line):
    environment = os.environ | {"HOME": str(home), "PATH": f"{home.parent / 'bin'}:{os.environ['PATH']}"}
    environment |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=False)


def on_terminal(*arguments, **environment):
    """Run a command on a terminal of 80 columns; returns all that it wrote there."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    command = [sys.executable, "-m", "scalepred", *map(str, arguments)]
    terminal = {"stdin": its, "stdout": its, "stderr": its}
    with subprocess.Popen(command, env=os.environ | {"TERM": "xterm-256color"} | environment, **terminal):
        os.close(its)
        written = b""
        while chunk := read(ours):
            written += chunk
    os.close(ours)
    return written.decode()


def read(fd):
    try:
        return os.read(fd, 65536)
    except OSError:  # the other end is closed
        return b""


def lines_of(written):
    """Return the lines as a person sees them at last: what was drawn over is not there."""
    return [SEQUENCE.sub("", line.rstrip("\r").rpartition("\r")[2]) for line in written.split("\n")]


# --- completion -------------------------------------------------------------------------------------------------------


@NEEDS_BASH
@pytest.mark.slow
def test_completion_is_installed_for_the_users_shell_and_completes_commands_and_options(home):
    installed = in_bash(home, "scalepred --install-completion; exit $?")
    assert installed.returncode == 0, installed.stderr
    script = home / ".bash_completions" / "scalepred.sh"
    assert str(script) in (home / ".bashrc").read_text()
    assert "complete -o default -F _scalepred_completion scalepred" in script.read_text()
    for words, at, expected in (
        ("scalepred fin", 1, "finetune"),
        ("scalepred finetune --check", 2, "--checkpoint-seconds"),
        ("scalepred warehouse ver", 2, "verify"),
    ):
        ask = f"source {script}; COMP_WORDS=({words}); COMP_CWORD={at}; _scalepred_completion scalepred"
        assert in_bash(home, f'{ask}; echo "${{COMPREPLY[@]}}"').stdout == f"{expected}\n"


# --- colour -----------------------------------------------------------------------------------------------------------


def colours(written):
    """Return the escape sequences that set a colour."""
    set_by = [codes.split(";") for codes, kind in SEQUENCE.findall(written) if kind == "m"]
    return [codes for codes in set_by if any(re.fullmatch("3[0-9]|4[0-9]|9[0-7]|10[0-7]", code) for code in codes)]


@pytest.mark.slow
def test_no_color_is_respected(tmp_path):
    task = write_task(tmp_path / "task", n=40)
    assert colours(on_terminal("inspect", task))  # its progress bar
    assert colours(on_terminal("inspect", task, NO_COLOR="1")) == []


# --- 80 columns -------------------------------------------------------------------------------------------------------


def all_commands(command=None, path=()):
    command = command or typer.main.get_command(app)
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from all_commands(below, (*path, name))


@pytest.mark.parametrize("path", list(all_commands()), ids=" ".join)
def test_help_fits_in_80_columns(run, monkeypatch, path):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    code, out, _ = run(*path, "--help")
    assert code == 0
    assert [line for line in out.splitlines() if len(line) > WIDTH] == []


@pytest.mark.slow
def test_tables_notes_and_errors_fit_a_terminal_of_80_columns(tmp_path):
    task = write_task(tmp_path / "task", classes=("a", "a class of a rather long name, as some are", "c"), n=40)
    (task / "a" / "broken.png").write_text("no image")
    (task / "empty, of a name that takes more than half of a line").mkdir()
    file = fill(tmp_path / "w.duckdb")
    for line in (
        ("inspect", task),
        ("sources",),
        ("warehouse", "status", "--warehouse", file),
        ("finetune", "--show-config"),
        ("finetune", task),
    ):
        shown = on_terminal(*line, XDG_DATA_HOME=str(tmp_path))
        assert len(shown.splitlines()) > 1
        wide = [each for each in lines_of(shown) if len(each) > WIDTH]
        assert [each for each in wide if not each.startswith("/")] == []  # a path stays in one piece


def test_a_sentence_is_broken_between_words_and_a_path_never():
    text = "there is nothing at /a/rather-long/path/to-some/folder: give one\n  - another line"
    lines = ["there is nothing at", "/a/rather-long/path/to-some/folder:", "give one", "  - another line"]
    assert fitted(text, 20).split("\n") == lines
