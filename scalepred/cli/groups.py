"""Lets a command take several options as one frozen dataclass, so that what belongs together is written once."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

P = inspect.Parameter


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose parameters that are dataclasses are options, one for each of their fields.

    Typer makes options of a function's signature. The one that it sees here has a dataclass's fields where the
    dataclass was, with their types and defaults; the dataclass is made of their values when the command runs.

    Raises:
        TypeError: if two options have the same name.
    """
    parameters = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: each.annotation for name, each in parameters.items() if dataclasses.is_dataclass(each.annotation)
    }
    options = [option for each in parameters.values() for option in _options_of(each)]
    names = [option.name for option in options]
    if len(set(names)) < len(names):
        raise TypeError(f"{command.__name__} has options of the same name: {', '.join(sorted(names))}.")

    @functools.wraps(command)
    def run(*arguments: Any, **values: Any) -> None:
        for name, group in groups.items():
            given = [field.name for field in dataclasses.fields(group) if field.name in values]
            values[name] = group(**{field: values.pop(field) for field in given})
        command(*arguments, **values)

    run.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]  # functions take any attribute
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run


def _options_of(parameter: inspect.Parameter) -> list[inspect.Parameter]:
    """Return a parameter as it is, or those that stand for the fields of its dataclass."""
    group = parameter.annotation
    if not dataclasses.is_dataclass(group):
        return [parameter.replace(kind=P.KEYWORD_ONLY)]
    types = get_type_hints(group, include_extras=True)
    return [
        P(field.name, P.KEYWORD_ONLY, default=field.default, annotation=types[field.name])
        for field in dataclasses.fields(group)
    ]
