"""The native kernels: time, bytes that must move, and how near that comes to the machine's copy bandwidth.

Beside them: the PyTorch reference, eager and compiled; on a GPU also the unfused chain of the paper's authors (padding
to a power of two, gates in PyTorch, accelerated-scan's Triton kernel) where that package is installed.
`--training-step` measures whole optimizer steps of the demo's model with the native library and without.

    python benchmarks/kernels.py [--device cuda] [--training-step] [--quick]
"""

from __future__ import annotations

import importlib.util
import re
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import torch
import torch.nn.functional as F
from machine import machine_info, write_result
from torch import Tensor

from recblr import ops
from recblr.config import RecBLRConfig
from recblr.loss import chunked_cross_entropy
from recblr.model import RecBLR
from recblr.ops.native import NativeOps, supports
from recblr.ops.reference import SQRT_EPSILON, ReferenceOps, row_of_token

SHAPES = ((64, 200, 128), (1, 1, 128), (1, 1000, 128), (32, 200, 128), (1000, 9, 128), (200, 50, 64), (200, 50, 512))
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
TAPS = 4
# Distributions that hold what the peers' kernels are called by; those without one here are only reported.
PEERS = {"accelerated-scan": "accelerated_scan", "mamba-ssm": "mamba_ssm", "flash-linear-attention": "fla"}


@dataclass(frozen=True)
class Problem:
    """Inputs of both ops: B rows of T tokens, width H."""

    rows: int
    length: int
    width: int
    dtype: torch.dtype
    device: str

    @property
    def tokens(self) -> int:
        """N."""
        return self.rows * self.length

    def inputs(self) -> dict[str, Tensor]:
        """Random tensors; x and z are the halves of one projection's output, as in the model."""

        def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.randn(*shape, device=self.device).to(dtype)

        x, z = normal(self.tokens, 2 * self.width, dtype=self.dtype).chunk(2, dim=1)
        return {
            "x": x,
            "z": z,
            "gates": normal(self.tokens, 2 * self.width, dtype=self.dtype),
            "decay": normal(self.width),
            "h0": normal(self.rows, self.width),
            "weight": normal(self.width, TAPS),
            "bias": normal(self.width),
            "tail": normal(self.rows, TAPS - 1, self.width),
            "offsets": torch.arange(self.rows + 1, device=self.device) * self.length,
        }

    def bytes_moved(self, op: str, backward: bool) -> int:
        """What must be read and written at least, all directions together; the arrays per row are left out."""
        data = self.tokens * self.width * self.dtype.itemsize
        if op == "causal_conv1d":
            return data * (2 + 3 * backward)  # x, y; x, grad_y, grad_x
        kept = self.tokens // 4 * self.width * 4  # h before every segment
        return data * (5 + 9 * backward) + kept * (2 if backward else 0)  # and grad_y, and the gradients


def runs_of(implementation: Any, op: str, tensors: dict[str, Tensor]) -> dict[str, Callable[[], object]]:
    """The op forwards, without gradients, and forwards and backwards."""
    names = {
        "gated_scan": ("x", "gates", "z", "decay", "offsets", "h0"),
        "causal_conv1d": ("x", "weight", "bias", "offsets", "tail"),
    }[op]
    call = getattr(implementation, op)
    plain = [tensors[name] for name in names]
    leaves = [t.detach().requires_grad_() if t.is_floating_point() else t for t in plain]
    cotangent = tensors["x"].contiguous()

    def forward() -> object:
        with torch.no_grad():
            return call(*plain)

    def both() -> object:
        y = call(*leaves)[0]
        return torch.autograd.grad(y, [leaf for leaf in leaves if leaf.requires_grad], cotangent, allow_unused=True)

    return {"forward": forward, "forward_backward": both}


class AuthorsChain:
    """The scan as the paper's authors run it: rows padded to a power of two, everything but the scan in PyTorch."""

    def gated_scan(
        self, x: Tensor, gates: Tensor, z: Tensor, decay: Tensor, offsets: Tensor, h0: Tensor
    ) -> tuple[Tensor]:
        """As `recblr.ops.gated_scan`, from a zero state."""
        from accelerated_scan.triton import scan

        lengths, row = offsets.diff(), row_of_token(offsets, len(x))
        padded = max(32, 1 << (int(lengths.max()) - 1).bit_length())
        place = row * padded + torch.arange(len(x), device=x.device) - offsets[row]

        def pad(values: Tensor) -> Tensor:
            grid = values.new_zeros(len(lengths) * padded, values.shape[1]).index_copy(0, place, values)
            return grid.view(len(lengths), padded, -1).transpose(1, 2).contiguous()

        r, i = gates.float().sigmoid().chunk(2, dim=-1)
        log_alpha = -F.softplus(decay) * r
        beta = torch.sqrt(-torch.expm1(2 * log_alpha) + SQRT_EPSILON) * i
        h = scan(pad(log_alpha.exp()), pad(beta * x.float())).transpose(1, 2).reshape(-1, x.shape[1])[place]
        return ((F.silu(z.float()) * h).to(x.dtype),)


