"""Builds an engine in a process of its own and prints, as JSON, what came of it.

A process of its own, because TensorRT-RTX looks for its library under a name that must be on the loader's path when the
process starts, and because a plugin library stays registered until the process ends.

    python tensorrt_worker.py LIBRARY MODEL [PROFILE]

PROFILE: JSON, {input: [smallest, usual, largest shape]}.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path


def main(library: str, model: str, profile: str = "{}") -> None:
    """Load the plugin library, parse the model, build, and print the outcome."""
    try:
        trt = importlib.import_module("tensorrt_rtx")
    except ImportError:
        trt = importlib.import_module("tensorrt_rtx_bindings")
    outcome: dict[str, object] = {"built": False, "log": (log := [])}

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: object, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING):
                log.append(message)

    logger = Logger()
    builder = trt.Builder(logger)
    registry = trt.get_plugin_registry()
    outcome["loaded"] = registry.load_library(library) is not None
    outcome["creators"] = [
        [creator.plugin_namespace, creator.name, creator.plugin_version, [field.name for field in creator.field_names]]
        for creator in registry.all_creators
        if getattr(creator, "plugin_namespace", None) == "recblr"
    ]
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    outcome["parsed"] = parser.parse(Path(model).read_bytes())
    if outcome["parsed"]:
        outcome["layers"] = [str(network.get_layer(i).type) for i in range(network.num_layers)]
        outcome["outputs"] = {
            tensor.name: [str(tensor.dtype), list(tensor.shape)]
            for tensor in (network.get_output(i) for i in range(network.num_outputs))
        }
        config = builder.create_builder_config()
        limits = builder.create_optimization_profile()
        for name, shapes in json.loads(profile).items():
            limits.set_shape(name, *shapes)
        config.add_optimization_profile(limits)
        engine = builder.build_serialized_network(network, config)
        outcome["built"] = engine is not None
        outcome["serialized"] = engine is not None and b"last_only" in bytes(engine)
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
