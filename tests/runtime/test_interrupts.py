"""Ctrl-C ends what waits in the main thread, and the call goes on to its end by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import os, signal, socket, subprocess, sys, threading, time
from recblr.runtime import Batching, Engine, Limits, Recommender, load, open_store

bundle, folder = sys.argv[1:]
inner = load(bundle, threads=1)

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def interrupted(call):
    try:
        print("no interrupt:", call())
    except KeyboardInterrupt as error:
        print("interrupted", error.__context__)

def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""

LOCKED = '''
users = Recommender(inner, folder)
users.add_events("u", [10])
store = open_store(folder)
lock = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""

def check(call, after):
    command = [sys.executable, "-c", lock, folder + "/histories.sqlite3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        threading.Timer(0.3, interrupt).start()
        interrupted(call)
    wait_until(lambda: users.history("u") == after)
'''

SLOW = """
class Slow:
    description, max_k, limits = "slow", 8, Limits()
    def run(self, *arguments):
        entered.set()
        gate.wait(30)
        return inner.backend.run(*arguments)

entered, gate = threading.Event(), threading.Event()
engine = Engine(inner.bundle, Slow(), batching=Batching(workers=1))

def interrupt_run():
    entered.wait(30)
    time.sleep(0.3)
    interrupt()

threading.Thread(target=interrupt_run).start()
"""


def test_the_main_thread_adds_events_itself_where_nobody_else_writes(toy: Any, tmp_path: Path) -> None:
    code = """
others = set(os.listdir("/proc/self/task"))
users = Recommender(inner, folder)
[opener] = set(os.listdir("/proc/self/task")) - others  # has opened the store, and waits for another call

def status():
    return open(f"/proc/self/task/{opener}/status").read()

def switches():
    wait_until(lambda: "(sleeping)" in status())
    return int(status().partition("\\nvoluntary_ctxt_switches:")[2].split()[0])

before = switches()
assert users.add_events("u", [10]) and users.add_events_many([("u", [20]), ("v", [30])]) == [True, True]
assert switches() == before
assert users.forget("v") and switches() > before
"""
    subprocess.run([sys.executable, "-c", PROGRAM + code, toy.path, str(tmp_path / "store")], check=True, timeout=60)


@pytest.mark.parametrize(
    "code",
    [
        LOCKED + 'check(lambda: users.add_events("u", [20]), [10, 20])',
        LOCKED + 'check(lambda: users.add_events_many([("u", [20])]), [10, 20])',
        LOCKED + 'check(lambda: users.forget("u"), [])',
        LOCKED + 'check(lambda: store.append([("u", [20], None)]), [10, 20])',
        LOCKED + 'check(lambda: store.forget("u"), [])',
        # A server that takes connections and says nothing.
        """
server = socket.create_server(("127.0.0.1", 0))
threading.Timer(0.3, interrupt).start()
interrupted(lambda: open_store(f"redis://127.0.0.1:{server.getsockname()[1]}?socket_timeout=600"))
os._exit(sys.stdout.flush() or 0)  # rather than wait for the call
""",
        # The main thread runs the backend itself; of several rows, too, it is not run again.
        SLOW
        + """
users = Recommender(engine)
users.add_events_many([("u", [10]), ("v", [20])])
interrupted(lambda: users.recommend_many(["u", "v"]))
""",
        # It waits for the only worker.
        SLOW
        + """
users = Recommender(engine)
users.add_events("u", [10])
threading.Thread(target=lambda: engine.recommend([[10]])).start()
entered.wait(30)
interrupted(lambda: users.recommend("u"))
gate.set()
assert users.recommend("u", 2).items == inner.recommend([[10]], 2)[0].items
""",
        SLOW
        + """
threading.Thread(target=lambda: engine.recommend([[10]])).start()
entered.wait(30)
interrupted(engine.close)
gate.set()
""",
    ],
)
def test_ctrl_c_ends_what_waits(toy: Any, tmp_path: Path, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + code, toy.path, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted None\n", "", 0)
