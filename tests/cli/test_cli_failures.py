"""What users and machines do wrong, in the tools as processes and by name; `test_cli_fuzz` has all options."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from recblr import memory
from recblr.checkpoint import load_checkpoint
from recblr.cli import evaluate, train
from recblr.cli.common import Command
from recblr.config import RecBLRConfig
from recblr.errors import CheckpointError, ConfigError, expected_failure, one_line
from recblr.export.bundle import export_bundle
from recblr.interrupts import noted_interrupts
from recblr.model import RecBLR
from recblr.runtime.cli import bench, recommend
from recblr.vocabulary import ItemVocabulary

QUICK_TRAINING = ["--dim", "4", "--layers", "1", "--epochs", "1", "--batch-tokens", "200"]
QUICK_BENCH = ["--traffic", "cold", "--rows", "1", "--lengths", "2", "--callers", "1", "--loads", ""]
QUICK_BENCH += ["--duration", "0.01", "--warm-up", "0"]


def invoke(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def refusal(result: Result) -> str:
    """The one line of an expected failure."""
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def start(tool: str, *arguments: object, before: str = "", **options: Any) -> subprocess.Popen[str]:
    """The tool as a process, which runs the code `before` itself."""
    code = f"import sys; sys.argv[0] = 'recblr-{tool}'\n{before}\nfrom recblr.cli.start import {tool}; {tool}()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **{**pipes, **options})


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Status and what was printed."""
    printed, told = process.communicate(timeout=120)
    return process.returncode, printed, told


