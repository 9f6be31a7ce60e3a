"""Extract from a table row: the encoded values are the features.

This file is copied into every bundle that needs it, so it imports torch alone.
"""

from __future__ import annotations

from torch import Tensor, nn


class TableRow(nn.Module):
    """The values ``(N, P)`` of a tabular input as they are; nothing is learned here."""

    def forward(self, values: Tensor) -> Tensor:
        """Return ``(N, P)``."""
        return values.flatten(1)
