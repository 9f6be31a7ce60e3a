"""Neighbors: the training cases that a source finds most like a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors


@dataclass(frozen=True, eq=False)
class FeatureIndex:
    """Training cases by the features of one source.

    Args:
        values: ``(N, F)`` of the training cases; vectors of slices or tokens are averaged.
        mean: of each feature.
        std: of each feature.
    """

    values: NDArray[Any]
    mean: NDArray[Any]
    std: NDArray[Any]

    def nearest(
        self, features: NDArray[Any], count: int, without: Sequence[int] = ()
    ) -> list[tuple[int, float]]:
        """Return ``(row, distance)`` of the nearest training cases, the nearest first.

        Args:
            features: ``(F,)`` of a case.
            count: how many, if there are as many.
            without: rows that are passed over.

        The distance is Euclidean in standardized features, divided by the square root of their
        number: two unrelated cases lie about 1.4 apart.
        """
        rows = np.setdiff1d(np.flatnonzero(np.isfinite(self.values).all(1)), without)
        count = min(count, len(rows))
        if count < 1:
            return []
        scaled = (self.values[rows] - self.mean) / self.std
        found = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(scaled)
        distances, places = found.kneighbors(((features - self.mean) / self.std)[None])
        width = np.sqrt(len(self.mean))
        return [
            (int(rows[place]), float(distance / width))
            for place, distance in zip(places[0], distances[0], strict=True)
        ]
