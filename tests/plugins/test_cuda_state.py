"""Moves of user states by the CUDA functions, as the runtime calls them: emulated on host memory, and on a GPU."""

from __future__ import annotations

import ctypes
import re

import numpy as np
import pytest

from recblr.plugins import abi, load_library

torch = pytest.importorskip("torch", reason="tensors hold the memory of both devices")

INTEGERS = {torch.int32: abi.INT32, torch.int64: abi.INT64}


class Moves:
    """One library's functions, for tensors of one device."""

    def __init__(self, handle: ctypes.CDLL, device: str) -> None:
        self.device = device
        self._handle = handle
        handle.recblr_plugins_last_error.restype = ctypes.c_char_p

    def call(self, function: str, **fields: object) -> int:
        """The status of a call; tensors are given by their address."""
        fields = {name: f.data_ptr() if isinstance(f, torch.Tensor) else f for name, f in fields.items()}
        status = int(getattr(self._handle, function)(ctypes.byref(abi.StateMove(**fields)), ctypes.c_void_p()))
        if self.device == "cuda":
            torch.cuda.synchronize()
        return status

    def call_with_null(self, function: str) -> int:
        return int(getattr(self._handle, function)(None, ctypes.c_void_p()))

    def move(self, function: str, pool: torch.Tensor, slots: torch.Tensor, **others: torch.Tensor) -> None:
        sizes = {"n_rows": len(slots), "n_slots": len(pool), "state_size": pool.shape[1]}
        fields = sizes | {"slots_type": INTEGERS[slots.dtype], "slots": slots, "pool": pool}
        assert self.call(function, **fields, **others) == abi.OK

    def gather(self, pool: torch.Tensor, slots: torch.Tensor, initial: torch.Tensor | None = None) -> torch.Tensor:
        states = torch.full((len(slots), pool.shape[1]), -1.0, device=self.device)
        moved = pool.to(self.device), slots.to(self.device)
        others = {} if initial is None else {"initial": initial.to(self.device)}
        self.move("recblr_gather_state_cuda", *moved, states=states, **others)
        return states.cpu()

    def scatter(self, pool: torch.Tensor, slots: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """The pool afterwards."""
        moved = pool.clone().to(self.device)
        self.move("recblr_scatter_state_cuda", moved, slots.to(self.device), states=states.to(self.device))
        return moved.cpu()

    @property
    def last_error(self) -> str:
        return str(self._handle.recblr_plugins_last_error().decode())


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=pytest.mark.gpu)])
def moves(request: pytest.FixtureRequest) -> Moves:
    if request.param == "emulated":
        return Moves(ctypes.CDLL(str(request.getfixturevalue("emulated_library"))), "cpu")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    library = load_library()
    if not library.cuda_architectures:
        pytest.skip("the library was built without CUDA")
    return Moves(library.handle, "cuda")


def some(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("integers", INTEGERS, ids=str)
@pytest.mark.parametrize("size", [33, 40_000])  # one by one, and in packs of four
def test_gather_and_scatter(moves: Moves, size: int, integers: torch.dtype) -> None:
    pool, initial, slots = some(9, size), some(size) + 1, torch.tensor([8, -1, 0, 3], dtype=integers)
    states = moves.gather(pool, slots, initial)
    assert torch.equal(states, torch.stack([pool[8], initial, pool[0], pool[3]]))
    assert torch.equal(moves.gather(pool, slots)[1], torch.zeros(size))
    expected = pool.clone()
    expected[[8, 0, 3]] = states[[0, 2, 3]] * 2
    assert torch.equal(moves.scatter(pool, slots, states * 2), expected)


def test_a_slot_outside_the_pool_is_gathered_as_nan_and_not_scattered(moves: Moves) -> None:
    pool, slots = some(4, 6), torch.tensor([1, 4, 2**31 - 1, -7], dtype=torch.int32)
    states = moves.gather(pool, slots)
    assert torch.equal(states[0], pool[1])
    assert states[1:3].isnan().all()
    assert torch.equal(states[3], torch.zeros(6))
    expected = pool.clone()
    expected[1] = 5
    assert torch.equal(moves.scatter(pool, slots, torch.full((4, 6), 5.0)), expected)


def test_no_rows(moves: Moves) -> None:
    nobody = torch.empty(0, dtype=torch.int32)
    assert moves.gather(some(2, 3), nobody).shape == (0, 3)
    assert torch.equal(moves.scatter(some(2, 3), nobody, some(0, 3)), some(2, 3))


@pytest.mark.parametrize("function", ["recblr_gather_state_cuda", "recblr_scatter_state_cuda"])
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_rows": -1}, "n_rows is -1, n_slots 2, state_size 3: the first two must be at least 0"),
        ({"n_slots": -2}, "n_rows is 1, n_slots -2, state_size 3"),
        ({"state_size": 0}, "state_size 0: .* the last at least 1"),
        ({"slots_type": 7}, "slots_type is 7: it must be int64 or int32"),
    ],
)
def test_wrong_arguments(moves: Moves, function: str, fields: dict[str, int], message: str) -> None:
    sound = {"n_rows": 1, "n_slots": 2, "state_size": 3, "slots_type": abi.INT32}
    assert moves.call(function, **sound | fields) != abi.OK
    assert re.search(message, moves.last_error)


@pytest.mark.parametrize("function", ["recblr_gather_state_cuda", "recblr_scatter_state_cuda"])
def test_null_for_the_arguments(moves: Moves, function: str) -> None:
    assert moves.call_with_null(function) != abi.OK
    assert moves.last_error == "the arguments are NULL"
