"""A headless Chromium, driven through its DevTools protocol over a pipe: no other package is needed for that."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import pytest

_UNPACKED = Path(__file__).parents[3] / "build" / "chromium"  # of tools/get_chromium.py
_SECONDS = float(os.environ.get("RECBLR_TEST_SECONDS", "60"))


def _program() -> tuple[str, dict[str, str]]:
    """Chromium, and the variables that it needs. Skips where there is none."""
    for name in ("chromium-headless-shell", "chromium", "google-chrome"):
        if found := shutil.which(name):
            return found, {}
    unpacked = _UNPACKED / "usr" / "lib" / "chromium" / "chromium-headless-shell"
    if not unpacked.is_file():
        pytest.skip("no Chromium: tools/get_chromium.py gets one where there is apt")
    folders = sorted({str(library.parent) for library in _UNPACKED.rglob("*.so*")})
    return str(unpacked), {"LD_LIBRARY_PATH": os.pathsep.join(folders)}


class Browser:
    """One page in a Chromium of its own.

    Attributes:
        messages: what the page's scripts wrote to the console, or failed with.
        requests: the addresses that it asked for.
    """

    def __init__(self, width: int = 1280, height: int = 900) -> None:
        program, variables = _program()
        self.messages: list[str] = []
        self.requests: list[str] = []
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        from_us, self._to = os.pipe()
        self._from, to_us = os.pipe()
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += [f"--user-data-dir={self._profile.name}", f"--window-size={width},{height}"]
        command += ["--remote-debugging-pipe", "--hide-scrollbars", "about:blank"]
        # Out of the way of 3 and 4, of which it reads from the first, and writes to the second.
        high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in (from_us, to_us)]
        self._process = subprocess.Popen(
            command,
            preexec_fn=lambda: [os.dup2(descriptor, n) for n, descriptor in enumerate(high, start=3)],
            pass_fds=(3, 4),
            env={**os.environ, **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for descriptor in (from_us, to_us, *high):
            os.close(descriptor)
        self._received = b""
        self._number = 0
        self._session: str | None = None
        try:
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self._ask(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, url: str) -> None:
        """Go to a page, and wait until its script has run."""
        assert "errorText" not in self._ask("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression in JavaScript, or of what it promises."""
        answer = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Until an expression in JavaScript is true."""
        deadline = time.monotonic() + _SECONDS
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < deadline, f"{condition} is not true; the page says {self.messages}"
            time.sleep(0.02)

    def screenshot(self) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def _ask(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _next(self) -> Any:
        while b"\0" not in self._received:
            assert select.select([self._from], [], [], _SECONDS)[0], "Chromium does not answer"
            chunk = os.read(self._from, 1 << 20)
            assert chunk, "Chromium ended"
            self._received += chunk
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def _note(self, event: Any) -> None:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            self.messages.append(" ".join(str(part.get("value")) for part in parameters["args"]))
        elif event.get("method") == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(parameters["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded":
            self.messages.append(parameters["entry"]["text"])
        elif event.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
