"""Options that several tools share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from recblr.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

_NO_NULLS = "none"


class _Moment(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer versions
    """A number, or else text that `DataSettings` takes for ISO 8601."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float | str:
        """Called by click."""
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
        return str(value)


_DATA_OPTIONS: tuple[tuple[str, Any, Any, str], ...] = (
    ("--user-column", str, "user_id", "Column of the user's id."),
    ("--item-column", str, "item_id", "Column of the item's id."),
    ("--timestamp-column", str, "timestamp", "Column of the time."),
    ("--header/--no-header", bool, None, "Whether text files have a header."),
    ("--columns", str, None, "With --no-header: the names of all columns, as user_id,item_id,_,timestamp."),
    ("--id-type", click.Choice(["auto", "int", "string"]), "auto", "int refuses other ids; string keeps them as text."),
    (
        "--null-values",
        str,
        None,
        "Drop rows with one of these, as NULL,NA; '' for empty; none: nothing stands for null. May be given again.",
    ),
    ("--min-user-interactions", click.IntRange(min=0), 5, "Drop users with fewer; 0 keeps all."),
    ("--min-item-interactions", click.IntRange(min=0), 5, "Drop items with fewer; 0 keeps all."),
    ("--drop-duplicates/--keep-duplicates", bool, False, "Of equal rows (user, item and time) keep one."),
    ("--validation-time", _Moment(), None, "Split by time: validation starts here; a number, or as 2024-05-01."),
    ("--test-time", _Moment(), None, "Split by time: the test starts here."),
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
                multiple=name == "--null-values",
                show_default=not from_model and default is not None,
                help=f"{text} {shown}".strip(),
            )(function)
        return function

    return decorate


def model_data_settings(trained: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A model's own settings, as `DataSettings.from_dict` takes them, but for the options that were given."""
    chosen = data_settings(given, trained.get("header"))
    return {**trained, **chosen, "columns": {**trained["columns"], **chosen["columns"]}}


def data_settings(given: dict[str, Any], trained_header: Sequence[str] | None = None) -> dict[str, Any]:
    """The options of `data_options` that were given, as `recblr.preparation.DataSettings` names them.

    Raises:
        ConfigError: options that contradict each other.
    """
    names = (
        *("id_type", "min_user_interactions", "min_item_interactions", "drop_duplicates"),
        *("validation_time", "test_time"),
    )
    result: dict[str, Any] = {name: given[name] for name in names if given[name] is not None}
    columns = {name: given[f"{name}_column"] for name in ("user", "item", "timestamp")}
    result["columns"] = {name: value for name, value in columns.items() if value is not None}
    result["header"] = _header(given["header"], given["columns"], trained_header)
    if given["null_values"]:
        result["null_values"] = _null_values(given["null_values"])
    return result


def print_notes(notes: Iterable[str]) -> None:
    """Print on stderr, a line each, what a person should know of the data."""
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _header(has_header: bool | None, columns: str | None, trained: Sequence[str] | None) -> Sequence[str] | None:
    if has_header is None:
        has_header = trained is None
    if has_header:
        if columns is not None:
            raise ConfigError(f"--columns {columns} is for files without a header: add --no-header or leave it out")
        return None
    if columns is None and trained is None:
        raise ConfigError("--no-header needs the names of all columns: add --columns, as user_id,item_id,_,timestamp")
    return trained if columns is None else tuple(name.strip() for name in columns.split(","))


def _null_values(given: Sequence[str]) -> tuple[str, ...]:
    values = tuple(value for values in given for value in values.split(","))
    if _NO_NULLS not in values:
        return values
    if len(values) > 1:
        raise ConfigError(f"--null-values {_NO_NULLS} says that nothing stands for null: give it alone")
    return ()
