"""Every option of every tool with values of every kind: each failure is told, and none is a traceback."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from recblr.checkpoint import Checkpoint
from recblr.cli import evaluate, train
from recblr.config import RecBLRConfig
from recblr.data import synthetic_interactions, write_interactions
from recblr.export import cli as export
from recblr.export.bundle_writer import export_bundle
from recblr.model import RecBLR
from recblr.runtime.cli import bench, recommend, serve
from recblr.vocabulary import ItemVocabulary

_HUGE = [str(n) for n in (2**31, 2**63, 2**64, -(2**63), 10**30)] + ["9" * 5000]
# Valid numbers are small, as they cost time: dimensions, epochs, users, threads.
_VALID_INTEGERS = st.sampled_from(["1", "2", "3"])
_INTEGERS = _VALID_INTEGERS | _VALID_INTEGERS | st.sampled_from(["0", "-1", "1.5", "x", "", "\u0663", *_HUGE])
_VALID_FLOATS = st.sampled_from(["0", "0.25", "0.75", "1", "1e-320", "1e308"])
_FLOATS = _VALID_FLOATS | st.sampled_from(["-0.5", "nan", "inf", "-inf", "-1e308", "x", "", "1,5"])
_TEXTS = st.text(st.characters(exclude_characters="\0"), max_size=12) | st.sampled_from(
    ["300", "300,300", "0", "-1", "nan", "inf", "1e308", "1e-320", *_HUGE, "cold", "user_id", "item_id", "8.9"]
)
_NAMES = ["", ".", "..", "/", "missing", "missing/file", "folder", "data.csv", "model.pt", "bundle", "data.csv/file"]
_NAMES += ["/dev/null", "/dev/full", "pipe", "new line\n", "\udcff", "\ud800", "n" * 254, "n" * 5000, "new.png", "-"]


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
    "export": Tool(export.main, {"checkpoint": "model.pt", "output": "new", "max_k": "3"}, 60),
    "serve": Tool(serve.main, {"engine": "bundle", "port": "0"}, 60),
    "recommend": Tool(recommend.main, {"engine": "bundle"}, 60),
    "bench": Tool(bench.main, {"engine": "bundle", "warm_up": "0", **_QUICK_LOAD}, 60),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model of 5 items, and its bundle; not to be changed."""
    folder = tmp_path_factory.mktemp("inputs")
    write_interactions(synthetic_interactions(20, 5, 12, seed=3), folder / "data.csv")
    model = RecBLR(RecBLRConfig(n_items=5, dim=4, layers=1))
    checkpoint = Checkpoint(model, ItemVocabulary([1, 2, 3, 4, 5], np.arange(5)))
    checkpoint.save(folder / "model.pt")
    export_bundle(checkpoint, folder / "bundle")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture(scope="module", autouse=True)
def no_server_and_no_network() -> Iterator[None]:
    """What would serve returns at once, and no name is looked up."""
    look_up = socket.getaddrinfo

    def of_numbers(*arguments: Any, flags: int = 0, **options: Any) -> Any:
        return look_up(*arguments, flags=flags | socket.AI_NUMERICHOST, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "_serve", lambda engine, listener: None)
        patch.setattr(socket, "getaddrinfo", of_numbers)
        yield


def _values(parameter: click.Parameter) -> st.SearchStrategy[str]:
    """Values of the parameter's type, right and wrong."""
    kind = parameter.type
    if isinstance(kind, click.Choice):
        return st.sampled_from(list(kind.choices)) | _TEXTS
    if isinstance(kind, click.types.IntParamType):
        return _INTEGERS
    if isinstance(kind, click.types.FloatParamType):
        return _FLOATS
    return st.sampled_from(_NAMES) if isinstance(kind, click.Path) else _TEXTS


@st.composite
def command_lines(draw: st.DrawFn, tool: Tool) -> list[tuple[click.Parameter, list[str]]]:
    """Parameters with the words that give them: those that work, some of which are others, repeated or missing."""
    parameters = {parameter.name: parameter for parameter in tool.command.params}
    words: list[tuple[click.Parameter, list[str]]] = []
    for name, value in tool.arguments.items():
        parameter = parameters[name]
        words.append((parameter, [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]))
    for parameter in draw(st.lists(st.sampled_from(tool.command.params), min_size=1, max_size=3)):
        if isinstance(parameter, click.Argument):
            words = [pair for pair in words if pair[0] is not parameter]
            words.append((parameter, draw(st.lists(_values(parameter), max_size=2))))
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words.append((parameter, [draw(st.sampled_from(parameter.opts + parameter.secondary_opts))]))
        else:
            words.append((parameter, [draw(st.sampled_from(parameter.opts)), draw(_values(parameter))]))
    if draw(st.integers(0, 19)) == 0:
        words[-1] = (words[-1][0], words[-1][1][:-1])
    return words


def _read_paths(words: list[tuple[click.Parameter, list[str]]]) -> list[Path]:
    """What the command line has read, and not written."""
    return [
        Path(given[-1])
        for parameter, given in words
        if given and isinstance(parameter.type, click.Path) and not getattr(parameter.type, "writes", False)
    ]


def _content(paths: list[Path]) -> dict[str, bytes]:
    inputs = [path for path in paths if path.name in ("data.csv", "model.pt", "bundle")]
    files = [file for path in inputs for file in (path, *path.rglob("*")) if file.is_file()]
    return {str(file): file.read_bytes() for file in files}


def _check(result: Result, announces: bool) -> None:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1, 2)
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    if result.exit_code == 1:
        assert lines[-1].startswith("Error: ")
        assert len(lines) == 1 or announces
    if result.exit_code == 2:
        assert any(line.startswith("Error: ") for line in lines)  # below click's lines on the usage


@pytest.mark.parametrize("name", TOOLS)
def test_no_option_makes_a_traceback(name: str, inputs: Path, tmp_path: Path) -> None:
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
    def check(words: list[tuple[click.Parameter, list[str]]]) -> None:
        with TemporaryDirectory(dir=tmp_path) as folder, contextlib.chdir(folder):
            for source in inputs.iterdir():
                copy = shutil.copytree if source.is_dir() else os.link
                copy(source, source.name)
            before = _content(_read_paths(words))
            result = CliRunner().invoke(tool.command, [word for _, given in words for word in given])
            _check(result, announces=name == "bench")
            assert _content(_read_paths(words)) == before
            if result.exit_code == 2:
                assert not Path("new").exists()

    check()
