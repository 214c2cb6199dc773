"""The scans to compare with compute what RecBLR computes: outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from recblr import ops
from recblr.config import RecBLRConfig
from recblr.model import RecBLR
from recblr.ops.reference import ReferenceOps

LENGTH = 11


@pytest.fixture(scope="module")
def padded(quality_module: Callable[[str], ModuleType]) -> ModuleType:
    return quality_module("padded_model")


@pytest.mark.parametrize("length", [1, 2, 16])
def test_scans_agree_in_value_and_gradient(padded: ModuleType, length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    a = torch.rand(2, length, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, length, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, length, 3, generator=generator, dtype=torch.float64)
    serial, parallel = padded.serial_scan(a, b), padded.parallel_scan(a, b)
    torch.testing.assert_close(parallel, serial)
    expected = torch.autograd.grad((serial * weight).sum(), (a, b))
    torch.testing.assert_close(torch.autograd.grad((parallel * weight).sum(), (a, b)), expected)


@pytest.mark.parametrize(("length", "expected"), [(1, 1), (2, 2), (3, 4), (200, 256), (256, 256)])
def test_power_of_two(padded: ModuleType, length: int, expected: int) -> None:
    assert padded.power_of_two(length) == expected


def test_rows_are_padded_at_their_end(padded: ModuleType) -> None:
    rows = padded.pad_rows(torch.tensor([5, 6, 7, 8]), torch.tensor([0, 1, 1, 4]), 3)
    assert rows.tolist() == [[5, 0, 0], [0, 0, 0], [6, 7, 8]]


@pytest.mark.parametrize(
    ("scan", "padding"), [("serial_scan", "none"), ("parallel_scan", "sequence"), ("parallel_scan", "embedding")]
)
def test_equals_recblr_in_value_and_gradient(padded: ModuleType, scan: str, padding: str) -> None:
    torch.manual_seed(0)
    model = RecBLR(RecBLRConfig(n_items=30, dim=8, dropout=0.0))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    lengths = torch.tensor([LENGTH, 1, 6])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    items = torch.randint(1, 31, (int(lengths.sum()),))
    with ops.use(ReferenceOps()):
        expected, _ = model(items, offsets)
    cotangent = torch.randn(expected.shape)
    wanted = torch.autograd.grad((expected * cotangent).sum(), list(model.parameters()))

    rows = padded.pad_rows(items, offsets, LENGTH)
    run = padded.PaddedRecBLR(model, getattr(padded, scan), padding)
    hidden = run(rows)[rows > 0]
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=1e-4)
    got = torch.autograd.grad((hidden * cotangent).sum(), list(model.parameters()))
    for (name, _), ours, theirs in zip(model.named_parameters(), wanted, got, strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-3, rtol=1e-3, msg=name)


def test_an_unknown_padding_is_refused(padded: ModuleType) -> None:
    with pytest.raises(ValueError, match="padding is 'left'"):
        padded.PaddedRecBLR(RecBLR(RecBLRConfig(n_items=3)), padded.serial_scan, "left")
