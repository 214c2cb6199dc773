"""The servers that are compared: recblr-serve, other ways to put recblr.runtime behind HTTP, and an earlier one."""

from __future__ import annotations

import os
import signal
import site
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
APPS = Path(__file__).parent / "servers"
PACKAGES = ("granian", "msgspec", "litserve", "fastapi", "uvicorn[standard]")
_ENVIRONMENT = ROOT / "build" / "benchmarks" / "alternatives"
_READY_SECONDS = 120

Command = Callable[[int, Path], Sequence[object]]  # of a port and a bundle


def free_port() -> int:
    """One that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def recblr_serve() -> Path:
    """The executable of this environment."""
    path = Path(os.environ.get("RECBLR_SERVE", Path(sys.executable).with_name("recblr-serve")))
    if not path.is_file():
        raise click.ClickException(f"{path} is missing: install recblr where Boost and OpenSSL are, or RECBLR_SERVE=")
    return path


def alternatives_python() -> Path:
    """The Python of an environment with `PACKAGES` and, from this one, recblr; made where there is none."""
    python = _ENVIRONMENT / "bin" / "python"
    if not (_ENVIRONMENT / "made").is_file():
        click.echo(f"making an environment with {', '.join(PACKAGES)}")
        venv.create(_ENVIRONMENT, clear=True, symlinks=True)
        command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *PACKAGES]
        subprocess.run(command, check=True)
        (packages,) = _ENVIRONMENT.glob("lib/python*/site-packages")
        lines = "".join(f"import site; site.addsitedir({folder!r})\n" for folder in site.getsitepackages())
        (packages / "this_environment.pth").write_text(lines, encoding="utf-8")
        (_ENVIRONMENT / "made").touch()
    return python


def alternatives() -> dict[str, Command]:
    """Other ways to serve the same engine, each with the options that did best here."""
    python = alternatives_python()

    def granian(workers: int) -> Command:
        options = ("--interface", "rsgi", "--no-ws", "--loop", "uvloop", "--log-level", "warning")
        return lambda port, bundle: (
            *(python, "-m", "granian", *options, "--workers", workers, "--host", "127.0.0.1", "--port", port),
            "granian_app:app",
        )

    return {
        "Granian, 1 process": granian(1),
        "Granian, 2 processes": granian(2),
        "FastAPI": lambda port, bundle: (
            *(python, "-m", "uvicorn", "fastapi_app:app", "--host", "127.0.0.1", "--port", port),
            *("--log-level", "warning", "--no-access-log"),
        ),
        "LitServe": lambda port, bundle: (python, "litserve_app.py", port),
    }


def earlier(checkout: Path) -> Command:
    """The recblr-serve of a checkout that `make setup` has been run in."""
    script = checkout / ".venv" / "bin" / "recblr-serve"
    if not script.is_file():
        raise click.ClickException(f"{script} is missing: run make setup in that checkout")
    return lambda port, bundle: (script, "--engine", bundle, "--port", port)


class Side:
    """A running server; it stands still but for the turns that it takes."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.port = port
        self.process = process

    def stop(self) -> None:
        """Let it stand still, with the processes that it has started."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go(self) -> None:
        """Let it run."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """CPU time of its first process, in user and system mode."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def running(name: str, command: Command, bundle: Path, ready_path: str = "/v1/recommend") -> Iterator[Side]:
    """A server that answers; ended with what it started."""
    port = free_port()
    words = [str(word) for word in command(port, bundle)]
    environment: Mapping[str, str] = {**os.environ, "RECBLR_BENCHMARK_BUNDLE": str(bundle)}
    process = subprocess.Popen(words, cwd=APPS, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    side = Side(name, port, process)
    try:
        _wait_until_ready(side, ready_path)
        yield side
    finally:
        side.go()
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # LitServe leaves processes behind
        process.wait()


def ask(port: int, body: bytes, path: str = "/v1/recommend") -> bytes:
    """One answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        content: bytes = response.read()
        return content


def _wait_until_ready(side: Side, path: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        if side.process.poll() is not None:
            raise click.ClickException(f"{side.name} ended with status {side.process.returncode}")
        try:
            ask(side.port, b'{"histories": [[1]], "k": 1}', path)
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise click.ClickException(f"{side.name} is not ready after {_READY_SECONDS} s") from None
            time.sleep(0.1)
