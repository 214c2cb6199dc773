"""Ways to compute the recurrence in training: the time of a step, for the paper's variants (table 5) and recblr's.

    python benchmarks/quality/scan_variants.py [DATA]

All have the same weights, the same batches, the same targets - every position of a history - and equal results; the
script stops if they are not. They differ in layout and scan:

- `serial`: rows padded to the longest history allowed (200, as the authors do for MovieLens), one step after another.
- `sequence_padding`: a parallel scan of 2 log2 P rounds of tensor operations, which needs a power of two: in each layer
  what enters the convolution and the scan is padded from 200 to 256 steps. This is what the authors' code does.
- `embedding_padding`: the same scan; the items' vectors are padded to 256 once, so nothing is padded within layers, but
  every operation of every layer computes on the padding.
- `ragged_reference`: rows one after another without padding, recblr's operations in plain PyTorch.
- `ragged_native`: the same layout with the native library's fused kernels, which is what recblr trains with.

`layers` is forward and backward through the model without the loss, `step` is with the loss over all items and Adam.
Dropout is off. Without DATA lengths are log-normal like MovieLens's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine_info, write_result
from measure import check_clock, clock_option, default_device, device_name, interleaved
from padded_model import PaddedRecBLR, pad_rows, parallel_scan, power_of_two, serial_scan

from recblr import ops
from recblr.batches import Batch, gather_rows, training_windows
from recblr.config import RecBLRConfig
from recblr.loss import chunked_cross_entropy
from recblr.model import RecBLR
from recblr.ops.reference import ReferenceOps
from recblr.preparation import DataSettings, prepare

N_ITEMS = 3416  # of MovieLens-1M after the 5-core filter
MAX_HISTORY = 200

Encoder = Callable[[], Tensor]


def sample_batch(data: Path | None, rows: int, generator: np.random.Generator) -> tuple[Batch, int, str]:
    """A training batch of so many histories of at most `MAX_HISTORY`; V; and where the lengths are from."""
    if data is None:
        lengths = np.clip(generator.lognormal(4.5, 1.0, rows), 5, MAX_HISTORY).astype(np.int64)
        items, targets = (torch.from_numpy(generator.integers(1, N_ITEMS + 1, lengths.sum())) for _ in range(2))
        offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
        return Batch(items, targets, offsets), N_ITEMS, "log-normal, median 90"
    prepared = prepare(data, DataSettings())
    train = prepared.split.train
    windows = training_windows(train, MAX_HISTORY)
    chosen = generator.choice(len(windows.start), rows, replace=False)
    place, row_offsets = gather_rows(train.items, windows.start[chosen], windows.length[chosen])
    items, targets = (torch.from_numpy(train.items[place + shift]).long() for shift in (0, 1))
    return Batch(items, targets, torch.from_numpy(row_offsets)), prepared.interactions.n_items, data.name


def encoders(model: RecBLR, batch: Batch) -> dict[str, Encoder]:
    """Each variant, as what gives the vectors [N, D] at the batch's items."""
    rows = pad_rows(batch.items, batch.offsets, MAX_HISTORY)
    real = rows > 0

    def padded(scan: Any, padding: str) -> Tensor:
        hidden: Tensor = PaddedRecBLR(model, scan, padding)(rows)[real]
        return hidden

    def ragged() -> Tensor:
        hidden: Tensor = model(batch.items, batch.offsets)[0]
        return hidden

    def reference() -> Tensor:
        with ops.use(ReferenceOps()):
            return ragged()

    variants: dict[str, Encoder] = {
        "serial": partial(padded, serial_scan, "none"),
        "sequence_padding": partial(padded, parallel_scan, "sequence"),
        "embedding_padding": partial(padded, parallel_scan, "embedding"),
        "ragged_reference": reference,
    }
    if ops.is_native(model.embedding.weight):
        variants["ragged_native"] = ragged
    return variants


def largest_difference(variants: dict[str, Encoder]) -> float:
    """Of any variant's vectors from the reference's.

    Raises:
        click.ClickException: it is more than rounding.
    """
    with torch.no_grad():
        expected = variants["ragged_reference"]()
        differences = {name: float((encode() - expected).abs().max()) for name, encode in variants.items()}
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] < 1e-3:
        raise click.ClickException(f"{worst} differs from the reference by {differences[worst]:g}: it is wrong")
    return differences[worst]


def layers(model: RecBLR, encode: Encoder, cotangent: Tensor) -> None:
    """Forward and backward without the loss."""
    model.zero_grad(set_to_none=True)
    encode().backward(cotangent)  # type: ignore[no-untyped-call]


def step(model: RecBLR, encode: Encoder, targets: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One optimizer step."""
    optimizer.zero_grad(set_to_none=True)
    loss = chunked_cross_entropy(encode(), model.embedding.weight, targets) / len(targets)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--rows", default=32, show_default=True, help="Histories in a batch.")
@click.option("--repeats", default=15, show_default=True)
@click.option("--threads", type=int, default=None, help="PyTorch's threads.")
@click.option("--device", default=default_device, help="cpu or cuda; a GPU if there is one.")
@clock_option
@click.option("--name", default="quality-scan-variants", show_default=True, help="Of the result.")
def main(data: Path | None, rows: int, repeats: int, threads: int | None, device: str, clock: str, name: str) -> None:
    """Measure and write benchmarks/results/NAME.json."""
    if threads is not None:
        torch.set_num_threads(threads)
    check_clock(clock, torch.get_num_threads(), device)
    batch, n_items, source = sample_batch(data, rows, np.random.default_rng(0))
    batch = Batch(batch.items.to(device), batch.targets.to(device), batch.offsets.to(device))
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=n_items, dropout=0.0)).to(device).train()
    variants = encoders(model, batch)
    difference = largest_difference(variants)
    tokens = len(batch.items)
    cotangent = torch.randn(tokens, model.config.dim, device=device)
    optimizer = torch.optim.Adam(model.parameters())
    times = {
        "layers": interleaved(
            {n: partial(layers, model, e, cotangent) for n, e in variants.items()}, repeats, device, clock
        ),
        "step": interleaved(
            {n: partial(step, model, e, batch.targets, optimizer) for n, e in variants.items()}, repeats, device, clock
        ),
    }
    result = {
        "machine": machine_info(("recblr", "torch", "numpy")),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "clock": clock,
        "data": source,
        "model": model.config.to_dict(),
        "rows": rows,
        "items": tokens,
        "positions": {
            "serial": rows * MAX_HISTORY,
            "sequence_padding": rows * MAX_HISTORY,
            "embedding_padding": rows * power_of_two(MAX_HISTORY),
            "ragged_reference": tokens,
            "ragged_native": tokens,
        },
        "largest_difference": difference,
        "repeats": repeats,
        "milliseconds": times,
    }
    fastest = min(times["step"], key=lambda variant: times["step"][variant]["median"])
    result["times_the_fastest"] = {
        what: {n: ms["median"] / of[fastest]["median"] for n, ms in of.items()} for what, of in times.items()
    }
    path = write_result(name, result)
    for variant in variants:
        click.echo(
            f"{variant:18} layers {times['layers'][variant]['median']:8.1f} ms, "
            f"step {times['step'][variant]['median']:8.1f} ms"
        )
    click.echo(f"{tokens} items in {rows} rows, results within {difference:.1e}, written to {path}")


if __name__ == "__main__":
    main()
