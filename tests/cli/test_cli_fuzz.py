"""Every option of every tool with values of every kind: each failure is told, and none is a traceback."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from recblr.cli import evaluate, train, training_run
from recblr.export import cli as export
from recblr.runtime.benchmark import plot
from recblr.runtime.cli import bench, recommend

_HUGE = [str(n) for n in (2**31, 2**64, -(2**63))] + ["9" * 5000]
# Valid numbers are small, as they cost time: dimensions, epochs, users, threads.
_INTEGERS = ["0", "-1", "1.5", "x", "", "\u0663", *_HUGE]
_FLOATS = ["0", "-0.5", "nan", "inf", "-inf", "1e308", "-1e308", "1e-320", "x", "", "1,5"]
_TEXTS = ["300", "300,300", "0", "-1", "nan", "inf", "1e-320", "9" * 5000]
_TEXTS += ["", "cold", "user_id", "item_id", "\udcff", "new\nline", "\x1b[31m", "x" * 5000, "cuda:99", "meta"]
_PATHS = ["", ".", "..", "missing", "missing/file", "folder", "data.csv", "model.pt", "bundle", "data.csv/file"]
_PATHS += ["/dev/null", "/dev/full", "pipe", "new line\n", "\udcff", "\ud800", "n" * 254, "n" * 5000, "new.png", "-"]


# Parameters with what gives them on the command line.
Words: TypeAlias = list[tuple[click.Parameter, list[str]]]


@dataclasses.dataclass(frozen=True)
class Tool:
    """A command, and arguments with which it works and is quick."""

    command: click.Command
    arguments: dict[str, str]
    examples: int


_SMALL_MODEL = {"dim": "4", "layers": "1", "epochs": "1", "patience": "1", "batch_tokens": "200", "negatives": "5"}
_QUICK_LOAD = {"traffic": "cold", "rows": "1", "lengths": "2", "callers": "1", "loads": "", "duration": "0.01"}
TOOLS = {
    "train": Tool(train.main, {"data": "data.csv", "output": "new.pt", **_SMALL_MODEL}, 60),
    "evaluate": Tool(evaluate.main, {"model": "model.pt", "data": "data.csv"}, 60),
    "export": Tool(export.main, {"checkpoint": "model.pt", "output": "new", "max_k": "3"}, 10),
    "recommend": Tool(recommend.main, {"engine": "bundle"}, 60),
    "bench": Tool(bench.main, {"engine": "bundle", "warm_up": "0", **_QUICK_LOAD}, 60),
}


@pytest.fixture(scope="module", autouse=True)
def nothing_slow() -> Iterator[None]:
    """What would plot returns at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "plot_training", lambda path, records: None)
        patch.setattr(plot, "plot_results", lambda path, results, title: None)
        yield


def _is_path(parameter: click.Parameter) -> bool:
    return isinstance(parameter.type, click.Path) or parameter.name in ("data", "evaluation_data")  # or URIs


def _extremes(parameter: click.Parameter) -> list[str]:
    """Values of the parameter's type that are wrong, or nearly so."""
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return [*kind.choices, *_TEXTS]
    if isinstance(kind, click.types.IntParamType):
        return _INTEGERS
    if isinstance(kind, click.types.FloatParamType):
        return _FLOATS
    return _PATHS if _is_path(parameter) else _TEXTS


def _values(parameter: click.Parameter) -> st.SearchStrategy[str]:
    """Values of the parameter's type, right and wrong."""
    kind, extremes = parameter.type, st.sampled_from(_extremes(parameter))
    if isinstance(kind, click.types.IntParamType):
        return st.sampled_from(["1", "2", "3"]) | extremes
    if isinstance(kind, click.types.FloatParamType):
        return st.floats(0, 1).map(str) | extremes
    if isinstance(kind, click.Choice) or _is_path(parameter):
        return extremes
    return st.text(st.characters(exclude_characters="\0"), max_size=12) | extremes


