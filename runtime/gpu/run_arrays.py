"""The arrays of a run that lie on the GPU in the hands of other libraries: checked, and placed where TensorRT reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

from recblr.errors import RequestError
from recblr.runtime.gpu.arrays import ArrayView, DeviceArrayLike, view_array
from recblr.runtime.gpu.cuda import ALIGNMENT
from recblr.runtime.gpu.graphs import Sizes
from recblr.runtime.gpu.runner import OUTPUTS, ContextRunner, TensorShapes, tensor_dtype

Outputs: TypeAlias = tuple[DeviceArrayLike, DeviceArrayLike, DeviceArrayLike | None]


@dataclass(frozen=True)
class RunArrays:
    """Views of the arrays of one run.

    Attributes:
        shapes: of the plan's tensors.
        stream: the handle of the stream that uses the arrays.
        device: the number of the GPU that they must be on.
        inputs: the views of the inputs, by name.
        outputs: the views of those outputs that the caller gave, by name.
    """

    shapes: TensorShapes
    stream: int
    device: int
    inputs: dict[str, ArrayView] = field(default_factory=dict)
    outputs: dict[str, ArrayView] = field(default_factory=dict)

    def add_inputs(
        self,
        items: DeviceArrayLike,
        offsets: DeviceArrayLike,
        state_in: DeviceArrayLike | None,
        exclude: DeviceArrayLike | None,
    ) -> None:
        """View the inputs.

        Args:
            items: int32 [N]
            offsets: int32 [B + 1]
            state_in: float32 [B, S]; None for states that lie in a pool.
            exclude: int32 [M, 2]; None for no exclusions.

        Raises:
            RequestError: one is no such array.
        """
        self._add_input("items", items, (None,))
        self._add_input("offsets", offsets, (None,))
        if exclude is not None:
            self._add_input("exclude", exclude, (None, 2))
        if state_in is not None:
            self._add_input("state_in", state_in, self.tensor_shapes["state_in"])

    def add_outputs(self, out: Outputs | None) -> None:
        """View the arrays for results, None for those that are to be allocated; call it after `add_inputs`.

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
        """The sizes of the run; B is below 1 where there is no offset or one only."""
        exclude = self.inputs.get("exclude")
        rows = self.inputs["offsets"].shape[0] - 1
        return Sizes(rows, self.inputs["items"].shape[0], exclude.shape[0] if exclude else 0)

    @property
    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor at the run's sizes, by name."""
        return self.shapes.of(self.sizes)

    @property
    def streams(self) -> set[int]:
        """The streams whose work must be done before the arrays are used."""
        views = (*self.inputs.values(), *self.outputs.values())
        return {view.stream for view in views if view.stream is not None}

    def place_inputs(self, runner: ContextRunner) -> dict[str, int]:
        """Copy the inputs that are not aligned, as TensorRT needs them, to the runner's buffers.

        Returns:
            The addresses of the others, which TensorRT reads where they lie.
        """
        addresses = {}
        for name, view in self.inputs.items():
            if view.address and view.address % ALIGNMENT == 0:
                addresses[name] = view.address
            elif view.address:
                runner.copy_in(name, view.address, math.prod(view.shape) * tensor_dtype(name).itemsize)
        return addresses

    def _add_input(self, name: str, array: DeviceArrayLike, shape: tuple[int | None, ...]) -> None:
        self.inputs[name] = self._view(name, array, shape, writable=False)

    def _view(self, name: str, array: DeviceArrayLike, shape: tuple[int | None, ...], *, writable: bool) -> ArrayView:
        dtype = tensor_dtype(name)
        return view_array(name, array, dtype, shape, stream=self.stream, device=self.device, writable=writable)
