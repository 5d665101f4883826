"""From command-line options to configuration: one decorator a dataclass, one word for option and field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any

Option = Callable[[Callable[..., Any]], Any]  # what click.option() returns


def collect(name: str, kind: type[Any], *options: Option) -> Callable[[Callable[..., Any]], Any]:
    """Add options to a command, which gets one `kind` called `name` instead of their values.

    Args:
        name: the command's parameter.
        kind: a configuration dataclass; it takes the options that bear its fields' names.
        options: made by `click.option`, in the order of the help.
    """

    def decorate(command: Callable[..., Any]) -> Any:
        @wraps(command)
        def collected(**values: Any) -> Any:
            taken = {item.name: values.pop(item.name) for item in fields(kind) if item.name in values}
            return command(**{name: kind(**taken)}, **values)

        return add_options(collected, *options)

    return decorate


def add_options(command: Callable[..., Any], *options: Option) -> Any:
    """Add options to a command so that its help lists them in this order."""
    for option in reversed(options):
        command = option(command)
    return command
