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
        """See `click.Command.main`."""

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
        """See `click.Command.invoke`."""
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
        ConfigError: two options name the same path, or a folder to write holds what is read.
    """
    given = [(parameter, ctx.params.get(parameter.name or "")) for parameter in command.params]
    paths = [
        (parameter, path, Path(os.path.realpath(path)))
        for parameter, value in given
        for path in (value if isinstance(value, tuple) else (value,))
        if isinstance(path, Path)
    ]
    for output, path, place in paths:
        if not (isinstance(output.type, FilePath) and output.type.writes):
            continue
        for other, _, its_place in paths:
            if other is not output and its_place.is_relative_to(place):
                relation = "is the path of" if its_place == place else "holds what is the path of"
                raise ConfigError(f"{_name(output)} {path} {relation} {_name(other)}, too: name another")


def _provide_temporary_folder(command: click.Command, ctx: click.Context) -> None:
    """Where there is no folder for temporary files, which PyTorch and Matplotlib ask for, take the one of an output."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        outputs = [ctx.params[p.name or ""] for p in command.params if isinstance(p.type, FilePath) and p.type.writes]
        folders = [path.absolute().parent for path in outputs if path is not None]
        tempfile.tempdir = next((str(folder) for folder in folders if os.access(folder, os.W_OK)), None)


def _name(parameter: click.Parameter) -> str:
    return parameter.opts[-1] if isinstance(parameter, click.Option) else (parameter.name or "").upper()


def require_extra(tool: str, extra: str, *modules: str) -> None:
    """Check that the packages of one of recblr's extras are installed, without importing them.

    Raises:
        MissingExtraError: names the missing package and the pip command that installs it.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtraError(f"{tool} needs {', '.join(missing)}: pip install 'recblr[{extra}]'")
