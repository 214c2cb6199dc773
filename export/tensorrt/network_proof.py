"""Proof that a parsed network has the types that were asked for, from the network itself.

Importing this module needs TensorRT to be loaded, as a `PlanBuilder` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from recblr.errors import ExportError
from recblr.runtime.bundle.plan_section import Precision, tensorrt_type
from recblr.runtime.gpu.trt_module import tensorrt_in_use

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = tensorrt_in_use()

_FLOATS = ("state_in", "state_out", "top_scores")  # the others are integers
# How many of a plugin's first inputs are low, by the number of its inputs.
_N_LOW = {5: 1, 6: 3}


def prove_precision(network: trt.INetworkDefinition, precision: Precision, names: Iterable[str]) -> dict[str, Any]:
    """Count layers by type, and check them.

    Checked are: the plugins' x, gates, z and y and all products but the catalogue's in the precision asked for; the
    catalogue's product, LayerNorm, top-k, the plugins' weights and states, and the network's states and scores in
    fp32; items, offsets and exclusions integers, and nothing integer turned into floats; no loop in a plugin's place.

    Args:
        network: parsed, strongly typed.
        precision: "fp32", "fp16" or "bf16".
        names: of the graph's inputs and outputs.

    Returns:
        JSON-ready: {"plugins", "products", "layer_norms", "top_k": {type: count}, "inputs", "outputs": {name: type}}.

    Raises:
        ExportError: says what has which other type.
    """
    low = tensorrt_type(precision)
    wrong: list[str] = []
    kinds = trt.LayerType
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("plugins", "products", "layer_norms", "top_k")}

    def expect(what: str, tensor: trt.ITensor, expected: str) -> None:
        if tensor.dtype.name != expected:
            wrong.append(f"{what} is {tensor.dtype.name}, not {expected}")

    loops = (kinds.RECURRENCE, kinds.TRIP_LIMIT, kinds.LOOP_OUTPUT)
    for layer in _layers(network):
        first = layer.get_input(0)
        if layer.type == kinds.PLUGIN_V3:
            counts["plugins"][first.dtype.name] += 1
            for place in range(layer.num_inputs):
                tensor = layer.get_input(place)
                if tensor.dtype.name not in ("INT32", "INT64"):
                    is_low = place < _N_LOW.get(layer.num_inputs, 0)
                    expect(f"input {place} of {layer.name}", tensor, low if is_low else "FLOAT")
            expect(f"y of {layer.name}", layer.get_output(0), low)
            expect(f"the state of {layer.name}", layer.get_output(1), "FLOAT")
        elif layer.type == kinds.MATRIX_MULTIPLY:
            counts["products"][first.dtype.name] += 1
        elif layer.type == kinds.NORMALIZATION:
            counts["layer_norms"][first.dtype.name] += 1
            expect(f"the input of {layer.name}", first, "FLOAT")
        elif layer.type == kinds.TOPK:
            counts["top_k"][first.dtype.name] += 1
            expect("the input of top-k", first, "FLOAT")
        elif layer.type == kinds.CAST and _is_integer(first) and not _is_integer(layer.get_output(0)):
            wrong.append(f"{layer.name} turns the integer {first.name} into {layer.get_output(0).dtype.name}")
        elif layer.type in loops:
            wrong.append(f"{layer.name} is a loop, where a plugin should be")
    tensors = {"inputs": list(_tensors(network, "input")), "outputs": list(_tensors(network, "output"))}
    for tensor in (*tensors["inputs"], *tensors["outputs"]):
        expect(tensor.name, tensor, "FLOAT" if tensor.name in _FLOATS else "INT32")
    found = {tensor.name for kind in tensors.values() for tensor in kind}
    wrong += [f"{name} is missing" for name in names if name not in found]
    wrong += [f"there is no layer of {name}" for name, count in counts.items() if not count]
    # All products are low but one, the catalogue's.
    n_full = counts["products"].total() - counts["products"][low]
    if precision != "fp32" and (n_full != 1 or counts["products"]["FLOAT"] != 1):
        wrong.append(f"the products are {dict(counts['products'])}, where one is FLOAT and the others {low}")
    if wrong:
        raise ExportError(f"the network is not in {precision}: {wrong[0]} ({len(wrong)} differences): report this")
    return {
        **{name: dict(count) for name, count in counts.items()},
        **{kind: {tensor.name: tensor.dtype.name for tensor in of_kind} for kind, of_kind in tensors.items()},
    }


def _layers(network: trt.INetworkDefinition) -> Iterator[trt.ILayer]:
    for index in range(network.num_layers):
        yield network.get_layer(index)


def _tensors(network: trt.INetworkDefinition, kind: str) -> Iterator[trt.ITensor]:
    for index in range(getattr(network, f"num_{kind}s")):
        yield getattr(network, f"get_{kind}")(index)


def _is_integer(tensor: trt.ITensor) -> bool:
    return tensor.dtype.name in ("INT32", "INT64", "INT8", "UINT8")
