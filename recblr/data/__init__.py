"""Interactions: read, filtered, ordered, split, summarized, generated; with NumPy and Arrow, no PyTorch."""

from recblr.data.formats import Columns
from recblr.data.identity import DataIdentity, RowOrder
from recblr.data.interactions import FilterReport, Interactions, load_interactions
from recblr.data.splits import Sequences, Split, Targets, leave_one_out, split_at_times
from recblr.data.summary import Summary, summary_table
from recblr.data.synthetic import synthetic_interactions
from recblr.data.writers import write_interactions

__all__ = [
    "Columns",
    "DataIdentity",
    "FilterReport",
    "Interactions",
    "RowOrder",
    "Sequences",
    "Split",
    "Summary",
    "Targets",
    "leave_one_out",
    "load_interactions",
    "split_at_times",
    "summary_table",
    "synthetic_interactions",
    "write_interactions",
]
