"""Options under headings in a tool's --help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from recblr.cli.common import Command

F = TypeVar("F", bound=Callable[..., Any])


class GroupedCommand(Command):
    """A command whose options are listed by `option_group`; those of none come last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Called by click."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", "Other options"), []).append(record)
        groups["Other options"] = groups.pop("Other options", [])
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def option_group(title: str, *options: Callable[[F], F]) -> Callable[[F], F]:
    """The options, in this order and under a heading."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            before = len(getattr(function, "__click_params__", []))
            function = option(function)
            for parameter in function.__click_params__[before:]:  # type: ignore[attr-defined]
                parameter.group = title
        return function

    return decorate
