"""Writes predictions beside what is true. Copied into bundles that can be trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .bundle_prediction_writer import PredictionWriter


class EvaluationWriter(PredictionWriter):
    """A `PredictionWriter` whose rows hold the label too."""

    columns = ("image", "label")

    def described(self, item: Mapping[str, Any]) -> dict[str, str]:
        """Return image and label of a case."""
        label = int(torch.as_tensor(item["label"]).flatten()[0])
        return {**super().described(item), "label": self.class_names[label]}
