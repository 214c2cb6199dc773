"""Options of the executable: where they come from, and what is said of them. options_test.cpp has the details."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from .process import Server, executable


def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(word) for word in (executable(), *words)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)


def printed(*words: object, **environment: str) -> str:
    done = run("--engine", "bundle", "--print-config", *words, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_flag_goes_before_the_variable_and_that_before_the_file(tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text("max-k = 1\nmax-ids = 2\nhttp-port = 3\n")
    text = printed("--config", config, "--port", 6, RECBLR_SERVE_HTTP_PORT="4", RECBLR_SERVE_MAX_IDS="5")
    values = tomllib.loads(text)
    assert (values["max-k"], values["max-ids"], values["http-port"], values["max-users"]) == (1, 5, 6, 1024)
    sources = {line.split(" = ")[0]: line.rpartition(" # ")[2] for line in text.splitlines() if " = " in line}
    assert sources["max-k"] == f"{config}, line 1"
    assert sources["max-ids"] == "RECBLR_SERVE_MAX_IDS"
    assert sources["http-port"] == "--http-port"
    assert sources["max-users"] == "default"


def test_what_is_printed_is_a_config(tmp_path: Path) -> None:
    text = printed(
        "--host", "::1", "--host", "127.0.0.1", "--timeout", 0.5, "--cache-bytes", "64MiB", "--unix-socket", "a,b"
    )
    assert tomllib.loads(text)["unix-socket"] == ["a,b"]
    (tmp_path / "serve.toml").write_text(text)
    again = run("--config", tmp_path / "serve.toml", "--print-config")
    assert again.returncode == 0, again.stderr
    assert tomllib.loads(again.stdout) == tomllib.loads(text)


def test_what_is_commented_out_is_a_config_or_in_parentheses(tmp_path: Path) -> None:
    text = printed("--token", "secret")
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line]
    without_value = [line for line in lines if re.match(r"[a-z-]+ = \(", line)]
    with_value = [line for line in lines if line not in without_value]
    assert {"host", "cache-bytes"} <= tomllib.loads("\n".join(with_value)).keys()
    assert any(line.startswith("timeout = (no bound) ") for line in without_value)
    (tmp_path / "serve.toml").write_text("\n".join([text, *with_value]))
    again = run("--config", tmp_path / "serve.toml", "--print-config")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["--port", "70000"], {}, "--http-port is 70000: give a whole number from 0 to 65535"),
        ([], {"RECBLR_SERVE_MAX_K": "x"}, "RECBLR_SERVE_MAX_K is 'x': give a whole number from 1 to 2147483647"),
        (["--pots", "1"], {}, "there is no option '--pots': did you mean --port? see recblr-serve --help"),
        (
            ["--device", "cuda"],
            {},
            "--device is 'cuda': give cpu: this server computes on the CPU; for a GPU, serve "
            "what recblr-export --triton-repository writes with Triton",
        ),
        (
            ["--host", "0.0.0.0"],
            {},
            "--host is '0.0.0.0', where others than this machine reach the server: give --token-file, or --insecure",
        ),
    ],
)
def test_wrong_ones_are_refused_in_one_line(words: list[str], environment: dict[str, str], message: str) -> None:
    done = run("--engine", "bundle", *words, **environment)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"Error: {message}\n")


def test_the_log_begins_with_the_options_but_not_with_tokens(
    start_server: Callable[..., Server], golden_bundles: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("open-sesame\n")
    server = start_server(
        golden_bundles / "integer", "--token-file", tmp_path / "token", "--admin-token", "simsalabim", "--max-k", 7
    )
    assert "max-k" in server.ready_line()
    said = server.errors() + server.output()
    assert "max-k" in said
    assert "open-sesame" not in said
    assert "simsalabim" not in said
    assert server.post("/v1/recommend", json={"histories": [[10]]}).status_code == 401
    headers = {"authorization": "Bearer open-sesame"}
    assert server.post("/v1/recommend", json={"histories": [[10]], "k": 2}, headers=headers).status_code == 200
    refused = server.post("/v1/recommend", json={"histories": [[10]], "k": 8}, headers=headers)
    assert refused.status_code == 400


def test_the_log_says_what_defaults_came_to(start_server: Callable[..., Server], golden_bundles: Path) -> None:
    server = start_server(golden_bundles / "integer", environment={"RECBLR_SERVE_LOG_REQUESTS": "1"})
    ready = server.ready_line()
    assert ready["threads"] == 1
    assert 1 <= ready["workers"] <= len(os.sched_getaffinity(0))
    assert ready["addresses"] == server.url
    assert ready["log-requests"] == "true"
    for text, value in {"1": True, "yes": True, "0": False, "no": False}.items():
        assert tomllib.loads(printed(RECBLR_SERVE_INSECURE=text))["insecure"] is value
    refused = run("--engine", "bundle", RECBLR_SERVE_INSECURE="on")
    assert refused.stderr == "Error: RECBLR_SERVE_INSECURE is 'on': give true or false\n"
