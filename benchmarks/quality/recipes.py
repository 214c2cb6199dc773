"""What is trained on each data set: the paper's model, and the best that we found, as named settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Settings of one entry of the table.

    Attributes:
        model: of `recblr.config.RecBLRConfig`, without the number of items.
        training: of `recblr.trainer.TrainingConfig`, without the seed.
        objective: of `recblr.objective.Objective`.
        history: evaluation reads so many latest items of each user; None reads them all.
        note: what is special about it.
    """

    model: dict[str, Any]
    training: dict[str, Any]
    history: int | None
    note: str
    objective: dict[str, Any] = field(default_factory=dict)


RECIPES: dict[str, dict[str, Recipe]] = {
    "ml-1m": {
        "paper": Recipe(
            model={"dropout": 0.2},
            training={
                "epochs": 36,
                "patience": 10,
                "batch_tokens": 2048,
                "learning_rate": 2e-3,
                "max_history": 200,
                "schedule": "cosine",
                "warmup_epochs": 0.5,
                "weight_average": 0.998,
            },
            history=200,
            note="D=64, 2 layers, expansion 2, conv 4, histories of 200",
        ),
    },
    "amazon-beauty": {
        "paper": Recipe(
            model={"dropout": 0.5},
            training={
                "epochs": 24,
                "patience": 10,
                "learning_rate": 2e-3,
                "max_history": 50,
                "schedule": "cosine",
                "warmup_epochs": 1.0,
                "weight_average": 0.99,
            },
            objective={"item_norm": 2.5},
            history=50,
            note="D=64, 2 layers, expansion 2, conv 4, histories of 50",
        ),
    },
    "amazon-sports": {
        "paper": Recipe(
            model={"dropout": 0.5},
            training={
                "epochs": 24,
                "patience": 10,
                "learning_rate": 2e-3,
                "max_history": 50,
                "schedule": "cosine",
                "warmup_epochs": 1.0,
                "weight_average": 0.99,
            },
            objective={"item_norm": 2.5},
            history=50,
            note="D=64, 2 layers, expansion 2, conv 4, histories of 50",
        ),
    },
}
