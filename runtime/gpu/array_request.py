"""A request in arrays of other libraries on the GPU: checked, and brought to where TensorRT reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

from recblr.errors import RequestError
from recblr.runtime.gpu.arrays import ArrayView, DeviceArrayLike, view_array
from recblr.runtime.gpu.cuda import ALIGNMENT
from recblr.runtime.gpu.graphs import Sizes
from recblr.runtime.gpu.runner import OUTPUTS, ExecutionLane, TensorShapes, tensor_dtype

Outputs: TypeAlias = tuple[DeviceArrayLike, DeviceArrayLike, DeviceArrayLike | None]


@dataclass(frozen=True)
class DeviceRequest:
    """Views of a request's arrays.

    Attributes:
        shapes: of the engine's tensors.
        stream: where the arrays are used.
        device: the number of the GPU that they must be on.
        inputs: by name.
        outputs: those that the caller gave, by name.
    """

    shapes: TensorShapes
    stream: int
    device: int
    inputs: dict[str, ArrayView] = field(default_factory=dict)
    outputs: dict[str, ArrayView] = field(default_factory=dict)

    def read(
        self,
        items: DeviceArrayLike,
        offsets: DeviceArrayLike,
        state_in: DeviceArrayLike | None,
        exclude: DeviceArrayLike | None,
    ) -> None:
        """See the inputs; None for states that lie in a pool, and for no exclusions.

        Raises:
            RequestError: one is no such array.
        """
        self._see("items", items, (None,))
        self._see("offsets", offsets, (None,))
        if exclude is not None:
            self._see("exclude", exclude, (None, 2))
        if state_in is not None:
            self._see("state_in", state_in, self.tensor_shapes["state_in"])

    def write(self, out: Outputs | None) -> None:
        """See the arrays for results; None for those that are to be allocated. After `read`.

        Raises:
            RequestError: one is no such array.
        """
        if out is not None and len(out) != len(OUTPUTS):
            raise RequestError(f"out has {len(out)} arrays: give three, {', '.join(OUTPUTS)}, or None")
        for name, array in zip(OUTPUTS, out or (), strict=False):
            if array is not None:
                view = self._view(name, array, self.tensor_shapes[name], writable=True)
                if view.address % ALIGNMENT:
                    raise RequestError(
                        f"{name} begins at {view.address:#x}: give an array at a multiple of {ALIGNMENT} bytes"
                    )
                self.outputs[name] = view

    @property
    def sizes(self) -> Sizes:
        """B, N and M; B is below 1 where there is no offset or one only."""
        exclude = self.inputs.get("exclude")
        rows = self.inputs["offsets"].shape[0] - 1
        return Sizes(rows, self.inputs["items"].shape[0], exclude.shape[0] if exclude else 0)

    @property
    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """By name."""
        return self.shapes.of(self.sizes)

    @property
    def streams(self) -> set[int]:
        """Whose work must be done before the arrays are used."""
        views = (*self.inputs.values(), *self.outputs.values())
        return {view.stream for view in views if view.stream is not None}

    def bring(self, lane: ExecutionLane) -> dict[str, int]:
        """Where TensorRT is to read each input: where it lies, or, not aligned, in the lane's buffer, copied there.

        Returns:
            The addresses of those that it reads where they lie.
        """
        addresses = {}
        for name, view in self.inputs.items():
            if view.address and view.address % ALIGNMENT == 0:
                addresses[name] = view.address
            elif view.address:
                lane.copy_in(name, view.address, math.prod(view.shape) * tensor_dtype(name).itemsize)
        return addresses

    def _see(self, name: str, array: DeviceArrayLike, shape: tuple[int | None, ...]) -> None:
        self.inputs[name] = self._view(name, array, shape, writable=False)

    def _view(self, name: str, array: DeviceArrayLike, shape: tuple[int | None, ...], *, writable: bool) -> ArrayView:
        dtype = tensor_dtype(name)
        return view_array(name, array, dtype, shape, stream=self.stream, device=self.device, writable=writable)
