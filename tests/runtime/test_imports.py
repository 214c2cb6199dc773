"""The runtime without PyTorch: neither loaded nor needed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

HEAVY = ["numpy", "torch", "onnx", "onnxscript", "onnxruntime", "pyarrow"]


def run(code: str, *arguments: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_importing_the_runtime_loads_nothing_heavy() -> None:
    code = "import recblr.runtime, json, sys; print(json.dumps(sorted(sys.modules)))"
    assert set(HEAVY).isdisjoint(run(code))


def test_all_public_names_are_there() -> None:
    import recblr.runtime

    for name in recblr.runtime.__all__:
        assert getattr(recblr.runtime, name).__module__.startswith("recblr.runtime.")
    with pytest.raises(AttributeError, match=r"'recblr\.runtime' has no attribute 'Loader'"):
        recblr.runtime.Loader  # noqa: B018


def test_recommending_works_where_pytorch_and_onnx_are_missing(toy: Any) -> None:
    code = """
import json, sys
for name in ("torch", "onnx", "onnxscript", "pyarrow"):
    sys.modules[name] = None  # importing it raises ImportError
import recblr.runtime
engine = recblr.runtime.load(sys.argv[1], threads=1)
print(json.dumps(engine.recommend([[10, 20]], k=3)[0].items))
"""
    assert run(code, str(toy.path)) == toy.ranking([10, 20], 3, exclude=[10, 20])[0]
