"""Does a run go on with the data it began with?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch

from recblr.data import DataIdentity, RowOrder
from recblr.errors import CheckpointError
from recblr.item_ids import id_type_of
from recblr.preparation import PreparedData

_SPLIT = ("validation_time", "test_time")


@dataclass(frozen=True, eq=False)
class RunData:
    """The data of a training run.

    Attributes:
        settings: `DataSettings.to_dict` of how it was read, filtered and split.
        fingerprint: of the interactions, in any order of rows.
        item_ids: the vocabulary, sorted.
        users, interactions: how many there are.
        order: of the rows, which numbers users and items and breaks ties.
    """

    settings: dict[str, Any]
    fingerprint: str
    item_ids: list[int] | list[str]
    users: int
    interactions: int
    order: RowOrder

    @classmethod
    def of(cls, prepared: PreparedData, identity: DataIdentity) -> Self:
        """The data of a run that begins.

        Args:
            prepared: what it trains on.
            identity: of the same interactions.
        """
        return cls(
            settings=prepared.settings.to_dict(),
            fingerprint=identity.fingerprint,
            item_ids=identity.item_ids.tolist(),
            users=prepared.interactions.n_users,
            interactions=prepared.interactions.n_interactions,
            order=identity.row_order,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values and tensors, for a resume file."""
        order = {name: torch.from_numpy(array) for name, array in vars(self.order).items()}
        return {**vars(self), "order": order}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `to_dict`.

        Raises:
            CheckpointError: damaged.
        """
        try:
            order = RowOrder(**{name: tensor.numpy() for name, tensor in values["order"].items()})
            return cls(**{**values, "order": order, "settings": dict(values["settings"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                "the resume file does not say which data it is of: start anew without --resume"
            ) from error

    def restore(self, prepared: PreparedData, identity: DataIdentity) -> PreparedData:
        """The given data, with users and items numbered and ties ordered as when the run began.

        Args:
            prepared: read now.
            identity: of its interactions.

        Raises:
            CheckpointError: they are not the interactions of this run, or split otherwise.
        """
        difference = self._difference(prepared, identity)
        if difference:
            raise CheckpointError(
                f"the run to resume had other data: {difference}; give the same data and options, or start anew "
                "without --resume"
            )
        try:
            return prepared.with_interactions(identity.in_order(self.order))
        except (ValueError, IndexError) as error:
            raise CheckpointError(f"the resume file is damaged ({error}): start anew without --resume") from error

    def _difference(self, prepared: PreparedData, identity: DataIdentity) -> str:
        """What is not as it was; empty where it is the same."""
        settings = prepared.settings.to_dict()
        same_content = identity.fingerprint == self.fingerprint
        parts = [] if same_content else [self._other_content(prepared, identity)]
        parts += [
            f"{name} was {self.settings.get(name)!r} and is {settings[name]!r}"
            for name in (_SPLIT if same_content else settings)
            if self.settings.get(name) != settings[name]
        ]
        return ", ".join(parts)

    def _other_content(self, prepared: PreparedData, identity: DataIdentity) -> str:
        """In what the interactions differ from those of this run, which must be others."""
        item_ids = identity.item_ids.tolist()
        before, now = set(self.item_ids), set(item_ids)
        was_type, is_type = id_type_of(self.item_ids[0]), id_type_of(item_ids[0])
        if was_type != is_type:
            return f"the item ids were {was_type}s (such as {self.item_ids[0]!r}) and are {is_type}s"
        if before != now:
            new, missing = sorted(now - before, key=str), sorted(before - now, key=str)
            parts = [
                f"{len(items):,} {what} (such as {items[0]!r})"
                for what, items in (("items are new", new), ("items are gone", missing))
                if items
            ]
            return ", ".join(parts)
        counts = (
            ("users", self.users, len(identity.user_ids)),
            ("interactions", self.interactions, prepared.interactions.n_interactions),
        )
        for what, was, count in counts:
            if was != count:
                return f"{was:,} {what} then, {count:,} now"
        return "as many users, items and interactions, but other users, items or times in them"
