"""The options by which commands choose a bundle, what computes it, and how many results it gives."""

from __future__ import annotations

import click

from recblr.cli.parameters import FilePath
from recblr.runtime.backends.base import BACKENDS
from recblr.runtime.limits import DEFAULT_K

ENGINE_OPTION = click.option(
    "--engine", type=FilePath(), required=True, metavar="PATH", help="The bundle's folder, or a file in it."
)
DEVICE_OPTION = click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="Of ONNX Runtime."
)
BACKEND_OPTION = click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default="auto",
    show_default=True,
    help="What computes: recblr's own kernels on the CPU, ONNX Runtime, TensorRT, or the fastest that runs here.",
)

K_OPTION = click.option(
    "-k", "--k", type=int, help=f"Results per user.  [default: {DEFAULT_K}, or all items where there are fewer]"
)
