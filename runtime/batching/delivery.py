"""Hands the answers of jobs to the threads and event loops that wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, InvalidStateError

from recblr.runtime.batching.job import Answer


def deliver(answers: Iterable[Answer]) -> None:
    """Hand answers to their callers; an event loop is woken once for all of its."""
    of_loops: dict[asyncio.AbstractEventLoop, list[Answer]] = {}
    for answer in answers:
        if answer.job.loop is None:
            _settle(answer)
        else:
            of_loops.setdefault(answer.job.loop, []).append(answer)
    for loop, its_answers in of_loops.items():
        try:
            loop.call_soon_threadsafe(_settle_all, its_answers)
        except RuntimeError:  # the loop is closed, and nobody waits
            continue


def _settle_all(answers: Sequence[Answer]) -> None:
    for answer in answers:
        _settle(answer)


def _settle(answer: Answer) -> None:
    future = answer.future
    try:
        if answer.error is not None:
            future.set_exception(answer.error)
        elif answer.result is not None:
            future.set_result(answer.result)
    except InvalidStateError:  # cancelled just now, too late to withdraw
        if isinstance(future, Future):
            future.set_running_or_notify_cancel()
    except asyncio.InvalidStateError:  # its task was cancelled
        pass
