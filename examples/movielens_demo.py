"""The whole chain on MovieLens-100k: train, evaluate, export, serve, and ask for three users' next films.

`make demo` runs it. Everything it writes is in the folder .demo.
"""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from recblr.files import replacing
from recblr.preparation import DataSettings, prepare

FOLDER = Path(".demo")
GROUPLENS = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
RECBOLE = "recbole==1.2.1"
USERS = 3
# Few epochs, so that it takes a minute or two; more and longer ones recommend a little better.
TRAINING = shlex.split("--epochs 12 --max-history 200 --learning-rate 0.004 --schedule cosine --warmup-epochs 1")
console = Console()


class DemoError(Exception):
    """The demo cannot go on; the message says what to do."""


def main() -> int:
    """Run the demo. Returns the exit status."""
    FOLDER.mkdir(exist_ok=True)
    interactions, model, bundle = FOLDER / "ml-100k.csv", FOLDER / "model.pt", FOLDER / "bundle"
    try:
        titles = get_movielens(interactions)
        step("Training RecBLR (recblr-train)")
        tool("recblr-train", interactions, "-o", model, *TRAINING)
        step("Evaluating on every user's last film (recblr-evaluate)")
        tool("recblr-evaluate", model, interactions)
        step("Exporting (recblr-export)")
        tool("recblr-export", model, "-o", bundle)
        step("Serving (recblr-serve)")
        with server(bundle) as url:
            show_recommendations(url, interactions, titles)
    except (DemoError, subprocess.CalledProcessError) as error:
        console.print(f"[red]demo stopped:[/red] {error}", highlight=False)
        return 1
    console.print(
        "\nThe server is stopped. Model, bundle and training plot are in .demo/; see README.md for what next."
    )
    return 0


def step(text: str) -> None:
    """Announce a step."""
    console.rule(f"[bold]{text}")


def tool(name: str, *arguments: object) -> None:
    """Run one of recblr's tools, from the environment that runs this script."""
    subprocess.run([str(Path(sys.executable).parent / name), *map(str, arguments)], check=True)


def get_movielens(interactions: Path) -> dict[int, str]:
    """Write MovieLens-100k's ratings as CSV; returns the films' titles by id.

    Raises:
        DemoError: neither source can be reached.
    """
    step("Getting MovieLens-100k")
    with tempfile.TemporaryDirectory() as folder:
        try:
            ratings, titles = from_grouplens(Path(folder))
            source = "GroupLens"
        except (OSError, zipfile.BadZipFile) as unreachable:
            console.print(f"GroupLens cannot be reached ({unreachable}); taking the copy in the recbole wheel")
            try:
                ratings, titles = from_recbole(Path(folder))
            except (OSError, subprocess.CalledProcessError, zipfile.BadZipFile) as error:
                raise DemoError(
                    f"MovieLens-100k is neither at {GROUPLENS} nor in the wheel {RECBOLE} of pip's index ({error}): "
                    "check the network connection and run it again"
                ) from error
            source = f"the wheel {RECBOLE}"
    with replacing(interactions) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp"])
        writer.writerows(ratings)
    console.print(f"{len(ratings):,} ratings of {len(titles):,} films, from {source}")
    return titles


def from_grouplens(folder: Path) -> tuple[list[list[str]], dict[int, str]]:
    """Ratings (user, item, timestamp) and titles from GroupLens's archive."""
    with urllib.request.urlopen(GROUPLENS, timeout=20) as response:
        (folder / "ml-100k.zip").write_bytes(response.read())
    with zipfile.ZipFile(folder / "ml-100k.zip") as archive:
        ratings = [line.split("\t") for line in archive.read("ml-100k/u.data").decode().splitlines()]
        films = [line.split("|") for line in archive.read("ml-100k/u.item").decode("latin-1").splitlines()]
    return [[user, item, at] for user, item, _, at in ratings], {int(film[0]): film[1] for film in films}


def from_recbole(folder: Path) -> tuple[list[list[str]], dict[int, str]]:
    """The same from the example data that RecBole's wheel carries."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), RECBOLE]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    with zipfile.ZipFile(next(folder.glob("recbole-*.whl"))) as wheel:
        rows = {
            kind: [
                line.split("\t")
                for line in wheel.read(f"recbole/dataset_example/ml-100k/ml-100k.{kind}").decode().splitlines()[1:]
            ]
            for kind in ("inter", "item")
        }
    titles = {int(item): f"{title} ({year})" for item, title, year, *_ in rows["item"]}
    return [[user, item, at] for user, item, _, at in rows["inter"]], titles


@contextmanager
def server(bundle: Path) -> Iterator[str]:
    """A running recblr-serve on a free port; gives its URL and stops it at the end.

    Raises:
        DemoError: it does not get ready.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).parent / "recblr-serve"), "--engine", str(bundle), "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "warning"])
    try:
        wait_until_ready(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(url: str, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Wait for the server's readiness.

    Raises:
        DemoError: it ended, or is not ready in time.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"recblr-serve ended with status {process.returncode}; its message is above")
        try:
            with urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise DemoError(f"recblr-serve is not ready after {seconds:g} s")


def show_recommendations(url: str, interactions: Path, titles: dict[int, str]) -> None:
    """Ask for some test users' next films and print what comes back beside the film they really took."""
    prepared = prepare(interactions, DataSettings())
    test, ids = prepared.split.test, prepared.interactions.item_ids
    rows = [len(test) * (2 * n + 1) // (2 * USERS) for n in range(USERS)]
    offsets = test.histories.offsets
    histories = [ids[test.histories.items[offsets[row] : offsets[row + 1]] - 1].tolist() for row in rows]
    rankings = post(f"{url}/v1/recommend", {"histories": histories, "k": 10})["rankings"]
    for row, history, ranking in zip(rows, histories, rankings, strict=True):
        truth = ids[test.targets[row] - 1]
        user = prepared.interactions.user_ids[test.users[row]]
        table = Table(title=f"User {user}: {len(history)} films seen", title_justify="left")
        table.add_column("last films seen", ratio=1)
        table.add_column("recommended next", ratio=1)
        table.add_column("score", justify="right")
        recent = history[: -len(ranking["items"]) - 1 : -1]
        for n, (item, score) in enumerate(zip(ranking["items"], ranking["scores"], strict=True)):
            mark = "[bold green]" if item == truth else ""
            seen = titles[recent[n]] if n < len(recent) else ""
            table.add_row(seen, f"{mark}{titles[item]}", f"{score:.2f}")
        console.print(table)
        place = ranking["items"].index(truth) + 1 if truth in ranking["items"] else None
        where = f"[green]recommended at place {place}[/green]" if place else "not among the ten"
        console.print(f"took next: [bold]{titles[truth]}[/bold], {where}\n", highlight=False)


def post(url: str, body: dict[str, Any]) -> Any:
    """POST JSON; returns the JSON answer."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


if __name__ == "__main__":
    if shutil.which("recblr-train", path=str(Path(sys.executable).parent)) is None:
        sys.exit("recblr is not installed in this environment: run `make demo`")
    sys.exit(main())
