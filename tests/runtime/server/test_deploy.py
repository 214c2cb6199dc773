"""The files of deploy/, as far as they can be checked where nothing of them runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from .process import Server, executable

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
UNIT = (DEPLOY / "recblr-serve.service").read_text(encoding="utf-8")
DRAIN_SECONDS = 20  # --drain-timeout's default, which the files keep


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def compose() -> dict[str, Any]:
    return documents("compose.yaml")[0]["services"]["recblr-serve"]


def config_map() -> dict[str, Any]:
    return tomllib.loads(documents("kubernetes.yaml")[0]["data"]["serve.toml"])


def pod() -> dict[str, Any]:
    return documents("kubernetes.yaml")[1]["spec"]["template"]["spec"]


def setting(name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    assert found is not None
    return found[1]


def checked(*words: object, **environment: str) -> str:
    """What `recblr-serve --print-config` prints: it takes the command line."""
    command = [str(word) for word in (executable(), *words, "--print-config")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def token(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("secret\n", encoding="utf-8")
    return tmp_path / "token"


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "prometheus.yml", "kubernetes.yaml"])
def test_what_was_not_run_says_so(name: str) -> None:
    head = (DEPLOY / name).read_text(encoding="utf-8").splitlines()
    comment = " ".join(line.strip("# ") for line in head[: next(i for i, x in enumerate(head) if x[:1] != "#")])
    assert "has not been run" in comment


def test_compose(token: Path) -> None:
    command, secrets = compose()["command"], compose()["secrets"]
    assert [word.removeprefix("/run/secrets/") for word in command if word.startswith("/run/")] == secrets
    assert documents("compose.yaml")[0]["secrets"].keys() == set(secrets)
    words = [str(token) if word.startswith("/run/secrets/") else word for word in command]
    image = dict(re.findall(r"\b(RECBLR_SERVE_\w+)=(\S+)", (DEPLOY / "Dockerfile").read_text(encoding="utf-8")))
    printed = tomllib.loads(checked(*words, **image))
    assert (printed["engine"], printed["host"], printed["timeout"]) == ("/bundle", ["0.0.0.0"], 0.5)
    ports = {int(port.rpartition(":")[2]) for port in compose()["ports"]}
    assert ports == {printed["http-port"], printed["grpc-port"]}
    services = documents("compose.yaml")[0]["services"]
    assert re.match(r"redis://(\w+):", printed["store"])[1] in services  # type: ignore[index]
    assert int(compose()["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS
    targets = documents("prometheus.yml")[0]["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"recblr-serve:{printed['http-port']}"]


def test_the_image_needs_a_token() -> None:
    """As it is started without options, for all addresses."""
    environment = os.environ | {"RECBLR_SERVE_ENGINE": "/bundle", "RECBLR_SERVE_HOST": "0.0.0.0"}
    done = subprocess.run([executable()], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    assert "give --token-file, or --insecure" in done.stderr


def test_kubernetes(token: Path, tmp_path: Path) -> None:
    text = documents("kubernetes.yaml")[0]["data"]["serve.toml"]
    for name in ("token-file", "admin-token-file"):
        text = text.replace(f'"{config_map()[name]}"', f'"{token}"')
    (tmp_path / "serve.toml").write_text(text, encoding="utf-8")
    printed = tomllib.loads(checked("--config", tmp_path / "serve.toml"))
    (container,) = pod()["containers"]
    assert container["args"] == ["--config", "/etc/recblr/serve.toml"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": printed["http-port"], "grpc": printed["grpc-port"]}
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert printed["timeout"] == 0.5
    tokens = [config_map()[name] for name in ("token-file", "admin-token-file")]
    for path in (printed["engine"], *tokens, "/etc/recblr/serve.toml"):
        assert any(path.startswith(mount) for mount in mounts)
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod()["terminationGracePeriodSeconds"] > before + config_map()["drain-timeout"]
    assert pod()["enableServiceLinks"] is False


def test_kubernetes_probes(server: Server) -> None:
    (container,) = pod()["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server.get(container[probe]["httpGet"]["path"]).status_code == 200


def test_the_unit(token: Path, tmp_path: Path) -> None:
    words = shlex.split(setting("ExecStart"))
    assert words[1:] == ["--config", "/etc/recblr/serve.toml"]
    tokens = {"RECBLR_SERVE_TOKEN_FILE": str(token), "RECBLR_SERVE_ADMIN_TOKEN_FILE": str(token)}
    printed = tomllib.loads(checked("--config", DEPLOY / "serve.toml", **tokens))
    assert printed["timeout"] == 0.5
    assert printed["store"] == f"/var/lib/{setting('StateDirectory')}"
    credentials = re.findall(r"^LoadCredential=([a-z-]+):/etc/recblr/\1$", UNIT, re.MULTILINE)
    variables = [f"{variable}=%d/{name}" for variable, name in zip(tokens, credentials, strict=True)]
    assert setting("Environment") == " ".join(variables)
    assert int(setting("TimeoutStopSec")) > printed["drain-timeout"]
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "recblr-serve.service"
    unit.write_text(UNIT.replace(words[0], str(executable())), encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def needed(program: Path) -> list[Path]:
    """The shared libraries that a program needs, and the loader, as the Dockerfile asks for them."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [Path(path) for path in re.findall(r"/\S+", listed)]


def test_the_executable_needs_the_c_library_alone() -> None:
    names = {path.name.partition(".so")[0] for path in needed(executable())}
    if names & {"libasan", "libtsan"}:
        pytest.skip("it is built with a sanitizer")
    assert {name for name in names if not name.startswith("ld-linux")} <= {"libc", "libm"}


@pytest.fixture
def image(tmp_path: Path, golden_bundles: Path) -> Path:
    """A folder with what the Dockerfile puts into the image, and a bundle, for all to read."""
    tmp_path.chmod(0o755)
    for path in (executable(), *needed(executable())):
        copy = tmp_path / ("usr/bin/recblr-serve" if path == executable() else str(path).lstrip("/"))
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    shutil.copytree(golden_bundles / "integer", tmp_path / "bundle")
    return tmp_path


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("chroot") is None, reason="chroot is there for root alone")
def test_it_serves_where_nothing_else_is(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the image: no shell, no configuration of the system, no /proc, no /tmp, and not as root."""
    starter = tmp_path / "starter"
    starter.write_text(f'#!/bin/sh\nexec chroot --userspec=65532:65532 {image} /usr/bin/recblr-serve "$@"\n')
    starter.chmod(0o755)
    monkeypatch.setenv("RECBLR_SERVE", str(starter))
    server = Server(Path("/bundle"), "--store", "memory")
    answer = server.post("/v1/recommend", json={"histories": [[10]], "k": 2})
    assert answer.status_code == 200, answer.text
    server.stop()
