"""What every command-line tool of recblr shares: one-line errors, exit codes, checks for optional packages."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

import recblr
from recblr.cli.parameters import FilePath
from recblr.cli.start import INTERRUPTED
from recblr.cli.streams import abandon_output, prepare_streams
from recblr.errors import ConfigError, MissingExtraError, expected_failure, one_line
from recblr.files import check_not_input
from recblr.interrupts import noted_interrupts

version_option = click.version_option(recblr.__version__, prog_name="recblr")


class Command(click.Command):
    """A click command that reports what its user or the machine did wrong as one line on stderr, with exit status 1.

    Click's own usage errors have status 2. Ctrl-C ends with 130, and a reader of the output that goes away with 1,
    both without a word. Anything else is a bug of ours and keeps its traceback.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line, as `click.Command.main` does, and exit with its status."""

        def run() -> Any:
            return super(Command, self).main(args, prog_name, complete_var, standalone_mode=False, **extra)

        if standalone_mode:
            sys.exit(self._status(run))
        return run()

    def _status(self, run: Callable[[], Any]) -> int:
        """Run it, and say what must be said; the status to exit with."""
        prepare_streams()
        status = 0
        with noted_interrupts() as interrupts:
            try:
                returned = run()
                status = returned if isinstance(returned, int) else 0
            except (KeyboardInterrupt, click.Abort):
                status = INTERRUPTED
            except click.ClickException as error:
                status = error.exit_code
                _show(error)
            except Exception as error:
                message = _failure(error)
                if message is None and not interrupts.arrived:
                    raise
                status = 1
                if message is not None:
                    _show(click.ClickException(message))
            if status and interrupts.arrived:  # code in C may have made another error of it
                status = INTERRUPTED
        return _flushed(status)

    def invoke(self, ctx: click.Context) -> Any:
        """Check the paths that were given, then run the command, as `click.Command.invoke` does."""
        _check_outputs(self, ctx)
        _provide_temporary_folder(self, ctx)
        return super().invoke(ctx)


def _failure(error: Exception) -> str | None:
    if isinstance(error, RuntimeError):
        from recblr.plugins import PluginLibraryError  # which imports NumPy

        if isinstance(error, PluginLibraryError):
            return str(error)
    return expected_failure(error)


def _show(error: click.ClickException) -> None:
    try:
        if isinstance(error, click.UsageError):
            error.show()  # its lines are the usage
        else:
            click.echo(f"Error: {one_line(error.format_message())}", err=True)
    except OSError:  # nobody can be told
        abandon_output(sys.stderr)


def _flushed(status: int) -> int:
    """The status; 1, and a line, where what was printed cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        abandon_output(sys.stdout)
        if not status and not isinstance(error, BrokenPipeError):
            _show(click.ClickException(f"cannot write the output: {error.strerror}"))
        status = status or 1
    return status


def _check_outputs(command: click.Command, ctx: click.Context) -> None:
    """Check that nothing is written over what is read, or over what else is written.

    Raises:
        ConfigError: two options name the same path to write.
        OutputError: a path to write is one that is read, or a folder that holds it.
    """
    given = {p: ctx.params.get(p.name or "") for p in command.params if isinstance(p.type, FilePath)}
    paths = {p: path for p, path in given.items() if isinstance(path, Path)}
    outputs = {p: path for p, path in paths.items() if isinstance(p.type, FilePath) and p.type.writes}
    places: dict[str, click.Parameter] = {}
    for parameter, path in outputs.items():
        check_not_input(path, [other for p, other in paths.items() if p not in outputs])
        other = places.setdefault(os.path.realpath(path), parameter)
        if other is not parameter:
            raise ConfigError(f"{parameter.opts[-1]} and {other.opts[-1]} are both {path}: name another for one")


def _provide_temporary_folder(command: click.Command, ctx: click.Context) -> None:
    """Where there is no folder for temporary files, which PyTorch and Matplotlib ask for, take the one of an output."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        outputs = [ctx.params[p.name or ""] for p in command.params if isinstance(p.type, FilePath) and p.type.writes]
        folders = [path.absolute().parent for path in outputs if path is not None]
        tempfile.tempdir = next((str(folder) for folder in folders if os.access(folder, os.W_OK)), None)


def require_extra(tool: str, extra: str, *modules: str) -> None:
    """Check that the packages of one of recblr's extras are installed, without importing them.

    Raises:
        MissingExtraError: names the missing package and the pip command that installs it.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtraError(f"{tool} needs {', '.join(missing)}: pip install 'recblr[{extra}]'")
