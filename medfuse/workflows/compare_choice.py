"""Candidates that are chosen inside the training cases of each fold."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medfuse.evaluation.candidates import FUSED, Candidate
from medfuse.evaluation.fold_comparison import CHOSEN_FUSION, CHOSEN_SINGLE
from medfuse.training.candidate import Fitted
from medfuse.workflows.compare_task import CompareTask


def chosen_candidates(
    task: CompareTask, fitted: Mapping[tuple[str, int], Fitted]
) -> list[Candidate]:
    """Return the single source, and the fusion, of the lowest log loss on held-out training cases.

    The choice is made anew in each fold, without its test cases, so that what the chosen ones
    reach is what somebody reaches who compares and then takes the best (nested cross-validation).
    Nothing is returned where cases lack inputs, for losses on unlike cases cannot be ranked, where
    there is nothing to choose, or where too few cases are held out.
    """
    if not task.workshop.cases.known.all():
        return []
    found = []
    for name, kinds in ((CHOSEN_SINGLE, {"single"}), (CHOSEN_FUSION, FUSED)):
        names = [c.name for c in task.plan.candidates if c.kind in kinds]
        losses = {
            (one, fold): fitted[one, fold].held_out_loss for one in names for fold in task.folds
        }
        if not np.isfinite(list(losses.values())).all():
            return []
        best = {fold: _lowest(losses, names, fold) for fold in task.folds}
        found.append(
            Candidate(
                name=name,
                kind="choice",
                sources=tuple(task.labels),
                probabilities=task.assembled({f: fitted[one, f] for f, one in best.items()}),
            )
        )
    return found


def _lowest(losses: Mapping[tuple[str, int], float], names: list[str], fold: int) -> str:
    return min(names, key=lambda name: losses[name, fold])
