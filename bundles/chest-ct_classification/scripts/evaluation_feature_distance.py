"""How far features lie from those of the training cases. Copied into bundles: numpy alone.

What is kept of the training cases is a mean per class, a few hundred axes and variances, and
quantiles of distances: no image, and no vector of a case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

VERSION = 1
DISTANCES = "distances.safetensors"
LEVELS = np.linspace(0.0, 1.0, 101)
_KEY = "medfuse"
_ARRAYS = ("means", "axes", "variances", "quantiles")


@dataclass(frozen=True, eq=False)
class SourceDistance:
    """The Mahalanobis distance of a source's features from the nearest class mean.

    The covariance within classes has the variances of its ``axes`` and one variance, ``rest``,
    in every direction between them (Lee et al., 2018, arXiv:1807.03888; the form of the
    covariance is that of Tipping and Bishop, 1999, doi:10.1111/1467-9868.00196).

    Attributes:
        label: of the source.
        means: ``(C, F)`` one row per class, or a single one for all cases.
        axes: ``(R, F)`` orthonormal, R from 0 on.
        variances: ``(R,)`` along the axes.
        rest: along every other direction.
        limit: distances above it are out of distribution; infinite where there were too few
            cases to tell.
        quantiles: ``(101,)`` of the distances of held-out cases, at levels 0, 0.01 to 1.
        position: of the network's input that the source reads.
    """

    label: str
    means: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rest: float
    limit: float = float("inf")
    quantiles: np.ndarray = field(default_factory=LEVELS.copy)
    position: int = 0

    @property
    def width(self) -> int:
        """Number of features, F."""
        return int(self.means.shape[1])

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of each row of ``(N, F)``, ``(N,)``; NaN where a feature is NaN."""
        rows = np.asarray(features, dtype=np.float64)
        axes, means = self.axes.astype(np.float64), self.means.astype(np.float64)
        excess = 1 / self.variances.astype(np.float64) - 1 / self.rest
        squares = []
        for mean in means:
            away = rows - mean
            along = away @ axes.T
            squares.append((away**2).sum(1) / self.rest + along**2 @ excess)
        return np.asarray(np.sqrt(np.maximum(np.min(squares, axis=0), 0.0)))


@dataclass(frozen=True, eq=False)
class FeatureDistances:
    """The distances of all sources of a network, from what ``network.features`` gives.

    Attributes:
        sources: one per source, in the order of the features.
        facts: plain data (JSON) on how they were made.
    """

    sources: tuple[SourceDistance, ...]
    facts: Mapping[str, Any]

    def __call__(self, features: np.ndarray, present: np.ndarray | None = None) -> np.ndarray:
        """Return distances ``(N, S)``; NaN where a source lacks its input.

        Args:
            features: ``(N, sum of F)``, of all sources side by side.
            present: ``(N, S)`` which sources have their input; all if ``None``.

        Raises:
            ValueError: the features have another width.
        """
        widths = [source.width for source in self.sources]
        if features.ndim != 2 or features.shape[1] != sum(widths):
            raise ValueError(f"features have shape {features.shape}, expected (N, {sum(widths)})")
        parts = np.split(features, np.cumsum(widths)[:-1], axis=1)
        found = np.stack([s(x) for s, x in zip(self.sources, parts, strict=True)], axis=1)
        return found if present is None else np.where(present, found, np.nan)

    @property
    def limits(self) -> np.ndarray:
        """The limit of each source, ``(S,)``."""
        return np.array([source.limit for source in self.sources])

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the sources."""
        return tuple(source.label for source in self.sources)


def tensors_of(distances: FeatureDistances) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays (float32) and the text that a safetensors file keeps."""
    arrays = {
        f"{number}.{name}": np.ascontiguousarray(getattr(source, name), dtype=np.float32)
        for number, source in enumerate(distances.sources)
        for name in _ARRAYS
    }
    listed = [
        {
            "label": source.label,
            "rest": source.rest,
            "limit": source.limit if np.isfinite(source.limit) else None,
            "position": source.position,
        }
        for source in distances.sources
    ]
    text = {"version": VERSION, "sources": listed, "facts": dict(distances.facts)}
    return arrays, {_KEY: json.dumps(text, sort_keys=True, allow_nan=False)}


def load_distances(path: Path | str) -> FeatureDistances:
    """Return the distances of a file that was written from `tensors_of`.

    Raises:
        ValueError: the file has another version or is not of medfuse.
        OSError: it cannot be read.
    """
    from safetensors import safe_open

    with safe_open(str(path), "np") as file:
        text = json.loads((file.metadata() or {}).get(_KEY, "{}"))
        if text.get("version") != VERSION:
            raise ValueError(
                f"{Path(path).name}: version {text.get('version')} of feature distances, "
                f"expected {VERSION}"
            )
        arrays = {name: file.get_tensor(name) for name in list(file.keys())}
    sources = [_source(entry, number, arrays) for number, entry in enumerate(text["sources"])]
    return FeatureDistances(tuple(sources), text["facts"])


def _source(
    entry: Mapping[str, Any], number: int, arrays: Mapping[str, np.ndarray]
) -> SourceDistance:
    limit = entry["limit"]
    parts: Sequence[np.ndarray] = [arrays[f"{number}.{name}"] for name in _ARRAYS]
    means, axes, variances, quantiles = parts
    return SourceDistance(
        label=entry["label"],
        means=means,
        axes=axes,
        variances=variances,
        rest=entry["rest"],
        limit=float("inf") if limit is None else limit,
        quantiles=quantiles,
        position=entry["position"],
    )
