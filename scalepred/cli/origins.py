"""Where the value of each option comes from: shown by `--show-config`, and used where options exclude each other."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from scalepred.cli.config import EITHER, Command, Setting, Settings, default_map, defaults_of, read_settings
from scalepred.errors import UsageError

NEAREST = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")
"""Where the values of options come from, the nearest first; the last are those of the files."""

SETTINGS = "scalepred.settings"
"""Under this name a context keeps the settings of its files."""


def _ask_nothing(context: typer.Context, wanted: bool) -> bool:
    """Have the command line not insist on what is not given, for nothing is going to be done."""
    if wanted:
        for parameter in context.command.params:
            parameter.required = False
    return wanted


ShowConfig = Annotated[
    bool,
    typer.Option(
        "--show-config", callback=_ask_nothing, is_eager=True, help="Print every value and where it is from, and stop."
    ),
]


def load_defaults(app: typer.Typer, context: typer.Context) -> None:
    """Give a command line the defaults of the configuration's files.

    Raises:
        UsageError: as ``config.read_settings``; or if an option takes no such value, with the file that has it.
    """
    settings = read_settings(app)
    if settings:
        context.meta[SETTINGS] = settings
        context.default_map = default_map(settings)
        _check_values(context, settings)


def make_configurable(app: typer.Typer) -> None:
    """Give all commands of an app, and of those below it, the option ``--show-config``."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _configurable(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            make_configurable(group.typer_instance)


def _configurable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command's function with ``--show-config`` besides its own options."""
    defaults = defaults_of(function)

    @functools.wraps(function)
    def command(context: typer.Context, show_config: bool = False, **values: Any) -> Any:
        excluded = _excluded(context, values, defaults)
        values |= excluded
        if show_config:
            return _show(context, values, excluded)
        _tell(context, excluded)
        return function(**values)

    own = inspect.signature(function, eval_str=True).parameters.values()
    given = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    keyword = inspect.Parameter.KEYWORD_ONLY
    given.insert(0, inspect.Parameter("context", keyword, annotation=typer.Context))
    given.append(inspect.Parameter("show_config", keyword, annotation=ShowConfig, default=False))
    command.__signature__ = inspect.Signature(given)  # type: ignore[attr-defined]  # functions take any attribute
    command.__annotations__ = {each.name: each.annotation for each in given}
    return command


def _excluded(context: typer.Context, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return, with their plain defaults, the options that what is given nearer excludes."""
    sources = {name: _source(context, name) for name in defaults if values[name] != defaults[name]}
    place = {name: NEAREST.index(source) for name, source in sources.items() if source in NEAREST}
    excluded: dict[str, Any] = {}
    for names in EITHER:
        asking = [name for name in names if name in place and name not in excluded]
        nearest = min((place[name] for name in asking), default=0)
        excluded |= {name: defaults[name] for name in asking if place[name] > nearest}
    return excluded


def _tell(context: typer.Context, excluded: Mapping[str, Any]) -> None:
    """Say which options have their values from a file, for whoever has forgotten that it is there."""
    settings: Settings = context.meta.get(SETTINGS, {})
    used: dict[str, list[str]] = {}
    for name, setting in settings.get(_command_of(context), {}).items():
        if _source(context, name) == "DEFAULT_MAP" and name not in excluded:
            used.setdefault(str(setting.file), []).append(f"--{name.replace('_', '-')}")
    if used:
        from scalepred.cli.output import note

        for file, names in used.items():
            note(f"from {file}: {', '.join(names)}")


def _source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return "DEFAULT" if source is None else source.name


def _command_of(context: typer.Context) -> Command:
    names: list[str] = []
    at: Any = context
    while at.parent is not None:
        names.insert(0, str(at.info_name))
        at = at.parent
    return tuple(names)


def origin_of(context: typer.Context, name: str, *, is_excluded: bool = False) -> str:
    """Say where a parameter's value comes from: the command line, an environment variable, a file, or its default."""
    source = "DEFAULT" if is_excluded else _source(context, name)
    if source == "COMMANDLINE":
        return "command line"
    if source == "ENVIRONMENT":
        parameter = next(each for each in context.command.params if each.name == name)
        return f"environment, {parameter.envvar}"
    settings: Settings = context.meta.get(SETTINGS, {})
    setting: Setting | None = settings.get(_command_of(context), {}).get(name)
    return f"{setting.file}, {setting.key}" if source == "DEFAULT_MAP" and setting else "default"


def _show(context: typer.Context, values: Mapping[str, Any], excluded: Mapping[str, Any]) -> None:
    """Print every option's value and origin, as a table or as one JSON document."""
    from scalepred.cli import output as out

    rows = []
    for parameter in context.command.params:
        if parameter.name in values:
            label = next((each for each in parameter.opts if each.startswith("--")), str(parameter.name).upper())
            origin = origin_of(context, parameter.name, is_excluded=parameter.name in excluded)
            rows.append((label, values[parameter.name], origin))
    if values.get("json"):
        options = {label: {"value": _plain(value), "origin": origin} for label, value, origin in rows}
        out.print_json({"schema": 2, "command": " ".join(_command_of(context)), "options": options})
    else:
        out.console().print(out.table(("option", "value", "from"), [(a, _words(b), c) for a, b, c in rows]))


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _words(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value if value is None else str(value)


def _check_values(context: typer.Context, settings: Settings) -> None:
    """Raise UsageError if an option of the command that is called takes no such value as a file gives it."""
    at: Any = context.command
    name = context.invoked_subcommand
    command = getattr(at, "commands", {}).get(name)
    for parameter in getattr(command, "params", ()):
        setting = settings.get((str(name),), {}).get(parameter.name)
        if setting is not None:
            try:
                parameter.process_value(context, setting.value)
            except Exception as error:  # converters raise what they like, and all mean the same
                reason = getattr(error, "message", error)
                raise UsageError(f"{setting.file} can't be used: {setting.key}: {reason}") from error
