"""The code blocks of README.md and docs/, and what runs them.

A block is run by its language: `bash` and `console` line by line, `python` in one namespace per document, `cpp` by
test_tensorrt.py and test_cpp.py; `text` is output. `<!-- not run: reason -->` in the line before a block leaves it
out, and `<!-- needs: package -->` where that package is not installed.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner

from recblr.cli.start import MODULES
from recblr.data import synthetic_interactions, write_interactions
from recblr.data.interactions import Interactions

from ..runtime.server.process import Server, executable

ROOT = Path(__file__).parents[2]
# docs/quality.md is left out: its one command trains for hours.
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))
    if path.name != "quality.md"
)
LANGUAGES = {"bash", "console", "python", "cpp", "text"}
# What commands take where a document gives nothing: enough to see them work.
QUICK = {
    "recblr-train": {"epochs": 2, "patience": 1, "dim": 8, "device": "cpu"},
    "recblr-bench": {"duration": 0.02, "warm_up": 0.0, "rows": "1", "callers": "1", "loads": "0.3", "lengths": "5"},
}
TOOLS = (*MODULES, "recblr-serve")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_NEEDS = re.compile(r"<!-- needs: (.+) -->")
_MODULES = {"tensorrt-rtx": "tensorrt_rtx_bindings"}  # of what blocks may need
_NUMBER_OR_SPACE = re.compile(r"[\d.,]+(?:e-\d+)?|\s+")
_ADDRESS = "localhost:8000"  # where documents ask recblr-serve


@dataclass(frozen=True)
class Block:
    """A fenced block of a document; `not_run` is the reason why it is left out."""

    document: str
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(document: str) -> list[Block]:
    """The blocks of a document, by its path from the root.

    Raises:
        ValueError: code that is no fenced block of a known language, so that nothing would run it.
    """
    blocks: list[Block] = []
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    start, before = None, ""
    for number, line in enumerate(lines, start=1):
        if start is None and line.startswith("```"):
            start, language = number, line[3:]
            if language not in LANGUAGES:
                raise ValueError(f"{document}:{number}: a block of {language or 'no language'}: use {LANGUAGES}")
        elif start is not None and line == "```":
            text = "\n".join(lines[start : number - 1]) + "\n"
            blocks.append(Block(document, start, language, text, _reason_not_to_run(before)))
            start = None
        elif start is None:
            if re.match(r"    \S|\s+```", line):
                raise ValueError(f"{document}:{number}: indented code: use a fenced block")
            before = line
    return blocks


def _reason_not_to_run(marker: str) -> str | None:
    """What the line before a block says against running it here."""
    if found := _NOT_RUN.fullmatch(marker):
        return found[1]
    needs = _NEEDS.fullmatch(marker)
    # Looked for, not imported: imported before recblr, TensorRT-RTX lacks the name of its library.
    if needs and importlib.util.find_spec(_MODULES[needs[1]]) is None:
        return f"{needs[1]} is not installed"
    return None


def commands() -> dict[str, click.Command]:
    """recblr's tools in Python by name."""
    return {name: importlib.import_module(module).main for name, module in MODULES.items()}


def options_of(tool: str) -> dict[str, Any]:
    """The options of a tool, recblr-serve among them, by their names, each with its default as `--help` has it."""
    if tool == "recblr-serve":
        shown = subprocess.run([executable(), "--help"], capture_output=True, text=True, check=True).stdout
        lines = [line for line in shown.splitlines() if re.match(r" +-", line)]
        return {
            name: default[1] if (default := re.search(r"\[([^\[\]]+)\]", line)) else None
            for line in lines
            for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", re.split(r"(?<=\S) {2,}", line.strip())[0])
        }
    return {
        name: option.default
        for option in commands()[tool].params
        if isinstance(option, click.Option)
        for name in (*option.opts, *option.secondary_opts)
    }


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "document" in metafunc.fixturenames:
        metafunc.parametrize("document", DOCUMENTS)
    if "block_not_run" in metafunc.fixturenames:
        left_out = [block for document in DOCUMENTS for block in blocks_of(document) if block.not_run]
        metafunc.parametrize("block_not_run", left_out, ids=[block.place for block in left_out])
    if "tool" in metafunc.fixturenames:
        metafunc.parametrize("tool", TOOLS)


@pytest.fixture(scope="session")
def read_blocks() -> Callable[[str], list[Block]]:
    """See `blocks_of`."""
    return blocks_of


@pytest.fixture(scope="session")
def tool_options() -> Callable[[str], dict[str, Any]]:
    """See `options_of`."""
    return options_of


def _compile(source: Path, output: Path, *options: object) -> None:
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", source, "-o", output, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def compile_cpp() -> Callable[..., None]:
    """Compiles a source to an output, with further options of g++."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    return _compile


class Shell:
    """Runs the lines of shell blocks: recblr's tools in this process, but for the server, with `QUICK`'s defaults."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._commands = commands()
        self._server: Server | None = None

    def run(self, line: str) -> tuple[int, str]:
        """Exit status and output.

        Raises:
            ValueError: a command, or an operator of the shell, that this does not know.
        """
        words = shlex.split(line, comments=True)
        if re.search(r"[|&;<>$`]", re.sub(r"'[^']*'", "", line.split(" #")[0])):
            raise ValueError(f"an operator of the shell in {line!r}")
        if not words:
            return 0, ""
        name, *arguments = words
        if name == "recblr-serve":
            return 0, self._serve(arguments)
        if name in self._commands:
            result = CliRunner().invoke(self._commands[name], arguments, default_map=QUICK.get(name))
            if result.exception is not None and not isinstance(result.exception, SystemExit):
                raise result.exception
            return result.exit_code, result.output
        if name == "curl":
            if shutil.which("curl") is None:
                pytest.skip("no curl here")
            assert self._server is not None, "no recblr-serve runs"
            words = [word.replace(_ADDRESS, self._server.url.removeprefix("http://")) for word in words]
            done = subprocess.run([*words, "--silent", "--show-error"], capture_output=True, text=True, check=False)
            return done.returncode, done.stdout + done.stderr
        raise ValueError(f"no way to run {name!r} of {line!r}: mark the block as not run, with the reason")

    def _serve(self, arguments: Sequence[str]) -> str:
        self.close()
        self._server = Server(None, *arguments, cwd=self._folder)
        return self._server.output()

    def close(self) -> None:
        """End the server, which says with status 0 that it ended well."""
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()


