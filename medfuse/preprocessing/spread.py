"""Pick a few of many, the same ones every time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spread(references: Sequence[str], count: int) -> list[str]:
    """Return at most ``count`` of the sorted references, evenly spread."""
    ordered = sorted(references)
    places = np.linspace(0, len(ordered) - 1, min(count, len(ordered)))
    return [ordered[index] for index in np.unique(places.round().astype(int))]
