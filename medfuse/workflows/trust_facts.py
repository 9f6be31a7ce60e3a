"""What the test cases show of abstention, prediction sets and selective prediction."""

from __future__ import annotations

from typing import Any

import numpy as np

from medfuse import plots
from medfuse.evaluation import LabelPredictions, Predictions
from medfuse.evaluation.conformal_sets import covered
from medfuse.evaluation.selective import risk_coverage
from medfuse.workflows.abstaining import Judged
from medfuse.workflows.gallery import Gallery
from medfuse.workflows.run_page.abstention import codes_of


def trust_facts(
    cases: Predictions | LabelPredictions,
    judged: Judged,
    rows: np.ndarray,
    held_out: str,
    coverage: float,
) -> dict[str, Any]:
    """Return, as JSON data, why cases were not answered, and what sets and confidence are worth.

    Args:
        cases: labels and probabilities of the test cases.
        judged: of all cases of the cohort.
        rows: positions of the test cases in it.
        held_out: the cases that the policy was fitted on, in words.
        coverage: that the sets were made for.
    """
    codes = [judged.judgements[row].reason_code for row in rows]
    policy, sets, selective = judged.policy, None, None
    if isinstance(cases, Predictions):
        selective = risk_coverage(cases)
        if len(policy.set_limits):
            sets = {"asked": coverage, **covered(cases, policy.set_limits, policy.score)}
    return {
        "cases": len(rows),
        "held_out": held_out,
        "abstained": codes_of(codes),
        "sets": sets,
        "selective": selective,
    }


def draw_trust(gallery: Gallery, facts: dict[str, Any], judged: Judged, rows: np.ndarray) -> None:
    """Add the distances of the test cases, and risk over coverage where there is one."""
    each = [judged.judgements[row].distances for row in rows]
    names = dict.fromkeys(name for found in each for name in found)
    if names:
        values = {n: np.array([found[n] for found in each if n in found]) for n in names}
        caption = "How far test cases lie from the training cases, by source."
        gallery.add("distances", plots.distance_histograms(values), caption)
    if facts["selective"]:
        curve = plots.risk_coverage_curve(
            facts["selective"]["coverage"], facts["selective"]["risk"]
        )
        gallery.add("risk_coverage", curve, "Error rate among the surest test cases.")
