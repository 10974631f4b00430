"""Options that belong together reach a command as one dataclass."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from scalepred.cli.groups import grouped


@dataclass(frozen=True, kw_only=True)
class Size:
    """Two options, one with a name of its own."""

    width: Annotated[int, typer.Option(help="In pixels.", min=1)] = 3
    high: Annotated[int, typer.Option("--height", help="In pixels.")] = 4


def app_of(command):
    app = typer.Typer(rich_markup_mode=None)
    app.command()(grouped(command))
    return app


@pytest.fixture
def draw():
    def command(name: str, *, bold: bool = False, size: Size, deep: int = 1) -> None:
        """Draw NAME."""
        typer.echo(f"{name} {bold} {size} {deep}")

    return app_of(command)


def run(app, *arguments):
    return CliRunner().invoke(app, arguments, terminal_width=80)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a"], "a False Size(width=3, high=4) 1\n"),
        (["a", "--height", "7", "--deep", "2", "--bold"], "a True Size(width=3, high=7) 2\n"),
        (["a", "--width", "9"], "a False Size(width=9, high=4) 1\n"),
    ],
)
def test_a_group_arrives_whole(draw, arguments, expected):
    assert run(draw, *arguments).output == expected


def test_help_lists_a_groups_options_where_the_group_stands(draw):
    shown = run(draw, "--help").output
    assert "Draw NAME." in shown
    places = [shown.index(option) for option in ("--bold", "--width", "--height", "--deep")]
    assert places == sorted(places)


def test_a_groups_options_are_checked_as_others_are(draw):
    assert (
        "Invalid value for '--width': Input should be greater than or equal to 1"
        in run(draw, "a", "--width", "0").output
    )


def test_two_options_of_one_name_are_refused():
    def command(*, size: Size, width: int = 1) -> None:
        """Draw."""

    with pytest.raises(TypeError, match="command has options of the same name: high, width, width"):
        grouped(command)


def test_a_command_may_be_called_from_python_with_what_differs_from_its_defaults(capsys):
    @grouped
    def command(name: str, *, bold: bool = False, size: Size) -> None:
        """Draw NAME."""
        typer.echo(f"{name} {bold} {size}")

    command("a", high=9)
    assert capsys.readouterr().out == "a False Size(width=3, high=9)\n"
