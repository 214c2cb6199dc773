"""The options by which commands choose a bundle and what computes it."""

from __future__ import annotations

import click

from recblr.runtime.backends.base import BACKENDS

ENGINE_OPTION = click.option("--engine", required=True, metavar="PATH", help="The bundle's folder, or a file in it.")
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
