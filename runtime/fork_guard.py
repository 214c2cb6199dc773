"""A clear error where a forked process uses what only its parent can."""

from __future__ import annotations

import os

from recblr.errors import ForkError


class ForkGuard:
    """Knows the process that an object belongs to."""

    def __init__(self, name: str) -> None:
        """Remember this process; `name` of the object is for the error."""
        self._name = name
        self._process = os.getpid()

    def check(self) -> None:
        """Do nothing in the process of the object.

        Raises:
            ForkError: in a fork of it, where connections, locks and threads of the parent do not work.
        """
        if os.getpid() != self._process:
            raise ForkError(
                f"the {self._name} was made in process {self._process}, and {os.getpid()} is a fork of it: "
                f"make the {self._name} after the fork"
            )