@dataclass(frozen=True)
class Ran:
    """What a document's blocks left: the folder they ran in, and the names of its Python code."""

    folder: Path
    names: dict[str, Any]


RunDocument = Callable[[str], Ran]


def _dated(interactions: Interactions) -> Iterator[list[str]]:
    """Rows of user, item and a time from April to July 2024 as text."""
    for user, user_id in enumerate(interactions.user_ids.tolist()):
        items = interactions.items[interactions.offsets[user] : interactions.offsets[user + 1]]
        for place, item_id in enumerate(interactions.item_ids[items - 1].tolist()):
            time = datetime(2024, 4, 1, tzinfo=UTC) + timedelta(days=120 * place / len(items))
            yield [str(user_id), str(item_id), time.isoformat(timespec="seconds")]


def _write_data(folder: Path) -> None:
    """Stand-ins for the files that the documents name."""
    made = [synthetic_interactions(120, 200, 20, seed=seed, n_clusters=4) for seed in range(2)]
    for name in ("interactions.parquet", "january.parquet", "amazon-beauty.parquet"):
        write_interactions(made[0], folder / name)
    for n, interactions in enumerate(made):
        (folder / "logs" / f"date=2024-05-0{n + 1}").mkdir(parents=True)
        write_interactions(interactions, folder / "logs" / f"date=2024-05-0{n + 1}" / f"part-{n}.parquet")
    write_interactions(made[1], folder / "february.csv")
    (folder / "february.csv.gz").write_bytes(gzip.compress((folder / "february.csv").read_bytes()))
    rows = list(_dated(made[0]))
    with (folder / "events.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp", "customer", "sku", "time"])
        writer.writerows([*row, *row] for row in rows)
    with (folder / "events.tsv").open("w") as file:
        file.writelines(f"{user}\t{item}\t5\t{time}\n" for user, item, time in rows)


def _write_authors_model(path: Path) -> None:
    """A state_dict of the authors' model, as PyTorch saves it."""
    spec = importlib.util.spec_from_file_location("authors_model", ROOT / "benchmarks" / "authors_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.save(module.AuthorsModel(200, 50, dim=8).state_dict(), path)


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a model and bundles under the names that documents use; to be copied."""
    folder = tmp_path_factory.mktemp("documents")
    _write_data(folder)
    _write_authors_model(folder / "authors.pt")
    with contextlib.chdir(folder):
        shell = Shell(folder)
        for line in ("recblr-train interactions.parquet -o model.pt", "recblr-export model.pt -o bundle/"):
            status, output = shell.run(line)
            assert status == 0, output
    shutil.copytree(folder / "bundle", folder / "new-bundle")
    return folder


def _lines(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Commands of a shell block, each with the output that the document shows."""
    text = block.text.replace("\\\n", " ")
    if block.language == "bash":
        yield from ((line, []) for line in text.splitlines() if line)
        return
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *output = part.splitlines()
        yield command, output


def _kind(value: object) -> object:
    """A JSON value's shape: the names of objects, one element of lists, and types."""
    if isinstance(value, dict):
        return {name: _kind(of) for name, of in value.items()}
    if isinstance(value, list):
        return [_kind(value[0])] if value else []
    return type(value)


def _check_output(block: Block, shown: list[str], output: str) -> None:
    """Each line shown was printed, but for numbers and spaces; JSON has the shape shown, and the same error."""
    if shown and shown[0].startswith("{"):
        expected, printed = json.loads("".join(shown)), json.loads(output.splitlines()[-1])
        assert _kind(expected) == _kind(printed), block.place
        assert expected.get("error") == printed.get("error"), block.place
        return
    lines = {_NUMBER_OR_SPACE.sub("#", line.strip()) for line in output.splitlines()}
    for line in shown:
        if line.strip() != "...":
            assert _NUMBER_OR_SPACE.sub("#", line.strip()) in lines, f"{block.place}: {line}\n---\n{output}"


def _run(block: Block, shell: Shell, names: dict[str, Any]) -> None:
    if block.language == "python":
        code = "\n" * block.line + block.text  # so that a traceback names the document's line
        exec(compile(code, str(ROOT / block.document), "exec"), names)
    elif block.language in ("bash", "console"):
        for line, shown in _lines(block):
            status, output = shell.run(line)
            fails = bool(shown) and shown[0].startswith("Error: ")
            assert status == int(fails), f"{block.place}: {line}: status {status}\n{output}"
            _check_output(block, shown, output)


@pytest.fixture(scope="session")
def run_document(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDocument:
    """Runs the blocks of a document one after the other in a copy of the prepared folder, once per session."""

    @cache
    def run(document: str) -> Ran:
        folder = tmp_path_factory.mktemp("document") / "folder"
        shutil.copytree(prepared_folder, folder)
        names: dict[str, Any] = {"__name__": "document"}
        with contextlib.chdir(folder), contextlib.closing(Shell(folder)) as shell:
            for block in blocks_of(document):
                if not block.not_run:
                    _run(block, shell, names)
        return Ran(folder, names)

    return run
