"""RecBLR sequential recommenders: training here, `recblr.export` to ONNX, `recblr.runtime` for serving.

Importing this package imports none of them: the runtime works without PyTorch.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _version() -> str:
    try:
        return version("recblr")
    except PackageNotFoundError:  # a checkout that is not installed
        import tomllib

        project = Path(__file__).resolve().parent.parent / "pyproject.toml"
        stated: str = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
        return stated


__version__ = _version()
