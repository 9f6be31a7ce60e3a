"""Writes predictions beside the true answers. Copied into bundles of several labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine

from medfuse.bundle.prediction_writer import PredictionWriter


class LabelWriter(PredictionWriter):
    """A `PredictionWriter` whose rows hold the answers too, in ``true_<label>``."""

    def attach(self, engine: Engine) -> None:
        """Collect every batch of ``engine``; write when it has ended."""
        self.columns = ("image", *(f"true_{name}" for name in self.class_names))
        super().attach(engine)

    def described(self, item: Mapping[str, Any]) -> dict[str, str]:
        """Return image and answers of a case: 1, 0, or nothing where unknown."""
        answers = torch.as_tensor(item["label"]).flatten().tolist()
        texts = ["" if math.isnan(x) else str(int(x)) for x in answers]
        return {**super().described(item), **dict(zip(self.columns[1:], texts, strict=True))}