@pytest.fixture(scope="module")
def text_bundle(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the model with other ids."""
    checkpoint = load_checkpoint(inputs / "model.pt")
    checkpoint.vocabulary = ItemVocabulary(["größe", "日本", "c", "d", "e"], [5, 4, 3, 2, 1])
    path = tmp_path_factory.mktemp("text") / "bundle"
    export_bundle(checkpoint, path)
    return path


@pytest.mark.parametrize("initial_state", [False, True])
def test_the_size_of_a_model_is_known_beforehand(initial_state: bool) -> None:
    config = RecBLRConfig(n_items=7, dim=6, layers=3, expansion=1.5, conv_width=3, initial_state=initial_state)
    assert config.n_parameters == sum(parameter.numel() for parameter in RecBLR(config).parameters())


@pytest.mark.parametrize(
    "options",
    [
        ["--expansion", "1e9"],
        ["--dim", "2147483647"],
        ["--conv-width", "2147483647"],
        ["--dim", "100000", "--layers", "1000"],
        ["--loss", "sampled", "--negatives", "2147483647", "--dim", "4096"],
    ],
)
def test_what_no_memory_can_hold_is_refused_before_it_is_allocated(
    options: list[str], inputs: Path, tmp_path: Path
) -> None:
    message = refusal(invoke(train.main, inputs / "data.csv", "-o", tmp_path / "m.pt", *options))
    assert "training this model takes" in message
    assert "GiB of memory here" in message
    assert list(tmp_path.iterdir()) == []


def test_a_model_file_beyond_the_memory(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "usable_memory", lambda: 1000)
    with pytest.raises(CheckpointError, match="the model takes 0.0 GiB"):
        load_checkpoint(inputs / "model.pt")


def test_the_memory_is_bounded_by_the_machine_and_its_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    bound = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_GROUP_LIMITS", (bound, tmp_path / "missing"))
    bound.write_text("max\n")
    assert memory.usable_memory() <= machine
    bound.write_text("12345\n")
    assert memory.usable_memory() == 12_345


def _raised(cause: Any) -> Exception:
    try:
        cause()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (lambda: torch.empty(2**50, dtype=torch.int8), "out of memory"),
        (lambda: torch.empty(2**62, 2**62), "out of memory"),
        (lambda: np.empty(2**60, np.int8), "out of memory"),
        (lambda: bytearray(2**62), "out of memory"),
        (lambda: Path("/nowhere/x").read_text(), "/nowhere/x: No such file or directory"),
        (lambda: "ü".encode("ascii"), "text that cannot be read or written"),
        (lambda: torch.empty(2) @ torch.empty(3), None),
        (lambda: [][0], None),
    ],
)
def test_whose_fault_an_error_is(cause: Any, said: str | None) -> None:
    told = expected_failure(_raised(cause))
    assert told is None if said is None else said in str(told)


def test_a_message_is_one_printable_line() -> None:
    assert one_line("a\nb\x1b[31m\u2028ü\udcff") == "a\\nb\\x1b[31m\\u2028ü\\udcff"


def test_a_bug_keeps_its_traceback() -> None:
    @click.command(cls=Command)
    def tool() -> None:
        raise LookupError("ours")

    assert isinstance(invoke(tool).exception, LookupError)


@pytest.mark.parametrize(("options", "count"), [([], 5), (["-k", "2"], 2)])
def test_a_small_catalogue_bounds_the_default_k(options: list[str], count: int, inputs: Path) -> None:
    result = invoke(recommend.main, "--engine", inputs / "bundle", "--json", *options)
    assert len(json.loads(result.stdout)["items"]) == count


def test_k_beyond_a_small_catalogue(inputs: Path, tmp_path: Path) -> None:
    for command in (recommend.main, bench.main):
        message = refusal(invoke(command, "--engine", inputs / "bundle", "-k", "6"))
        assert "k is 6, but the catalogue has 5 items" in message
        assert "k is 0" in refusal(invoke(command, "--engine", inputs / "bundle", "-k", "0"))
    report = tmp_path / "report.json"
    assert invoke(bench.main, "--engine", inputs / "bundle", "--json", report, *QUICK_BENCH).exit_code == 0
    assert json.loads(report.read_text())["settings"]["k"] == 5


def test_the_largest_seed(inputs: Path, tmp_path: Path) -> None:
    seed = ["--seed", str(2**64 - 1)]
    result = invoke(train.main, inputs / "data.csv", "-o", tmp_path / "m.pt", *QUICK_TRAINING, *seed)
    assert result.exit_code == 0, result.output
    assert load_checkpoint(tmp_path / "m.pt").training["seed"] == 2**64 - 1
    assert invoke(bench.main, "--engine", inputs / "bundle", *QUICK_BENCH, *seed).exit_code == 0


def test_nothing_is_written_over_what_is_read(inputs: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_bytes((inputs / "data.csv").read_bytes())
    (tmp_path / "link.csv").symlink_to(data)
    told = f"writing {data} would destroy the input"
    assert told in refusal(invoke(evaluate.main, inputs / "model.pt", tmp_path / "link.csv", "--json", data))
    assert told in refusal(invoke(train.main, data, "-o", data, *QUICK_TRAINING))
    assert told in refusal(invoke(bench.main, "--engine", inputs / "bundle", "--data", data, "--json", data))
    assert data.read_bytes() == (inputs / "data.csv").read_bytes()
    same = ["--json", tmp_path / "x", "--plot", tmp_path / "x"]
    assert "--plot and --json are both" in refusal(invoke(bench.main, "--engine", inputs / "bundle", *same))


@pytest.mark.parametrize("suffix", [".pt.png", ".pt.log.jsonl", ".pt.resume"])
def test_what_is_written_beside_the_model_is_checked_before_training(suffix: str, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / f"m{suffix}").mkdir()
    message = refusal(invoke(train.main, inputs / "data.csv", "-o", tmp_path / "m.pt", *QUICK_TRAINING))
    assert f"m{suffix}: Is a directory" in message
    assert not (tmp_path / "m.pt").exists()


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "nonsense"},
        {"WORLD_SIZE": "0"},
        {"WORLD_SIZE": "9" * 5000},
        {"WORLD_SIZE": "2", "RANK": "2"},
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "x"},
        {"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "29555"},
    ],
)
def test_variables_that_torchrun_did_not_set(
    variables: dict[str, str], inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    message = refusal(invoke(train.main, inputs / "data.csv", "-o", tmp_path / "m.pt", *QUICK_TRAINING))
    assert "torchrun" in message
    assert len(message) < 500


@pytest.mark.parametrize("device", ["cuda:99", "cuda:-1", "meta", "cpu:x", "", "\udcff", "mps"])
def test_devices_that_are_none(device: str, inputs: Path, tmp_path: Path) -> None:
    message = refusal(invoke(train.main, inputs / "data.csv", "-o", tmp_path / "m.pt", "--device", device))
    assert "cannot be used" in message


def test_characters_that_the_terminal_lacks_are_escaped(text_bundle: Path) -> None:
    options: dict[str, Any] = {"env": {**os.environ, "PYTHONIOENCODING": "latin-1"}, "encoding": "latin-1"}
    plain = start("recommend", "--engine", text_bundle, **options)
    as_json = start("recommend", "--engine", text_bundle, "--json", **options)
    status, printed, _ = finish(plain)
    assert status == 0
    assert "größe" in printed
    assert "\\u65e5\\u672c" in printed
    status, printed, _ = finish(as_json)
    assert status == 0
    assert json.loads(printed)["items"][:2] == ["größe", "日本"]


def test_tables_in_ascii(inputs: Path, tmp_path: Path) -> None:
    data = tmp_path / "dätä.csv"
    data.write_bytes((inputs / "data.csv").read_bytes())
    arguments = [str(data), "-o", str(tmp_path / "m.pt"), *QUICK_TRAINING]
    result = CliRunner(charset="ascii").invoke(train.main, arguments)
    assert result.exit_code == 0, result.stderr
    assert "d\\xe4t\\xe4.csv" in result.stdout


def test_output_that_nobody_takes(inputs: Path) -> None:
    """A reader that went away is no error to talk of; a full disk is."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as gone, open("/dev/full", "w") as full:  # noqa: PTH123
        runs = [
            start(tool, *arguments, stdout=stdout)
            for stdout in (gone, full)
            for tool, *arguments in (
                ("recommend", "--engine", inputs / "bundle", "--history", "1"),
                ("recommend", "--help"),
            )
        ]
    told = [finish(run) for run in runs]
    assert [status for status, _, _ in told] == [1] * 4
    assert [text for _, _, text in told[:2]] == [""] * 2
    for _, _, text in told[2:]:
        assert text.startswith(f"Error: {os.strerror(errno.ENOSPC)}")
        assert text.count("\n") == 1


def test_training_without_streams_and_without_temporary_files(inputs: Path, tmp_path: Path) -> None:
    """No standard stream is open, and there is no folder for temporary files: the model is written nevertheless."""
    output = tmp_path / "out" / "m.pt"
    output.parent.mkdir()
    code = """
import os, tempfile
tempfile._candidate_tempdir_list = lambda: ["/nowhere"]
for stream in range(3):
    os.close(stream)
"""
    assert finish(start("train", inputs / "data.csv", "-o", output, *QUICK_TRAINING, before=code))[0] == 0
    assert load_checkpoint(output).metrics["test"]
    assert output.with_name("m.pt.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("tool", "module"),
    [("recommend", "click"), ("recommend", "numpy"), ("recommend", "recblr.runtime.engine"), ("train", "torch._C")],
)
def test_ctrl_c_while_the_tool_is_imported(tool: str, module: str, inputs: Path, tmp_path: Path) -> None:
    code = f"""
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupter())
"""
    arguments = {
        "recommend": ["--engine", inputs / "bundle"],
        "train": [inputs / "data.csv", "-o", tmp_path / "m.pt"],
    }
    status, printed, told = finish(start(tool, *arguments[tool], before=code))
    assert (status, printed, told.strip()) == (130, "", "")
    assert list(tmp_path.iterdir()) == []


def test_what_code_in_c_makes_of_ctrl_c() -> None:
    """It may hide the KeyboardInterrupt behind an error of its own."""

    @click.command(cls=Command)
    def tool() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise SystemError("error return without exception set") from None

    result = invoke(tool)
    assert (result.exit_code, result.stderr) == (130, "")


def test_interrupts_are_noted_only_where_python_listens() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with noted_interrupts() as noted:
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert not noted.arrived
    finally:
        signal.signal(signal.SIGINT, before)


def test_settings_of_the_environment_that_are_nonsense(inputs: Path) -> None:
    runs = [
        start("recommend", "--engine", inputs / "bundle", "--history", "1", env={**os.environ, name: value})
        for name, value in (("RECBLR_CPU_ISA", "avx9000"), ("RECBLR_PLUGINS_LIBRARY", "/nowhere"))
    ]
    for run in runs:
        status, _, told = finish(run)
        assert status in (0, 1)
        assert "Traceback" not in told


def test_settings_out_of_range_in_python() -> None:
    for settings in ({"expansion": 1e308}, {"layers": 1025}, {"dim": 2**31}):
        with pytest.raises(ConfigError):
            RecBLRConfig(**{"n_items": 5, **settings})  # type: ignore[arg-type]
