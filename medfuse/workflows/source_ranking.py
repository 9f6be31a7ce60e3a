"""What a ranking of sources says, as data and as a table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medfuse.config import SourceConfig
from medfuse.evaluation.feature_kernel import FeatureKernel, Floats
from medfuse.evaluation.source_choice import ChosenSource
from medfuse.evaluation.source_order import MEASURES, SourceOrder, interval
from medfuse.storage import write_text


@dataclass(frozen=True)
class Candidate:
    """A source, and what its features say of the cases without the features themselves."""

    label: str
    config: SourceConfig
    kernel: FeatureKernel
    feature_dim: int


@dataclass(frozen=True)
class RankedSource:
    """One source and its place.

    Attributes:
        source: its name; distinct in a ranking.
        config: how a configuration names it.
        feature_dim: width of its features.
        place: from 1, the best.
        places: from where to where it lies in most half-samples of the patients.
        score: mean rank over the measures.
        measures: each with its 95 % interval: ``{"value", "low", "high"}``, or null values.
        most_alike: the other source whose features are most like its own.
        similarity: linear CKA with that one.
    """

    source: str
    config: SourceConfig
    feature_dim: int
    place: int
    places: tuple[int, int]
    score: float
    measures: Mapping[str, Mapping[str, float | None]]
    most_alike: str
    similarity: float


@dataclass(frozen=True)
class SuggestedSource:
    """One of the few that go together, in the order in which they were taken.

    Attributes:
        source: its name.
        config: how a configuration names it.
        auroc: held-out AUROC of a linear probe on it and those before it, side by side.
        gain: what it adds to those before it.
        helps: share of half-samples of the patients in which it adds anything.
        similarity: largest linear CKA with one before it.
    """

    source: str
    config: SourceConfig
    auroc: float
    gain: float
    helps: float
    similarity: float


@dataclass(frozen=True)
class SourceRanking:
    """The order of the candidates, the best first, and a few that go together.

    Attributes:
        sources: all candidates.
        suggested: what to train with.
        similarity: linear CKA of every two sources, by their names.
        cases: that were looked at.
        groups: patients among them; identical pictures count as one.
        classes: of the cohort.
    """

    sources: tuple[RankedSource, ...]
    suggested: tuple[SuggestedSource, ...]
    similarity: Mapping[str, Mapping[str, float]]
    cases: int
    groups: int
    classes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "cases": self.cases,
            "groups": self.groups,
            "classes": list(self.classes),
            "sources": [_plain(row) for row in self.sources],
            "suggested": [_plain(row) for row in self.suggested],
            "similarity": {name: dict(row) for name, row in self.similarity.items()},
        }


def ranking_of(
    candidates: Sequence[Candidate],
    order: SourceOrder,
    similarity: Floats,
    chosen: Sequence[ChosenSource],
) -> dict[str, Any]:
    """Return the parts of a `SourceRanking` that tell of sources, by field."""
    names = _distinct([candidate.label for candidate in candidates])
    rows = [
        _ranked(names, candidates[index], order, (index, similarity[index]))
        for index in range(len(names))
    ]
    return {
        "sources": tuple(sorted(rows, key=lambda row: row.place)),
        "suggested": tuple(
            SuggestedSource(
                names[step.index],
                candidates[step.index].config,
                step.auroc,
                step.gain,
                step.helps,
                step.similarity,
            )
            for step in chosen
        ),
        "similarity": {
            name: dict(zip(names, row.tolist(), strict=True))
            for name, row in zip(names, similarity, strict=True)
        },
    }


def write_ranking(ranking: SourceRanking, path: Path | str) -> None:
    """Write the table of a ranking as CSV, one source a row, the best first."""
    measured = [f"{name}{part}" for name in MEASURES for part in ("", "_low", "_high")]
    header = ["place", "place_low", "place_high", "source", "features", "mean_rank", *measured]
    header += ["most_alike", "similarity", "suggested"]
    suggested = [row.source for row in ranking.suggested]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in ranking.sources:
        numbers = [row.measures[name][key] for name in MEASURES for key in ("value", "low", "high")]
        taken = suggested.index(row.source) + 1 if row.source in suggested else ""
        front = [row.place, *row.places, row.source, row.feature_dim, f"{row.score:.2f}"]
        cells = ["" if value is None else f"{value:.6g}" for value in numbers]
        writer.writerow([*front, *cells, row.most_alike, f"{row.similarity:.4f}", taken])
    write_text(path, text.getvalue())


def _ranked(
    names: Sequence[str], candidate: Candidate, order: SourceOrder, alike: tuple[int, Floats]
) -> RankedSource:
    index, similarity = alike
    nearest = int(np.argmax(np.where(np.arange(len(names)) == index, -np.inf, similarity)))
    return RankedSource(
        source=names[index],
        config=candidate.config,
        feature_dim=candidate.feature_dim,
        place=int(order.places[index]),
        places=(int(order.low[index]), int(order.high[index])),
        score=float(order.scores[index]),
        measures={name: _estimate(order, name, index) for name in MEASURES},
        most_alike=names[nearest],
        similarity=float(similarity[nearest]),
    )


def _estimate(order: SourceOrder, name: str, index: int) -> dict[str, float | None]:
    value, error = float(order.values[name][index]), float(order.errors[name][index])
    low, high = interval(name, value, error)
    found = {"value": value, "low": low, "high": high}
    return {key: number if math.isfinite(number) else None for key, number in found.items()}


def _distinct(labels: Sequence[str]) -> list[str]:
    counts = [labels[:i].count(label) for i, label in enumerate(labels)]
    return [f"{a} ({n + 1})" if n else a for a, n in zip(labels, counts, strict=True)]


def _plain(row: RankedSource | SuggestedSource) -> dict[str, Any]:
    config = row.config.model_dump(mode="json", exclude_defaults=True)
    return {**vars(row), "config": config}
