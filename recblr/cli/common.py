"""What every command-line tool of recblr shares: one-line errors, exit codes, checks for optional packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import click

import recblr
from recblr.errors import MissingExtraError, RecblrError

version_option = click.version_option(recblr.__version__, prog_name="recblr")


class Command(click.Command):
    """A click command that reports expected failures as one line on stderr, with exit status 1.

    Anything else is a bug of ours and keeps its traceback.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RecblrError as error:
            raise click.ClickException(str(error)) from error
        except MemoryError as error:
            raise click.ClickException("out of memory: use a smaller batch or a machine with more") from error


def require_extra(tool: str, extra: str, *modules: str) -> None:
    """Check that the packages of one of recblr's extras are installed, without importing them.

    Raises:
        MissingExtraError: names the missing package and the pip command that installs it.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtraError(f"{tool} needs {', '.join(missing)}: pip install 'recblr[{extra}]'")


def existing_path(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Path | None:
    """Click callback: the value as a path that must exist.

    Raises:
        click.ClickException: nothing is there.
    """
    if value is None:
        return None
    path = Path(value)
    if not path.exists():
        raise click.ClickException(f"{value} does not exist: check the path")
    return path
