"""A bundle's plan, opened by TensorRT: its execution contexts, and what TensorRT says of it.

Importing this module needs `recblr.runtime.gpu.trt_module.load_tensorrt` to have been called.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from recblr.errors import BundleError, ConfigError
from recblr.runtime.bundle.opening import Bundle
from recblr.runtime.bundle.plan_section import PlanSection
from recblr.runtime.gpu.runner import ExecutionContext
from recblr.runtime.gpu.trt_module import tensorrt_in_use, title
from recblr.runtime.gpu.trt_plugins import MessageLog, register_plugins

if TYPE_CHECKING:
    import tensorrt as trt
else:
    trt = tensorrt_in_use()


class TensorRTPlan:
    """A plan that TensorRT has deserialized on the current GPU."""

    def __init__(self, bundle: Bundle, section: PlanSection) -> None:
        """Open a bundle's plan.

        Raises:
            BundleError: it is of another version or for another GPU, or TensorRT refuses it or the plugin library.
        """
        check_version(section, str(trt.__version__))
        self._log = MessageLog()
        register_plugins(bundle.path / section.plugin_library, self._log)
        self._runtime = trt.Runtime(self._log)
        self._runtime.engine_host_code_allowed = section.plugin_embedded
        # The stubs do not say that it may be None.
        plan: trt.ICudaEngine | None = self._runtime.deserialize_cuda_engine((bundle.path / section.file).read_bytes())
        if plan is None:
            built_for = ", ".join(section.compute_capabilities) or section.gpu or "no GPU in particular"
            raise BundleError(
                f"{title(section.target)} cannot open the plan here ({self.failure_reason()}); it was built for "
                f"{built_for}: export it again on this machine"
            )
        self._plan = plan

    @property
    def memory_bytes(self) -> int:
        """Bytes of the GPU's memory for the activations of the largest sizes; each context has its own."""
        return int(self._plan.device_memory_size_v2)

    def create_context(self) -> ExecutionContext:
        """A new execution context, with memory for the largest sizes.

        Raises:
            ConfigError: the GPU has not the memory.
        """
        self._log.clear()
        context = self._plan.create_execution_context()
        if context is None:
            raise ConfigError(
                f"the GPU's memory is too small for the plan ({self.failure_reason()}): free some, or export with "
                "smaller --max-rows, --max-tokens or --max-exclusions"
            )
        opened: ExecutionContext = context
        return opened

    def failure_reason(self) -> str:
        """What TensorRT said of its last failure."""
        reason = self._log.reason()
        self._log.clear()
        return reason

    def inspect(self) -> dict[str, Any]:
        """What TensorRT's engine inspector says: the number of layers, and the types that their tensors have."""
        inspector = self._plan.create_engine_inspector()
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        layers = json.loads(text).get("Layers", [])
        types: set[str] = set()
        for layer in layers:
            if isinstance(layer, dict):  # else a name, of a plan that was built without details
                for tensor in (*layer.get("Inputs", []), *layer.get("Outputs", [])):
                    types.add(str(tensor.get("Format/Datatype", "unknown")))
        return {"layers": len(layers), "types": sorted(types)}


def check_version(section: PlanSection, installed: str) -> None:
    """Check that a plan is opened by the TensorRT version that built it.

    Raises:
        BundleError: another is installed.
    """
    if section.version != installed:
        raise BundleError(
            f"the plan was built by {title(section.target)} {section.version}, and {installed} is installed: "
            "install that version, or export the bundle again"
        )
