"""What measured cases show of abstention, prediction sets and selective prediction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medfuse import plots
from medfuse.evaluation import LabelPredictions, Predictions
from medfuse.evaluation.conformal_sets import covered
from medfuse.evaluation.feature_distance import FeatureDistances
from medfuse.evaluation.selective import risk_coverage
from medfuse.workflows.gallery import Gallery


@dataclass(frozen=True)
class TrustedCases:
    """What a model said of its own answers to some cases.

    Attributes:
        codes: of each case, why it was not answered; empty where it was.
        distances: of each case, by source, in multiples of the limit.
        set_limits: of each class, the largest score in a set; none without sets.
        score: of the sets.
        coverage: that the sets were made for; ``None`` where that is not known.
        held_out: the cases that all this was fitted on, in words.
        acceptance: the share of like cases within the limits of the distances; ``None`` where there
            are no limits.
    """

    codes: Sequence[str]
    distances: Sequence[Mapping[str, float]]
    set_limits: np.ndarray
    score: str
    coverage: float | None
    held_out: str
    acceptance: float | None


def acceptance_of(distances: FeatureDistances) -> float | None:
    """Return the share of like cases that the limits were made for; ``None`` without limits."""
    if not np.isfinite(distances.limits).any():
        return None
    found = distances.facts.get("acceptance")
    return None if found is None else float(found)


def trust_facts(cases: Predictions | LabelPredictions, trusted: TrustedCases) -> dict[str, Any]:
    """Return, as JSON data, why cases were not answered, and what sets and confidence are worth.

    Args:
        cases: labels and probabilities.
        trusted: of the same cases.
    """
    sets, selective = None, None
    if isinstance(cases, Predictions):
        selective = risk_coverage(cases)
        if len(trusted.set_limits):
            found = covered(cases, trusted.set_limits, trusted.score)
            sets = {"asked": trusted.coverage, **found}
    beyond = Counter(n for each in trusted.distances for n, far in each.items() if far > 1)
    return {
        "cases": len(cases),
        "held_out": trusted.held_out,
        "acceptance": trusted.acceptance,
        "abstained": dict(sorted(Counter(filter(None, trusted.codes)).items())),
        "beyond_limit": dict(sorted(beyond.items())),
        "sets": sets,
        "selective": selective,
    }


def draw_trust(gallery: Gallery, facts: Mapping[str, Any], trusted: TrustedCases) -> None:
    """Add the distances of the cases, and risk over coverage where there is one."""
    each = trusted.distances
    names = dict.fromkeys(name for found in each for name in found)
    if names:
        values = {n: np.array([found[n] for found in each if n in found]) for n in names}
        caption = "How far the measured cases lie from the training cases, by source."
        gallery.add("distances", plots.distance_histograms(values), caption)
    if facts["selective"]:
        curve = plots.risk_coverage_curve(
            facts["selective"]["coverage"], facts["selective"]["risk"]
        )
        gallery.add("risk_coverage", curve, "Error rate among the surest of the measured cases.")
