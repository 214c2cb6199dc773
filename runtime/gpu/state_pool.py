"""Users' states in the GPU's memory: a bounded pool, moved to and from batches by the native library's kernels."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import threading
from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from recblr.array_types import (
    ExcludeArray,
    ItemsArray,
    OffsetsArray,
    StateArray,
    StatesArray,
    TopItemsArray,
    TopScoresArray,
)
from recblr.errors import BackendError, ConfigError
from recblr.plugins import PluginLibrary, PluginLibraryError, abi, load_library
from recblr.runtime.gpu.cuda import (
    CudaEvent,
    DeviceMemory,
    OutOfDeviceMemoryError,
    Stream,
    copy_to_device,
    use_device,
)
from recblr.runtime.gpu.slots import Lease, SlotsArray, SlotTable
from recblr.runtime.limits import Limits

_log = logging.getLogger(__name__)


class StateMover:
    """Moves states between a pool and a batch on the GPU, by the native library's kernels; has the initial state."""

    def __init__(self, initial: StateArray, library: PluginLibrary | None = None) -> None:
        """Load the kernels and the initial state.

        Args:
            initial: float32 [S].
            library: the native library, with CUDA kernels; None for the installed one.

        Raises:
            ConfigError: the native library is missing, or was built without CUDA.
            BackendError: CUDA failed.
        """
        try:
            self._library = library or load_library()
        except PluginLibraryError as error:
            raise ConfigError(f"states on the GPU need the native library: {error}") from error
        if not self._library.cuda_architectures:
            raise ConfigError(
                f"{self._library.path} was built without CUDA, which states on the GPU need: install nvcc and "
                "reinstall recblr"
            )
        self.state_size = len(initial)
        self._initial = DeviceMemory(initial.nbytes)
        stream = Stream()
        copy_to_device(self._initial.address, np.ascontiguousarray(initial), stream.handle)
        stream.synchronize()

    def gather(self, pool: int, n_slots: int, slots: int, n_rows: int, states: int, stream: int) -> None:
        """Copy states [B, S] from the pool; rows whose slot is negative get the initial state.

        Args:
            pool: address of float32 [n_slots, S].
            n_slots: the pool's size.
            slots: address of int32 [B] on the GPU.
            n_rows: B.
            states: address of float32 [B, S].
            stream: the handle of the stream that copies.
        """
        self._move("recblr_gather_state_cuda", pool, n_slots, slots, n_rows, states, stream)

    def scatter(self, pool: int, n_slots: int, slots: int, n_rows: int, states: int, stream: int) -> None:
        """Copy states [B, S] to the pool; the arguments are those of `gather`."""
        self._move("recblr_scatter_state_cuda", pool, n_slots, slots, n_rows, states, stream)

    def _move(self, function: str, pool: int, n_slots: int, slots: int, n_rows: int, states: int, stream: int) -> None:
        arguments = abi.StateMove(
            n_rows=n_rows,
            n_slots=n_slots,
            state_size=self.state_size,
            slots_type=abi.INT32,
            slots=slots,
            initial=self._initial.address,
            pool=pool,
            states=states,
        )
        library = self._library
        if getattr(library.handle, function)(ctypes.byref(arguments), ctypes.c_void_p(stream)) != abi.OK:
            raise BackendError(f"{function}: {library.last_error}")


