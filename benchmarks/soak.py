"""Ten minutes of random traffic through Recommender and Engine, with faults: answers stay right, memory flat.

    python benchmarks/soak.py [--minutes 10]

Threads add events, ask, forget, cancel and use asyncio at random, each on users of its own, so that every history and
ranking can be checked. Batches of several rows fail or run out of memory at random, a poisonous item fails always, the
store is slow or fails at random, and every few seconds the model is swapped and the process forks. Ends with status 1
if an answer was wrong, an error came to a caller who should have none, a thread stood still, or memory grew.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from machine import machine_info, write_result

from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.errors import BackendError, DeadlineError, ForkError, OverloadedError, RecblrError, StoreError
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.runtime import Append, Backend, Batching, Engine, Event, Ranking, Recommender, Store, load, open_store
from recblr.vocabulary import ItemVocabulary

N_ITEMS = 3416
POISON = 13
THREADS = 8
USERS_PER_THREAD = 40
LONGEST = 300
QUEUED_ROWS = 24
TIMEOUT = 5.0
SWAP_SECONDS = 7.0
SAMPLE_SECONDS = 2.0
STANDSTILL_SECONDS = 60.0
MEMORY_GROWTH = 1.05
TOLERANCE = 1e-3


class Counts:
    """How often things happened, counted from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def add(self, what: str) -> None:
        """Count one."""
        with self._lock:
            self._counts[what] = self._counts.get(what, 0) + 1

    def to_dict(self) -> dict[str, int]:
        """In order of the names."""
        return dict(sorted(self._counts.items()))


class FaultyBackend:
    """Fails at random where it is given several rows, and always where it is given the poison."""

    def __init__(self, inner: Backend, faults: Counts) -> None:
        self._inner = inner
        self._faults = faults
        self.description, self.max_k, self.limits = inner.description, inner.max_k, inner.limits

    def run(self, items: np.ndarray, offsets: np.ndarray, state_in: np.ndarray, exclude: np.ndarray, k: int) -> Any:
        chance = random.random()
        if POISON in items:
            self._faults.add("poison")
            raise ValueError("index out of range")
        if len(offsets) > 2 and chance < 0.02:
            self._faults.add("out of memory")
            raise MemoryError
        if len(offsets) > 2 and chance < 0.03:
            self._faults.add("backend raised")
            raise RuntimeError("injected")
        if chance > 0.999:
            self._faults.add("slow run")
            time.sleep(0.1)
        return self._inner.run(items, offsets, state_in, exclude, k)


class FaultyStore:
    """Is slow or fails, before it does anything, at random."""

    def __init__(self, inner: Store, faults: Counts) -> None:
        self._inner = inner
        self._faults = faults
        self.max_history = inner.max_history

    def _fault(self) -> None:
        chance = random.random()
        if chance < 0.005:
            self._faults.add("slow store")
            time.sleep(0.05)
        elif chance < 0.01:
            self._faults.add("store failed")
            raise StoreError("injected: nothing was stored")

    def append(self, appends: Sequence[Append]) -> list[bool]:
        self._fault()
        return self._inner.append(appends)

    def read(self, users: Sequence[int | str], since: Sequence[int]) -> list[list[Event]]:
        self._fault()
        return self._inner.read(users, since)

    def forget(self, user: int | str) -> bool:
        self._fault()
        return self._inner.forget(user)

    def close(self) -> None:
        self._inner.close()


class Soak:
    """What the threads share."""

    def __init__(self, bare: Engine, store: Store) -> None:
        self.bare = bare
        self.faults = Counts()
        self.outcomes = Counts()
        self.problems: list[str] = []
        self.stop = threading.Event()
        self.progress = [time.monotonic()] * THREADS
        self.recommender = Recommender(self.new_engine(), FaultyStore(store, self.faults), cache_bytes=100 * 4_500)

    def new_engine(self) -> Engine:
        """An engine that batches, over the same graph."""
        assert self.bare.backend is not None
        backend = FaultyBackend(self.bare.backend, self.faults)
        return Engine(self.bare.bundle, backend, batching=Batching(max_queue=QUEUED_ROWS, timeout=TIMEOUT, workers=2))

    def problem(self, what: str) -> None:
        """Note what must not be."""
        self.problems.append(what)

    def work(self, number: int) -> None:
        """A thread's life."""
        try:
            worker = Worker(self, number)
            while not self.stop.is_set():
                worker.act()
                self.progress[number] = time.monotonic()
        except BaseException as error:
            self.problem(f"thread {number} ended: {type(error).__name__}: {error}")
            raise