def _usual(tool: Tool, *others: click.Parameter) -> Words:
    """The arguments with which it works, but for those that take the place of others."""
    parameters = {parameter.name: parameter for parameter in tool.command.params}
    given = ((parameters[name], value) for name, value in tool.arguments.items() if parameters[name] not in others)
    return [(p, [value] if isinstance(p, click.Argument) else [p.opts[0], value]) for p, value in given]


@st.composite
def command_lines(draw: st.DrawFn, tool: Tool) -> Words:
    """The usual arguments with some others, which may be repeated or, rarely, lack a value."""
    chosen = draw(st.lists(st.sampled_from(tool.command.params), min_size=1, max_size=4))
    words = _usual(tool, *(parameter for parameter in chosen if isinstance(parameter, click.Argument)))
    for parameter in chosen:
        if isinstance(parameter, click.Argument):
            words.append((parameter, draw(st.lists(_values(parameter), max_size=2))))
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words.append((parameter, [draw(st.sampled_from(parameter.opts + parameter.secondary_opts))]))
        else:
            words.append((parameter, [draw(st.sampled_from(parameter.opts)), draw(_values(parameter))]))
    if draw(st.integers(0, 19)) == 0:
        words[-1] = (words[-1][0], words[-1][1][:-1])
    return words


def _read_paths(words: Words) -> list[Path]:
    """What the command line has read, and not written."""
    return [
        Path(given[-1])
        for parameter, given in words
        if given and _is_path(parameter) and not getattr(parameter.type, "writes", False)
    ]


def _content(paths: list[Path]) -> dict[str, bytes]:
    inputs = [path for path in paths if path.name in ("data.csv", "model.pt", "bundle")]
    files = [file for path in inputs for file in (path, *path.rglob("*")) if file.is_file()]
    return {str(file): file.read_bytes() for file in files}


def _check(tool: Tool, words: Words, inputs: Path, tmp_path: Path) -> None:
    """Run a command line in a folder of its own: how it ends must be told, and inputs stay what they are."""
    with TemporaryDirectory(dir=tmp_path) as folder, contextlib.chdir(folder):
        for source in inputs.iterdir():
            if source.is_dir():
                shutil.copytree(source, source.name, copy_function=os.link)
            else:
                os.link(source, source.name)
        before = _content(_read_paths(words))
        result = CliRunner().invoke(tool.command, [word for _, given in words for word in given])
        assert _content(_read_paths(words)) == before
        left = [name for name in os.listdir() if name.endswith((".tmp", ".old"))]
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.output
    assert left == []
    lines = result.stderr.splitlines()
    if result.exit_code == 1:
        assert lines[-1].startswith("Error: ")
        assert len(lines) == 1 or tool.command is bench.main  # which says what it measures
    if result.exit_code == 2:
        assert any(line.startswith("Error: ") for line in lines)  # below click's lines on the usage


@pytest.mark.parametrize("name", TOOLS)
def test_every_option_with_every_extreme(name: str, inputs: Path, tmp_path: Path) -> None:
    tool = TOOLS[name]
    if name == "export":  # which takes seconds where nothing is wrong: here the model is
        tool = dataclasses.replace(tool, arguments={**tool.arguments, "checkpoint": "data.csv"})
    for parameter in tool.command.params:
        if isinstance(parameter, click.Option) and parameter.is_flag:
            continue
        for value in _extremes(parameter):
            given = [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
            others = [parameter] if isinstance(parameter, click.Argument) else []
            words = [*_usual(tool, *others), (parameter, given)]
            _check(tool, words, inputs, tmp_path)


@pytest.mark.parametrize("name", TOOLS)
def test_any_command_line(name: str, inputs: Path, tmp_path: Path) -> None:
    tool = TOOLS[name]

    @settings(
        max_examples=tool.examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(words=command_lines(tool))
    def check(words: Words) -> None:
        _check(tool, words, inputs, tmp_path)

    check()
