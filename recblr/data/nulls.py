"""What stands for null: the tokens that programs write for it, and those a person declares."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recblr.data.arrays import MaskArray

# What databases, pandas, R and Spark write for a missing value, and str() makes of one.
NULL_TOKENS = ("NULL", "null", "\\N", "nan", "NaN", "NAN", "None", "NA", "N/A", "<NA>", "<null>", "NaT")


@dataclass(frozen=True)
class Nulls:
    """Which values are null, and whether their rows are dropped.

    Attributes:
        declared: rows with these are dropped; "" is also the null of a typed column. None: nothing is declared, and
            what looks like null (`NULL_TOKENS`) is refused. Where something is declared, or () is, nothing else is
            taken for null but what is empty, which is refused.
    """

    declared: tuple[str, ...] | None = None

    @property
    def drops_empty(self) -> bool:
        """Whether rows with an empty value are dropped."""
        return "" in (self.declared or ())

    def are_declared(self, values: pa.Array | pa.ChunkedArray) -> MaskArray:
        """Which values are declared to be null; nothing is said of missing ones."""
        return are_in(values, self.declared or ())

    def are_doubtful(self, values: pa.Array | pa.ChunkedArray) -> MaskArray:
        """Which values look like null though nothing is declared."""
        return are_in(values, NULL_TOKENS if self.declared is None else ())

    def are_undeclared(self, values: pa.Array | pa.ChunkedArray) -> MaskArray:
        """Which values look like null though others are declared."""
        return are_in(values, NULL_TOKENS if self.declared else ())


NOTHING_DECLARED = Nulls()


def advice(value: str, may_be_kept: bool = True) -> str:
    """What to do about a value that looks like null, or is empty."""
    keep = ", or keep it as an id with --null-values none" if value and may_be_kept else ""
    return f"drop such rows with --null-values {shlex.quote(value)}{keep}"


def are_in(values: pa.Array | pa.ChunkedArray, tokens: Iterable[str]) -> MaskArray:
    """Which values are what one of the tokens means in their type."""
    matching = []
    for token in tokens:
        try:
            matching.append(pa.scalar(token).cast(values.type).as_py())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # no value of this type
            continue
    if not matching:
        return np.zeros(len(values), bool)
    mask: MaskArray = pc.is_in(values, value_set=pa.array(matching, values.type)).to_numpy(zero_copy_only=False)
    return mask