class Worker:
    """Random calls for users of its own, whose histories it knows."""

    def __init__(self, soak: Soak, number: int) -> None:
        self._soak = soak
        self._random = random.Random(number)
        self._histories: dict[str, list[int]] = {f"{number}-{n}": [] for n in range(USERS_PER_THREAD)}
        self._actions: list[tuple[Callable[[], None], int]] = [
            (self._add, 30),
            (self._recommend, 30),
            (self._recommend_many, 5),
            (self._only, 5),
            (self._history, 5),
            (self._whole_history, 10),
            (self._poison, 2),
            (self._cancel, 5),
            (self._tasks, 3),
            (self._forget, 1),
        ]

    def act(self) -> None:
        """Make one call; errors that faults explain are counted."""
        actions, weights = zip(*self._actions, strict=True)
        (action,) = self._random.choices(actions, weights)
        try:
            action()
            self._count(f"{action.__name__[1:]} answered")
        except (OverloadedError, DeadlineError, StoreError) as error:
            self._count(type(error).__name__)
        except RecblrError as error:
            self._soak.problem(f"{action.__name__[1:]}: {type(error).__name__}: {error}")

    def _count(self, what: str) -> None:
        self._soak.outcomes.add(what)

    def _user(self) -> str:
        return self._random.choice(list(self._histories))

    def _items(self, longest: int) -> list[int]:
        items = [self._random.randint(1, N_ITEMS) for _ in range(self._random.randint(1, longest))]
        return [item for item in items if item != POISON] or [1]

    def _add(self) -> None:
        user, items = self._user(), self._items(5)
        if not self._soak.recommender.add_events(user, items):
            self._soak.problem(f"nothing was added for {user}")
        self._histories[user] += items
        if len(self._histories[user]) > LONGEST:
            self._forget_user(user)

    def _recommend(self) -> None:
        user = self._user()
        self._check(user, self._soak.recommender.recommend(user, 10, exclude_seen=False))

    def _recommend_many(self) -> None:
        users = self._random.sample(list(self._histories), 10)
        for user, ranking in zip(users, self._soak.recommender.recommend_many(users, 10, False), strict=True):
            self._check(user, ranking)

    def _only(self) -> None:
        only = self._random.sample(range(1, N_ITEMS + 1), 50)
        ranking = self._soak.recommender.recommend(self._user(), 200, only=only)
        if not set(ranking.items) <= set(only):
            self._soak.problem("an item that is not in the allow-list")

    def _history(self) -> None:
        user = self._user()
        if self._soak.recommender.history(user) != self._histories[user]:
            self._soak.problem(f"the history of {user} is another")

    def _whole_history(self) -> None:
        histories = [self._items(self._random.choice([3, 100, 1500])) for _ in range(self._random.randint(1, 4))]
        rankings = self._soak.recommender.engine.recommend(histories, k=5)
        for history, ranking in zip(histories, rankings, strict=True):
            self._compare(history, ranking, 5, exclude_seen=True)

    def _poison(self) -> None:
        try:
            self._soak.recommender.engine.recommend([[1, POISON, 2]], k=3)
        except BackendError:
            return
        self._soak.problem("the poison was answered")

    def _cancel(self) -> None:
        async def ask() -> None:
            asked = asyncio.create_task(self._soak.recommender.engine.arecommend([self._items(50)], 5))
            await asyncio.sleep(0)
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asked

        asyncio.run(ask())

    def _tasks(self) -> None:
        async def ask() -> None:
            engine = self._soak.recommender.engine
            histories = [self._items(60) for _ in range(8)]
            tasks = [asyncio.create_task(engine.arecommend([history], 5)) for history in histories]
            await asyncio.sleep(0)
            tasks[0].cancel()
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            for history, answer in zip(histories, answers, strict=True):
                if isinstance(answer, list):
                    self._compare(history, answer[0], 5, exclude_seen=True)
                elif not isinstance(answer, asyncio.CancelledError):
                    raise answer

        asyncio.run(ask())

    def _forget(self) -> None:
        self._forget_user(self._user())

    def _forget_user(self, user: str) -> None:
        self._soak.recommender.forget(user)
        self._histories[user] = []

    def _check(self, user: str, ranking: Ranking) -> None:
        history = self._histories[user]
        if ranking.popular != (not history):
            self._soak.problem(f"{user} with {len(history)} items got popular={ranking.popular}")
        elif history:
            self._compare(history, ranking, 10, exclude_seen=False)

    def _compare(self, history: list[int], ranking: Ranking, k: int, *, exclude_seen: bool) -> None:
        """Check one answer in ten against the engine alone."""
        if self._random.random() > 0.1:
            return
        (expected,) = self._soak.bare.recommend([history], k, exclude_seen)
        if not np.allclose(expected.scores, ranking.scores, rtol=TOLERANCE, atol=TOLERANCE):
            self._soak.problem(f"other scores for a history of {len(history)} items")
        self._count("compared")