class DeviceStates:
    """States of one model on one GPU, by user; the least recently used dropped for new ones.

    A user's state is read and written under a lease:

        with states.lease(users) as lease:
            top_items, top_scores = backend.run_leased(items, offsets, states, lease, exclude)

    The states are a cache: what is not `lease.known` starts from the initial state, so its row must bring the whole
    history. A run that fails loses the states of its users, no others.
    """

    def __init__(self, mover: StateMover, max_bytes: int, device: int) -> None:
        """Take memory for as many states as `max_bytes` hold, or, where the GPU has not so much, fewer.

        Raises:
            ConfigError: `max_bytes` holds not one state, or the GPU has no room for one.
            BackendError: CUDA failed.
        """
        self._mover, self._device = mover, device
        self._state_bytes = 4 * mover.state_size
        wanted = max_bytes // self._state_bytes
        if wanted < 1:
            raise ConfigError(f"states on the GPU get {max_bytes:,} bytes, one takes {self._state_bytes:,}: give more")
        use_device(device)
        self._memory, n_slots = self._allocate_at_most(min(wanted, np.iinfo(np.int32).max))
        if not n_slots:
            raise ConfigError(f"the GPU's memory has no room for a state of {self._state_bytes:,} bytes: free some")
        if n_slots < wanted:
            _log.warning("the GPU has not the memory for %s states: the pool holds %s", f"{wanted:,}", f"{n_slots:,}")
        self._table = SlotTable(n_slots)
        self._order = threading.Lock()
        self._written = CudaEvent()

    def __len__(self) -> int:
        """How many users have a state here; those leased are not counted."""
        return len(self._table)

    @property
    def n_slots(self) -> int:
        """How many users there is room for."""
        return self._table.n_slots

    @contextlib.contextmanager
    def lease(self, users: Sequence[Hashable]) -> Iterator[Lease]:
        """Lease the users' slots; waits while another lease has one of the users, or all the room.

        A thread that holds a lease must not ask for another.

        Args:
            users: [B] each once.

        Raises:
            RequestError: a user twice, or more users than `n_slots`.
        """
        lease = self._table.lease(users)
        try:
            yield lease
        finally:
            self._table.give_back(lease)

    def drop(self, user: Hashable) -> bool:
        """Forget a user's state, also one that a run is about to write. Returns whether there was one."""
        return self._table.drop(user)

    def recent_users(self, n: int) -> list[Hashable]:
        """At most `n` users that have a state here and are not leased, the latest used first."""
        return self._table.recent_users(n)

    def shrink(self) -> bool:
        """Give half of the memory back, keeping the most recently used states where they can be moved.

        Returns:
            Whether that was done: not while a slot is leased, nor with one slot.

        Raises:
            BackendError: CUDA failed.
        """
        use_device(self._device)
        return self.n_slots > 1 and self._table.shrink(self._move)

    def _move(self, used: SlotsArray) -> tuple[int, int]:
        """Move to a pool of half the size. `used`: the slots with a state, the least recently used first."""
        before, n_slots = self.n_slots, max(self.n_slots // 2, 1)
        old = self._memory
        new = self._allocate(n_slots)
        kept = used[-n_slots:] if new is not None else used[:0]
        if new is not None and len(kept):
            self._copy_kept(old, before, kept, new)
        old.free()
        if new is None:
            new, n_slots = self._allocate_at_most(n_slots)
        self._memory = new
        _log.warning(
            "the GPU's memory is short: the pool of states shrinks from %s to %s, and keeps %s",
            *(f"{n:,}" for n in (before, n_slots, len(kept))),
        )
        return n_slots, len(kept)

    def gather(self, lease: Lease, slots: int, states: int, stream: int) -> None:
        """Copy the leased states to a batch, for a backend.

        Args:
            lease: of B users.
            slots: address on the GPU of `lease.sources`.
            states: address of float32 [B, S].
            stream: the handle of the stream that copies.
        """
        with self._order:
            self._written.wait(stream)
        self._mover.gather(self._memory.address, self.n_slots, slots, len(lease.users), states, stream)

    def scatter(self, lease: Lease, slots: int, states: int, stream: int) -> None:
        """Copy a batch's states to their slots, for a backend.

        Args:
            lease: of B users.
            slots: address on the GPU of `lease.slots`.
            states: address of float32 [B, S].
            stream: the handle of the stream that copies.
        """
        self._mover.scatter(self._memory.address, self.n_slots, slots, len(lease.users), states, stream)

    def order_after(self, stream: int) -> None:
        """Have later runs wait for what a stream was given so far, for a backend that does not wait itself."""
        with self._order:
            # What waits for this waits for all that was marked before, too.
            self._written.wait(stream)
            self._written.record(stream)

    def _allocate(self, n_slots: int) -> DeviceMemory | None:
        try:
            return DeviceMemory(n_slots * self._state_bytes)
        except OutOfDeviceMemoryError:
            return None

    def _allocate_at_most(self, n_slots: int) -> tuple[DeviceMemory, int]:
        """Memory for as many states as there is room for, by halves; for none if there is no room for one."""
        while n_slots:
            memory = self._allocate(n_slots)
            if memory is not None:
                return memory, n_slots
            n_slots //= 2
        return DeviceMemory.nothing(), 0

    def _copy_kept(self, old: DeviceMemory, n_old: int, kept: SlotsArray, new: DeviceMemory) -> None:
        stream = Stream()
        slots = DeviceMemory(kept.nbytes)
        self._written.wait(stream.handle)
        copy_to_device(slots.address, kept, stream.handle)
        self._mover.gather(old.address, n_old, slots.address, len(kept), new.address, stream.handle)
        stream.synchronize()


@runtime_checkable
class LeasingBackend(Protocol):
    """A backend that can also run on states that stay on the GPU, as `TensorRTBackend` can."""

    @property
    def max_k(self) -> int:
        """The most results per row."""
        ...

    @property
    def limits(self) -> Limits:
        """The most that one run is given."""
        ...

    def device_states(self, max_bytes: int) -> DeviceStates:
        """A pool of users' states, in at most so many bytes of the GPU's memory."""
        ...

    def run_leased(
        self,
        items: ItemsArray,
        offsets: OffsetsArray,
        states: DeviceStates,
        lease: Lease,
        exclude: ExcludeArray,
        *,
        fetch: bool = False,
    ) -> tuple[TopItemsArray, TopScoresArray, StatesArray]:
        """Run on the leased states [B, S], and write the new ones to their slots.

        Args:
            items: int32 [N]
            offsets: int32 [B + 1]
            states: the pool that the lease is of.
            lease: of B users; unknown ones start from the initial state.
            exclude: int32 [M, 2]
            fetch: return the new states, too.

        Returns:
            int32 [B, k], float32 [B, k], and float32 [B, S], or [0, S] where the states are not fetched.
        """
        ...
