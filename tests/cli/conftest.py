"""What the tools read, as small as it can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recblr.checkpoint import Checkpoint
from recblr.config import RecBLRConfig
from recblr.data import synthetic_interactions, write_interactions
from recblr.export.bundle import export_bundle
from recblr.model import RecBLR
from recblr.vocabulary import ItemVocabulary


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model of 5 items, and its bundle; not to be changed."""
    folder = tmp_path_factory.mktemp("inputs")
    write_interactions(synthetic_interactions(20, 5, 12, seed=3), folder / "data.csv")
    model = RecBLR(RecBLRConfig(n_items=5, dim=4, layers=1))
    checkpoint = Checkpoint(model, ItemVocabulary([1, 2, 3, 4, 5], [0, 1, 2, 3, 4]))
    checkpoint.save(folder / "model.pt")
    export_bundle(checkpoint, folder / "bundle")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    return folder
