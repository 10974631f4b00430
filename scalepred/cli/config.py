"""Defaults for the options of commands, from `scalepred.toml` in the current folder and in the user's folder."""

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.models import OptionInfo

from scalepred.errors import UsageError, join_problems

FILE = "scalepred.toml"

ALL = "all"
"""The table for options of any command that has them."""

_OF_A_DRAW = ("draw", "draw_seed", "space")
_OF_A_GRID = ("recipe", "image_px", "seeds", "scale", "octaves", "extend")

EITHER = (
    ("auto", "scale", "probe"),
    ("architecture", "width"),
    ("label_pattern", "class_depth"),
    ("csv", "json", "json_lines"),
    ("octaves", "scale"),
    ("octaves", "extend"),
    *(("jobs", other) for other in ("scale", "probe", "log_to")),
    *(("probe", other) for other in ("warehouse", "log_to", "class_weights")),
    *(("no_probe", other) for other in ("probe", "scale")),
    *((one, other) for one in _OF_A_DRAW for other in _OF_A_GRID),
)
"""Options of which a command takes one: what is given nearer takes the place of the others. One that is given its
default, such as 1 for ``jobs``, takes no place."""

Command = tuple[str, ...]
"""A command's names, such as ("warehouse", "status")."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A default for an option of a command: its value, the file that it is from, and the key there."""

    value: Any
    file: Path
    key: str


Settings = dict[Command, dict[str, Setting]]
"""Command -> name of a parameter in Python -> its default."""


def files() -> tuple[Path, Path]:
    """Return where defaults may lie, the user's file first and that of the current folder, which wins, last."""
    import platformdirs

    return platformdirs.user_config_path("scalepred") / FILE, Path.cwd() / FILE


def read_settings(app: typer.Typer) -> Settings:
    """Return what the files say, for every command that has the option.

    Raises:
        UsageError: if a file can't be read or is no TOML, or names what no command has, or gives a value of another
            type; all of a file's problems at once.
    """
    settings: Settings = {}
    for file in files():
        if file.is_file():
            commands = dict(commands_of(app))
            for command, given in _checked(file, _read(file), commands).items():
                _lay_over(settings.setdefault(command, {}), given, defaults_of(commands[command]))
    return settings


def commands_of(app: typer.Typer, above: Command = ()) -> Iterator[tuple[Command, Callable[..., Any]]]:
    """Yield the names of each command of an app and of those below it, with the function that it calls."""
    for command in app.registered_commands:
        if command.callback is not None:
            yield (*above, command.name or command.callback.__name__), command.callback
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from commands_of(group.typer_instance, (*above, str(group.name)))


def default_map(settings: Settings) -> dict[str, Any]:
    """Return the settings in the nested form that a command line's context takes."""
    nested: dict[str, Any] = {}
    for command, given in settings.items():
        inner = nested
        for name in command:
            inner = inner.setdefault(name, {})
        inner |= {name: setting.value for name, setting in given.items()}
    return nested


def _lay_over(below: dict[str, Setting], nearer: Mapping[str, Setting], defaults: Mapping[str, Any]) -> None:
    """Put nearer settings over those that are there, and take away those that they exclude."""
    asking = {name for name, setting in nearer.items() if setting.value != defaults.get(name)}
    for names in EITHER:
        if not asking.isdisjoint(names):
            for name in names:
                below.pop(name, None)
    below.update(nearer)


def _read(file: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no TOML in UTF-8: {error}.") from error
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}.") from error


def _checked(file: Path, content: Mapping[str, Any], commands: Mapping[Command, Callable[..., Any]]) -> Settings:
    """Return a file's settings; those of a command go before those of all."""
    kinds = {command: option_kinds(function) for command, function in commands.items()}
    problems: list[str] = []
    general: dict[str, Setting] = {}
    own: Settings = {}
    for command, table in _tables(content, list(kinds), problems):
        known = [kinds[command]] if command else list(kinds.values())
        for key, value in table.items():
            name, label = key.replace("-", "_"), ".".join((*(command or (ALL,)), key))
            problem = _problem(name, value, known)
            if problem:
                problems.append(f"{label}{problem}")
            else:
                setting = Setting(value=value, file=file, key=label)
                (own.setdefault(command, {}) if command else general)[name] = setting
    if problems:
        raise UsageError(join_problems(f"{file} can't be used:", problems))
    everywhere = {
        command: {name: each for name, each in general.items() if name in known and _fits(each.value, known[name])}
        for command, known in kinds.items()
    }
    for command, given in own.items():
        _lay_over(everywhere[command], given, defaults_of(commands[command]))
    return everywhere


def _problem(name: str, value: object, known: list[dict[str, Any]]) -> str:
    """Return what is wrong with a value for an option of one of these commands, or "" where nothing is."""
    kinds = [options[name] for options in known if name in options]
    if not kinds:
        allowed = ", ".join(sorted({each.replace("_", "-") for options in known for each in options}))
        return f": there is no such option; there are {allowed}"
    if not any(_fits(value, kind) for kind in kinds):
        return f" must be {' or '.join(dict.fromkeys(map(_in_words, kinds)))}, not {value!r:.80}"
    return ""


def _tables(
    content: Mapping[str, Any], commands: list[Command], problems: list[str], above: Command = ()
) -> Iterator[tuple[Command, Mapping[str, Any]]]:
    """Yield each table of a file with its command, which is () for that of all."""
    names = {command[len(above)] for command in commands if command[: len(above)] == above} | ({ALL} - {*above})
    for name, table in content.items():
        command = (*above, name)
        if name not in (names if not above else names - {ALL}):
            allowed = ", ".join(sorted(names if not above else names - {ALL}))
            problems.append(f"{'.'.join(command)}: there is no such table; there are {allowed}")
        elif not isinstance(table, Mapping):
            problems.append(f"{'.'.join(command)} must be a table, such as [{'.'.join(command)}]")
        elif command in commands or command == (ALL,):
            yield () if command == (ALL,) else command, table
        else:
            yield from _tables(table, commands, problems, command)


def option_kinds(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a command's function, by their name in Python, each with its type; no arguments."""
    kinds = {}
    for name, hint in typing.get_type_hints(function, include_extras=True).items():
        kind, *about = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
        if any(isinstance(each, OptionInfo) for each in about) and name not in ("show_config", "version"):
            kinds[name] = kind
    return kinds


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """Return the types that a value may have, without None, which no TOML can say."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return tuple(each for each in kinds if each is not type(None))


def _fits(value: object, kind: Any) -> bool:
    for each in _alternatives(kind):
        if typing.get_origin(each) is list:
            (inner,) = typing.get_args(each)
            if isinstance(value, list) and all(_fits(item, inner) for item in value):
                return True
        elif each is bool or isinstance(value, bool):
            if each is bool and isinstance(value, bool):
                return True
        elif isinstance(value, _WRITTEN_AS[each]):
            return True
    return False


_WRITTEN_AS: dict[Any, tuple[type, ...]] = {Path: (str,), str: (str,), int: (int,), float: (int, float)}
"""Type of an option -> what TOML reads its values as, but for booleans and lists."""


def _in_words(kind: Any) -> str:
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    named = [
        f"a list, each {_in_words(typing.get_args(each)[0])}" if typing.get_origin(each) is list else words[each]
        for each in _alternatives(kind)
    ]
    return " or ".join(named)


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults that a command's function has itself."""
    parameters = inspect.signature(function).parameters.items()
    return {name: each.default for name, each in parameters if each.default is not inspect.Parameter.empty}