def milliseconds(runs: dict[str, Callable[[], object]], device: str, seconds: float) -> dict[str, dict[str, float]]:
    """Least and median time of each, measured in turns so that a busy moment meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    deadline = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < deadline or len(next(iter(times.values()))) < 5:
        for name, run in runs.items():
            _wait(device)
            started = time.perf_counter()
            run()
            _wait(device)
            times[name].append(1e3 * (time.perf_counter() - started))
    return {name: {"min": min(values), "median": statistics.median(values)} for name, values in times.items()}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def copy_bandwidth(device: str) -> float:
    """Bytes per second of a copy far larger than the caches, reads and writes counted."""
    source = torch.zeros(2**26 if device == "cpu" else 2**28, device=device)
    target = torch.empty_like(source)
    took = milliseconds({"copy": lambda: target.copy_(source)}, device, 1.0)["copy"]["min"]
    return 2 * source.numel() * source.itemsize / (took / 1e3)


def implementations(device: str, compiled: bool) -> dict[str, Any]:
    """What is compared, by name."""
    found: dict[str, Any] = {"native": NativeOps(), "reference": ReferenceOps()}
    if compiled:
        # The reference loops over time: it is compiled anew for every longest row.
        found["compiled_reference"] = type(
            "Compiled",
            (),
            {
                name: staticmethod(torch.compile(getattr(ReferenceOps, name), dynamic=False))
                for name in ("gated_scan", "causal_conv1d")
            },
        )()
    if device == "cuda" and importlib.util.find_spec("accelerated_scan"):
        found["authors_chain"] = AuthorsChain()
    return found


def measure_kernels(device: str, shapes: Iterable[tuple[int, int, int]], bandwidth: float, compiled: bool) -> list[Any]:
    """One record per op, shape, dtype and direction."""
    records = []
    for rows, length, width in shapes:
        for dtype_name, dtype in DTYPES.items():
            problem = Problem(rows, length, width, dtype, device)
            tensors = problem.inputs()
            for op in ("gated_scan", "causal_conv1d"):
                for direction in ("forward", "forward_backward"):
                    runs = {
                        name: runs_of(one, op, tensors)[direction]
                        # Compiling takes a minute per unrolled length: only where the loop is short.
                        for name, one in implementations(device, compiled and length <= 50).items()
                        if hasattr(one, op)
                    }
                    times = milliseconds(runs, device, 0.15)
                    moved = problem.bytes_moved(op, direction == "forward_backward")
                    fraction = moved / (times["native"]["min"] / 1e3) / bandwidth
                    records.append(
                        {"op": op, "rows": rows, "length": length, "width": width, "dtype": dtype_name}
                        | {"direction": direction, "milliseconds": times, "bytes": moved}
                        | {"fraction_of_copy_bandwidth": fraction}
                        | {"speedup": times["reference"]["min"] / times["native"]["min"]}
                    )
                    others = "  ".join(f"{name} {t['min']:.3f}" for name, t in times.items() if name != "native")
                    click.echo(
                        f"{op:14} {rows:5} x {length:4} x {width:3} {dtype_name} {direction:16} "
                        f"native {times['native']['min']:8.3f} ms  {others}  {moved / 1e6:8.2f} MB  {fraction:5.1%}"
                    )
    return records


def measure_training_step(device: str, seconds: float) -> dict[str, Any]:
    """A step of the demo's model on a batch of MovieLens-100k's size, with the native library and without it."""
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    lengths: list[int] = []
    while sum(lengths) < 4096 - 200:
        lengths.append(int(np.clip(draw.lognormal(4.2, 0.9), 5, 200)))
    model = RecBLR(RecBLRConfig(n_items=1349)).train().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0, fused=True)
    offsets = torch.tensor([0, *lengths], device=device).cumsum(0)
    items, targets = (torch.randint(1, 1350, (sum(lengths),), device=device) for _ in range(2))

    def step(native: bool) -> None:
        with nullcontext() if native else ops.use(ReferenceOps()):
            optimizer.zero_grad(set_to_none=True)
            hidden, _ = model(items, offsets)
            loss = chunked_cross_entropy(hidden, model.embedding.weight, targets) / sum(lengths)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    times = milliseconds({"native": lambda: step(True), "reference": lambda: step(False)}, device, seconds)
    ratio = times["reference"]["min"] / times["native"]["min"]
    native, reference = times["native"]["min"], times["reference"]["min"]
    click.echo(f"training step: native {native:.1f} ms, reference {reference:.1f} ms, {ratio:.2f}x")
    return {"tokens": sum(lengths), "rows": len(lengths), "milliseconds": times, "speedup": ratio}


@click.command()
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--threads", default=2, show_default=True, help="Of PyTorch and the kernels, on the CPU.")
@click.option("--training-step", is_flag=True, help="Only the training step.")
@click.option("--quick", is_flag=True, help="Only the first shape, nothing compiled.")
def main(device: str, threads: int, training_step: bool, quick: bool) -> None:
    """Measure; without --training-step and --quick write benchmarks/results/kernels-<device>.json."""
    torch.set_num_threads(threads)
    if not supports(torch.empty(0, device=device)):
        raise click.ClickException(f"the native library has no kernels for {device}: build it with CUDA")
    step = measure_training_step(device, 5.0)
    if training_step:
        return
    bandwidth = copy_bandwidth(device)
    click.echo(f"copy bandwidth {bandwidth / 1e9:.1f} GB/s")
    missing = [name for name, module in PEERS.items() if importlib.util.find_spec(module) is None]
    click.echo(f"not installed: {', '.join(missing) or 'nothing'}")
    records = measure_kernels(device, SHAPES[:1] if quick else SHAPES, bandwidth, compiled=not quick)
    if quick:
        return
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    result = {
        "machine": machine_info(("recblr", "torch", "numpy", *PEERS)) | ({"gpu": gpu} if gpu else {}),
        "threads": threads,
        "copy_bytes_per_second": bandwidth,
        "not_installed": missing,
        "training_step": step,
        "kernels": records,
    }
    name = re.sub(r"[^a-z0-9]+", "-", gpu.lower()) if gpu else "cpu"
    click.echo(f"written to {write_result(f'kernels-{name}', result)}")


if __name__ == "__main__":
    main()
