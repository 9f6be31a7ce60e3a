"""Answers of new images for training. Copied into bundles of several labels: MONAI only."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform


class LabelAnswersd(MapTransform):
    """Answers to several labels as a tensor ``(L,)``: 1, 0, or NaN where unknown.

    Args:
        keys: of the answers.
        labels: how many labels there are, L.
    """

    def __init__(self, keys: KeysCollection, labels: int) -> None:
        super().__init__(keys)
        self.labels = labels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the same items with tensors.

        Raises:
            ValueError: there are not L answers; MONAI Label's stock bundle application hands over
                a file, which names one class.
        """
        items = dict(data)
        for key in self.key_iterator(items):
            if isinstance(items[key], str) or len(items[key]) != self.labels:
                found = "a file" if isinstance(items[key], str) else f"{len(items[key])} answers"
                raise ValueError(
                    f"found {found}, expected answers to {self.labels} labels. "
                    "Train on labels.csv (docs/README.md of the bundle)."
                )
            items[key] = torch.tensor(items[key], dtype=torch.float32)
        return items