def resident_mib() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def is_told_of_fork(recommender: Recommender) -> bool:
    """Whether a fork of this process gets a ForkError of all that its threads answer here, and ends."""
    child = os.fork()
    if child == 0:
        told = 0
        for ask in (lambda: recommender.engine.recommend([[1]]), lambda: recommender.recommend("a user")):
            try:
                ask()
            except ForkError:
                told += 1
        os._exit(0 if told == 2 else 1)
    deadline = time.monotonic() + STANDSTILL_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def watch(soak: Soak, seconds: float) -> tuple[list[float], list[int], int]:
    """Swap models and sample memory and threads until the time is over or something is wrong."""
    memory, threads, swaps = [], [], 0
    started = swapped = time.monotonic()
    while (now := time.monotonic()) - started < seconds and len(soak.problems) < 10:
        time.sleep(SAMPLE_SECONDS)
        memory.append(round(resident_mib(), 1))
        threads.append(threading.active_count())
        if now - swapped > SWAP_SECONDS:
            swapped = now
            try:
                soak.recommender.swap(soak.new_engine(), rebuild=20)
                swaps += 1
            except (RecblrError, MemoryError) as error:
                soak.outcomes.add(f"swap: {type(error).__name__}")
            if not is_told_of_fork(soak.recommender):
                soak.problem("a fork was not told that it is one")
            soak.faults.add("fork")
        if now - min(soak.progress) > STANDSTILL_SECONDS:
            faulthandler.dump_traceback()
            soak.problem("a thread stands still")
            break
    return memory, threads, swaps


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long.")
def main(minutes: float) -> None:
    """Run, and write benchmarks/results/soak.json."""
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=N_ITEMS)).eval()
    vocabulary = ItemVocabulary(list(range(1, N_ITEMS + 1)), np.ones(N_ITEMS, dtype=np.int64))
    with tempfile.TemporaryDirectory() as folder:
        export_bundle(Checkpoint(model, vocabulary), Path(folder) / "bundle")
        bare = load(Path(folder) / "bundle", threads=1, backend="onnxruntime")  # which faults can be put before
        soak = Soak(bare, open_store(Path(folder) / "store"))
        workers = [threading.Thread(target=soak.work, args=(n,), daemon=True) for n in range(THREADS)]
        for worker in workers:
            worker.start()
        memory, threads, swaps = watch(soak, minutes * 60)
        soak.stop.set()
        for worker in workers:
            worker.join(STANDSTILL_SECONDS)
        if any(worker.is_alive() for worker in workers):
            faulthandler.dump_traceback()
            soak.problem("a thread did not end")
        engine = soak.recommender.engine
        engine.close(timeout=STANDSTILL_SECONDS)
        left = engine.metrics()
        assert left is not None
        if left.open_requests or left.queued_rows or left.queued_tokens or left.running_batches:
            soak.problem(f"requests are left at its end: {left}")
        soak.recommender.close()
    # The first tenth fills caches and the allocator's pools.
    early, late = (
        statistics.median(memory[int(len(memory) * a) : int(len(memory) * b) + 1]) for a, b in ((0.1, 0.4), (0.7, 1))
    )
    if late > MEMORY_GROWTH * early:
        soak.problem(f"memory grew from {early:.0f} to {late:.0f} MiB")
    result = {
        "machine": machine_info(("recblr", "onnxruntime-gpu", "numpy")),
        "minutes": minutes,
        "threads": THREADS,
        "outcomes": soak.outcomes.to_dict(),
        "faults": soak.faults.to_dict(),
        "swaps": swaps,
        "memory_mib": {"early": early, "late": late, "ratio": late / early, "samples": memory},
        "most_threads": max(threads),
        "problems": soak.problems,
    }
    path = write_result("soak", result)
    click.echo(f"{sum(soak.outcomes.to_dict().values()):,} outcomes: {result['outcomes']}")
    click.echo(f"faults {result['faults']}, {swaps} swaps, memory {early:.0f} -> {late:.0f} MiB, written to {path}")
    for problem in soak.problems:
        click.echo(f"PROBLEM: {problem}", err=True)
    sys.exit(1 if soak.problems else 0)


if __name__ == "__main__":
    main()
