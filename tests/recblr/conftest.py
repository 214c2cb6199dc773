"""Small data to train on."""

from __future__ import annotations

from pathlib import Path

import pytest

from recblr.data import synthetic_interactions, write_interactions


@pytest.fixture(scope="session")
def small_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 users, about 60 items: an epoch takes a fraction of a second."""
    path = tmp_path_factory.mktemp("data") / "small.csv"
    write_interactions(synthetic_interactions(120, 60, 12, seed=3), path)
    return path
