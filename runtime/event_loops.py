"""Brings the answers of requests to the event loops that wait for them."""

from __future__ import annotations

import asyncio
import itertools
import threading
import weakref
from typing import Any

from recblr.runtime import _core


class Mailbox:
    """The requests that an event loop waits for.

    Workers put what is done into a list of the core, and write to a file descriptor of which the loop is told: they
    need neither Python's lock nor a loop that still runs, and the loop wakes once for all that is there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop call `_deliver` where answers are there."""
        self._finished = _core.Finished()
        self._waiting: dict[int, tuple[_core.Engine, asyncio.Future[Any]]] = {}
        self._numbers = itertools.count()
        loop.add_reader(self._finished.fileno(), self._deliver)

    async def ask(self, core: _core.Engine, *arguments: Any) -> Any:
        """What `core.submit` with these arguments comes to; cancelling the task withdraws the request."""
        future = asyncio.get_running_loop().create_future()
        number = next(self._numbers)
        self._waiting[number] = core, future
        try:
            submission = core.submit(self._finished, number, *arguments)
        except BaseException:
            del self._waiting[number]
            raise
        try:
            return await future
        finally:
            if future.cancelled():
                core.cancel(submission)

    def _deliver(self) -> None:
        for submission in self._finished.take():
            core, future = self._waiting.pop(submission.number)
            if future.done():  # cancelled
                continue
            try:
                answer = core.answer(submission)
            except Exception as error:
                answer = error
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)


_mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def mailbox() -> Mailbox:
    """The mailbox of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _mailboxes.get(loop)
    if found is None:
        found = Mailbox(loop)
        with _lock:
            for closed in [other for other in _mailboxes if other.is_closed()]:  # what it waited for may refer to it
                del _mailboxes[closed]
            _mailboxes[loop] = found
    return found
