"""Makes the picture of the status page in the documentation. From the checkout's root, with the extra `dev`:

    python -m tests.runtime.server.screenshot BUNDLE [PICTURE]

PICTURE is docs/status-page.png unless given. The server is under load for a while, by this process.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path

from recblr.runtime import load

from .browser import Browser
from .process import Server

SECONDS = 30.0
CALLERS = 3


def _ask(server: Server, ids: list[int] | list[str], ends: float, seed: int) -> None:
    generator = random.Random(seed)
    with server.client() as client:
        while time.monotonic() < ends:
            history = generator.choices(ids, k=generator.choice([1, 5, 20, 200]))
            client.post("/v1/recommend", json={"histories": [history], "k": 10})
            time.sleep(generator.expovariate(200 + 150 * generator.random()))


def main(bundle: Path, picture: Path) -> None:
    """Write the picture."""
    ids = load(bundle).bundle.item_ids()
    server = Server(bundle)
    ends = time.monotonic() + SECONDS
    callers = [threading.Thread(target=_ask, args=(server, ids, ends, seed)) for seed in range(CALLERS)]
    for caller in callers:
        caller.start()
    with Browser(1180, 860) as browser:
        browser.open(f"{server.url}/")
        browser.wait_for("document.getElementById('fingerprint').textContent !== ''")
        time.sleep(max(0.0, ends - time.monotonic() - 1))
        history = ", ".join(map(str, ids[:3]))
        browser.run(f"document.getElementById('history').value = {history!r}")
        browser.run("document.getElementById('ask').click()")
        browser.wait_for("document.getElementById('answer').innerText !== ''")
        time.sleep(0.5)
        picture.write_bytes(browser.screenshot())
    for caller in callers:
        caller.join()
    server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/status-page.png"))
