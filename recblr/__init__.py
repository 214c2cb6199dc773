"""RecBLR sequential recommenders: training here, `recblr.export` to ONNX, `recblr.runtime` for serving.

Importing this package imports none of them: the runtime works without PyTorch.
"""

__version__: str


def __getattr__(name: str) -> str:
    """The version, looked up when it is asked for: that takes longer than all else until a tool listens to Ctrl-C."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = version = _version()
    return version


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    try:
        return version("recblr")
    except PackageNotFoundError:  # a checkout that is not installed
        import tomllib

        project = Path(__file__).resolve().parent.parent / "pyproject.toml"
        stated: str = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
        return stated
