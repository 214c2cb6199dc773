"""What building a plan needs, said at once; and the display of TensorRT's progress."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recblr.errors import ConfigError
from recblr.export.tensorrt.plan_builder import PlanBuilder, build_progress
from recblr.export.tensorrt.settings import PlanSettings


@pytest.mark.parametrize(
    ("hidden", "target", "message"),
    [
        pytest.param(
            "import recblr.plugins; recblr.plugins.find_library = lambda: None",
            "tensorrt-rtx",
            "TensorRT-RTX needs the plugin library librecblr_plugins.so, which is not installed: install a C++ "
            "compiler and reinstall recblr, or name a built one in RECBLR_PLUGINS_LIBRARY",
            id="the plugin library",
        ),
        pytest.param(
            "sys.modules['tensorrt'] = None  # importing it raises ImportError",
            "tensorrt",
            "TensorRT is not installed: pip install 'recblr[tensorrt]' (PyPI's tensorrt is a stub, which fetches the "
            "libraries from NVIDIA's own host: that must be reachable)",
            id="TensorRT",
        ),
    ],
)
def test_what_is_missing_is_an_error_at_once(
    request: pytest.FixtureRequest, tmp_path: Path, hidden: str, target: str, message: str
) -> None:
    """Before PyTorch is imported or anything read: there is no model.pt."""
    if target == "tensorrt-rtx":
        request.getfixturevalue("plugin_library")  # or a skip, where TensorRT-RTX is missing, too
    program = f"""
import sys
{hidden}
from recblr.export.cli import main
try:
    main(sys.argv[1:])
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "no-model.pt", "-o", "bundle", "--target", target],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "False\n", f"Error: {message}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("plugin_library")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "RECBLR_PLUGINS_LIBRARY names '.*', which is no file: unset or correct it"),
        (b"not a library", "does not give TensorRT recblr::CausalConv1d, recblr::GatedScan (.*): is it librecblr"),
    ],
    ids=["missing", "text"],
)
def test_another_file_named_as_plugin_library(
    export_process: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, content: bytes | None, reason: str
) -> None:
    library = tmp_path / "library.so"
    if content is not None:
        library.write_bytes(content)
    options = ("no-model.pt", "-o", "bundle", "--target", "tensorrt-rtx")
    done = export_process(*options, cwd=tmp_path, RECBLR_PLUGINS_LIBRARY=str(library))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert re.search(reason.replace("(.*)", r"\(.*\)"), done.stderr)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.usefixtures("plugin_library")
def test_imported_before_recblr() -> None:
    """An error, where TensorRT-RTX would abort the process."""
    program = """
import tensorrt_rtx_bindings
from recblr.errors import ConfigError
from recblr.export.tensorrt.plan_builder import PlanBuilder
from recblr.export.tensorrt.settings import PlanSettings
try:
    PlanBuilder(PlanSettings(target="tensorrt-rtx"))
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "was imported before recblr, and would abort" in done.stdout


@pytest.mark.usefixtures("plugin_library")
def test_tensorrt_and_the_other_are_not_mixed() -> None:
    PlanBuilder(PlanSettings(target="tensorrt-rtx"))
    with pytest.raises(ConfigError, match="this process uses TensorRT-RTX already"):
        PlanBuilder(PlanSettings(target="tensorrt"))


def _build() -> None:
    with build_progress() as tell:
        tell("Building engine", "", 2, 0)
        tell("Tactic selection", "Building engine", 3, 0)
        tell("Tactic selection", "Building engine", 3, 3)
        tell("Tactic selection", "Building engine", 3, 3)  # TensorRT says that it is done, and that it has ended
        tell("Building engine", "", 2, 1)
        tell("Building engine", "", 2, 2)
        tell("Nothing to do", "", 0, 0)


def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Phases are shown, and cleared away at the end."""
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    with build_progress() as tell:
        tell("Building engine", "", 2, 0)
        tell("Tactic selection", "Building engine", 3, 1)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "Building engine" in shown.err
    assert "  Tactic selection" in shown.err
    assert shown.err.endswith("\x1b[2K")  # the last line that was drawn is erased
    _build()


def test_nothing_where_there_is_none(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    _build()
    assert capfd.readouterr() == ("", "")
