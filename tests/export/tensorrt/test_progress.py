"""The display of TensorRT's progress."""

from __future__ import annotations

import pytest

from recblr.export.tensorrt.progress import engine_progress


def _build() -> None:
    with engine_progress() as tell:
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
    with engine_progress() as tell:
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
