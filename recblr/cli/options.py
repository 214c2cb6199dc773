"""Options that several tools share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_DATA_OPTIONS = (
    ("--user-column", str, "user_id", "Column of the user's id."),
    ("--item-column", str, "item_id", "Column of the item's id."),
    ("--timestamp-column", str, "timestamp", "Column of the time."),
    ("--min-user-interactions", click.IntRange(min=0), 5, "Drop users with fewer; 0 keeps all."),
    ("--min-item-interactions", click.IntRange(min=0), 5, "Drop items with fewer; 0 keeps all."),
    ("--drop-duplicates/--keep-duplicates", bool, False, "Of equal rows (user, item and time) keep one."),
    ("--validation-time", float, None, "Split by time: validation starts here."),
    ("--test-time", float, None, "Split by time: the test starts here."),
)


def data_options(*, from_model: bool) -> Callable[[F], F]:
    """Options for reading, filtering and splitting interactions.

    Args:
        from_model: their defaults are the model's own settings, so that an option not given is None.
    """

    def decorate(function: F) -> F:
        for name, kind, default, text in reversed(_DATA_OPTIONS):
            shown = "[default: as in training]" if from_model else ""
            function = click.option(
                name,
                type=kind,
                default=None if from_model else default,
                show_default=not from_model and default is not None,
                help=f"{text} {shown}".strip(),
            )(function)
        return function

    return decorate


def model_data_settings(trained: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A model's own settings, as `DataSettings.from_dict` takes them, but for the options that were given."""
    chosen = data_settings(given)
    return {**trained, **chosen, "columns": {**trained["columns"], **chosen["columns"]}}


def _setting(option: tuple[Any, ...]) -> str:
    name: str = option[0]
    return name.partition("/")[0][2:].replace("-", "_")


def data_settings(given: dict[str, Any]) -> dict[str, Any]:
    """The options of `data_options` that were given, as `recblr.preparation.DataSettings` names them."""
    settings = {name: given[name] for name in map(_setting, _DATA_OPTIONS)}
    columns = {name: settings.pop(f"{name}_column") for name in ("user", "item", "timestamp")}
    result: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    result["columns"] = {name: value for name, value in columns.items() if value is not None}
    return result
