"""Training in several processes, as torchrun starts them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from recblr.errors import ConfigError, short_reason

T = TypeVar("T")

_MOST_PROCESSES = 1_000_000


@dataclass(frozen=True)
class Processes:
    """This process's place among those that train together; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process reports and writes files."""
        return self.rank == 0

    def sum_gradients(self, model: nn.Module, loss: Tensor) -> float:
        """Sum gradients and loss over all processes, in one message; returns the summed loss.

        A sum, not DistributedDataParallel's mean: each process's loss is already divided by the whole batch's tokens,
        and a process may have none of them.
        """
        if self.size == 1:
            return float(loss)
        parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([g.flatten() for g in gradients] + [loss.reshape(1)])
        distributed.all_reduce(flat)
        *summed, total = torch.split(flat, [p.numel() for p in parameters] + [1])
        for parameter, gradient in zip(parameters, summed, strict=True):
            parameter.grad = gradient.view_as(parameter)
        return float(total)

    def broadcast(self, compute: Callable[[], T]) -> T:
        """Compute something in the first process and give it to all."""
        if self.size == 1:
            return compute()
        box = [compute() if self.is_first else None]
        distributed.broadcast_object_list(box)
        return box[0]  # type: ignore[return-value]


@contextmanager
def process_group(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, if it did; leave them at the end.

    Raises:
        ConfigError: torchrun's variables in the environment are wrong, or the other processes cannot be reached.
    """
    size = _variable("WORLD_SIZE", 1, _MOST_PROCESSES)
    if size == 1:
        yield Processes()
        return
    _variable("RANK", 0, size - 1)
    _variable("MASTER_PORT", 1, 65_535)
    try:
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"WORLD_SIZE is {size} in the environment, but the processes cannot be joined ({short_reason(error)}): "
            "start the tool with torchrun, or unset it"
        ) from error
    try:
        yield Processes(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


def _variable(name: str, least: int, most: int) -> int:
    """A number of the environment as torchrun sets it, `least` where it does not.

    Raises:
        ConfigError: no whole number from `least` to `most`.
    """
    text = os.environ.get(name, str(least))
    if not (re.fullmatch("[0-9]{1,9}", text) and least <= int(text) <= most):
        raise ConfigError(
            f"{name} is {text!r:.60} in the environment, no number from {least} to {most}: start the tool with "
            "torchrun, or unset its variables"
        )
    return int(text)
