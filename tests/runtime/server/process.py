"""A running recblr-serve, for tests of whatever needs one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

_ADDRESS = re.compile(r"\b(?:https?|grpcs?)://[\w.:\[\]]+|\bunix:\S+")
# A sanitizer, or an emulator of another machine, takes many times as long.
_SECONDS = float(os.environ.get("RECBLR_TEST_SECONDS", "60"))
_T = TypeVar("_T")


def executable() -> Path:
    """recblr-serve: what RECBLR_SERVE names, which must be there, as in CI, else the one beside this Python.

    Skips where that is not there: recblr was built without it then, as where a library that it needs is missing.
    """
    named = os.environ.get("RECBLR_SERVE")
    path = Path(named or Path(sys.executable).with_name("recblr-serve"))
    # In its place is a script that says why it is not there.
    if not path.is_file() or b"without recblr-serve" in path.read_bytes()[:1000]:
        assert named is None, f"RECBLR_SERVE is {named}, which is no program"
        pytest.skip("recblr was built without recblr-serve")
    return path


class Server:
    """A recblr-serve of its own, on free ports of this machine, from its start to its end.

    Args:
        bundle: what `--engine` gets; None for no such option.
        options: further words of its command line.
        environment: variables beside those of this process.
        cwd: the folder that it starts in.
        ready: wait until it is.

    What it says that is more than information, or is no line of its log, fails `stop`, but for lines in which
    `expected` is found.
    """

    def __init__(
        self,
        bundle: Path | None,
        *options: object,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: bool = True,
        expected: str | None = None,
    ) -> None:
        engine: tuple[object, ...] = () if bundle is None else ("--engine", bundle)
        port = () if "--port" in options else ("--port", 0)
        self.command = [str(word) for word in (executable(), *engine, *port, *options)]
        self._expected = expected
        with tempfile.NamedTemporaryFile("wb", prefix="stdout-", delete=False) as out:
            self._stdout = Path(out.name)
            with tempfile.NamedTemporaryFile("wb", prefix="stderr-", delete=False) as errors:
                self._stderr = Path(errors.name)
                self.process = subprocess.Popen(
                    self.command, stdout=out, stderr=errors, cwd=cwd, env={**os.environ, **(environment or {})}
                )
        try:
            self.addresses = self._await_addresses()
            if ready:
                self.wait_until_ready()
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Of HTTP: the first address that is one, such as http://127.0.0.1:8000."""
        return next(address for address in self.addresses if address.startswith("http"))

    @property
    def port(self) -> int:
        """Of `url`."""
        return int(self.url.rpartition(":")[2])

    @property
    def grpc(self) -> str:
        """Of gRPC, such as 127.0.0.1:8001."""
        return next(address for address in self.addresses if address.startswith("grpc://")).removeprefix("grpc://")

    def output(self) -> str:
        """What it has written to stdout."""
        return self._stdout.read_text(encoding="utf-8")

    def errors(self) -> str:
        """What it has written to stderr."""
        return self._stderr.read_text(encoding="utf-8")

    def log(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        return [json.loads(line) for line in self.errors().splitlines() if line.startswith("{")]

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET over a connection of its own."""
        return httpx.get(self.url + path, **{"timeout": _SECONDS, "trust_env": False, **options})

    def post(self, path: str, **options: Any) -> httpx.Response:
        """POST over a connection of its own."""
        return httpx.post(self.url + path, **{"timeout": _SECONDS, "trust_env": False, **options})

    def client(self, **options: Any) -> httpx.Client:
        """A client that keeps its connections."""
        return httpx.Client(**{"base_url": self.url, "timeout": _SECONDS, "trust_env": False, **options})

    def wait_until_ready(self) -> None:
        """Until it says that it serves: it is asked nothing, so that no connection is left of that."""
        self._await(lambda: "Serving " in self.output() or None, "is not ready")

    def ready_line(self) -> dict[str, Any]:
        """Of its log: what it serves, and its options. It comes a moment after it is ready."""
        return self._await(
            lambda: next((line for line in self.log() if line["event"] == "ready"), None), "logs not that it is ready"
        )

    def resident_bytes(self) -> int:
        """Its memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def peak_bytes(self) -> int:
        """The most memory that it ever had."""
        (line,) = re.findall(r"^VmHWM:\s*(\d+) kB$", Path(f"/proc/{self.pid}/status").read_text("ascii"), re.MULTILINE)
        return 1024 * int(line)

    def stop(self, number: signal.Signals | None = signal.SIGTERM) -> None:
        """End it by a signal, or await that it ends by itself, or by one that it got before: the status must be 0, and
        nothing unexpected may have been said."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it runs on {_SECONDS:g} s after its end was due{self._said()}") from None
        said, errors = self._said(), self.errors()
        self._remove_files()
        assert status == 0, f"it ended with status {status}{said}"
        unexpected = [line for line in errors.splitlines() if not self._is_expected(line)]
        assert unexpected == [], unexpected[:3]

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        self.process.kill()
        self.process.wait()
        self._remove_files()

    def _remove_files(self) -> None:
        self._stdout.unlink(missing_ok=True)
        self._stderr.unlink(missing_ok=True)

    def _await_addresses(self) -> list[str]:
        """All of the first line of stdout that has one."""
        return self._await(self._addresses, "names no address")

    def _addresses(self) -> list[str] | None:
        lines = [line for line in self.output().splitlines(keepends=True) if line.endswith("\n")]
        return next((found for line in lines if (found := _ADDRESS.findall(line))), None)

    def _await(self, found: Callable[[], _T | None], problem: str) -> _T:
        """What is `found` at last; a server that ends before, or takes too long, has the `problem`."""
        deadline = time.monotonic() + _SECONDS
        while (value := found()) is None:
            self._check_that_it_runs()
            assert time.monotonic() < deadline, f"it {problem} after {_SECONDS:g} s{self._said()}"
            time.sleep(0.005)
        return value

    def _check_that_it_runs(self) -> None:
        status = self.process.poll()
        assert status is None, f"it ended with status {status}{self._said()}"

    def _said(self) -> str:
        return f"\n{' '.join(self.command)}\n{self.output()}{self.errors()}"

    def _is_expected(self, line: str) -> bool:
        if self._expected is not None and re.search(self._expected, line):
            return True
        try:
            level = json.loads(line)["level"]
        except (ValueError, TypeError, KeyError):
            return False
        return str(level).lower() in ("trace", "debug", "info")
