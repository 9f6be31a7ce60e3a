"""Writes the predictions of cases. Copied into bundles: torch and ignite only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfuse.bundle.prediction_writer import PredictionWriter


class CasePredictionWriter(PredictionWriter):
    """As `PredictionWriter`, but a case has a name of its own, and says which inputs it had."""

    columns = ("case_id", "inputs")

    def described(self, item: Mapping[str, Any]) -> dict[str, str]:
        """Return the name of the case, and its inputs joined by ``;``."""
        return {name: str(item[name]) for name in self.columns}
