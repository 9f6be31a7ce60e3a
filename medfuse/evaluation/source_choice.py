"""Choose a few sources that are good together, which need not be the best ones alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medfuse.evaluation.feature_kernel import FeatureKernel, Floats, Spectrum
from medfuse.evaluation.source_order import RankingCases, part_of
from medfuse.evaluation.transferability import log_evidence, probe_auroc


@dataclass(frozen=True)
class ChosenSource:
    """One step of the choice.

    Attributes:
        index: of the source.
        auroc: held-out AUROC of a linear probe on it and those chosen before, side by side.
        gain: what it adds to those chosen before; 0 for the first.
        helps: share of half-samples of the patients in which it adds anything; 1 for the first.
        similarity: largest linear CKA with one chosen before; 0 for the first.
    """

    index: int
    auroc: float
    gain: float
    helps: float
    similarity: float


def choose_sources(
    kernels: Sequence[FeatureKernel],
    cases: RankingCases,
    similarity: Floats,
    first: int,
    most: int,
) -> list[ChosenSource]:
    """Return up to ``most`` sources: the first, then each time what helps most beside it.

    Every candidate is measured side by side with those chosen, by the same held-out probe as in
    the order, so a source that only repeats another adds nothing, however good it is. The most
    helpful of many helps a little by chance alone: choosing ends where it does not help in more
    than half of the half-samples of the patients too.

    Args:
        kernels: of the same cases, one for each source.
        cases: their labels and groups.
        similarity: linear CKA, ``(S, S)``.
        first: index of the first source.
        most: sources to choose at most.
    """
    steps = [ChosenSource(first, _auroc(kernels[first], cases), 0.0, 1.0, 0.0)]
    before = kernels[first]
    while len(steps) < min(most, len(kernels)):
        chosen = [step.index for step in steps]
        others = [i for i in range(len(kernels)) if i not in chosen]
        joined = [FeatureKernel.joined([*(kernels[k] for k in chosen), kernels[i]]) for i in others]
        found = [_auroc(kernel, cases) for kernel in joined]
        best = int(np.argmax(found))
        gain, index = found[best] - steps[-1].auroc, others[best]
        helps = _helps(before, joined[best], cases)
        if not (gain > 0 and helps > 1 / 2):
            break
        alike = float(similarity[index, chosen].max())
        steps.append(ChosenSource(index, found[best], gain, helps, alike))
        before = joined[best]
    return steps


def _auroc(kernel: FeatureKernel, cases: RankingCases) -> float:
    """Return the probe's AUROC; of several labels per case the mean over the labels."""
    found = []
    for rows, asked in cases.questions():
        part = part_of(kernel, rows)
        _, ridge = log_evidence(Spectrum.of(part), asked.labels)
        found.append(probe_auroc(part, asked.labels, asked.folds(), ridge))
    return float(np.mean(found)) if found else float("nan")


def _helps(before: FeatureKernel, after: FeatureKernel, cases: RankingCases) -> float:
    """Return the share of half-samples in which the second kernel has the larger AUROC."""
    better = [
        _auroc(after.only(rows), cases.only(rows)) > _auroc(before.only(rows), cases.only(rows))
        for rows in cases.halves()
    ]
    return float(np.mean(better))
