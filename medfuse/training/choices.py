"""Several labels per case as choices of two: what is fitted on classes then fits labels as well."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor

from medfuse.data import Case
from medfuse.data.allocate_labels import allocate_labels
from medfuse.training.data import TrainingData

UNKNOWN = -1


def known_choices(logits: Tensor, labels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits, labels and mask of all known answers, each as a choice of two classes.

    What belongs to one class per case comes back as it is.

    Args:
        logits: ``(N, K)`` or ``(N, S, K)`` of classes; log-odds of labels ``(N, L)``,
            ``(N, S, L)``, which become log-probabilities ``(M, 2)``, ``(M, S, 2)``.
        labels: ``(N,)`` class indices; or answers ``(N, L)``, -1 where unknown.
        mask: ``(N, S)``; repeated for each answer of a case.
    """
    if labels.ndim == 1:
        return logits, labels, mask
    cases, places = (labels != UNKNOWN).nonzero(as_tuple=True)
    odds = logits[cases, ..., places]
    pairs = torch.stack([-odds, odds], dim=-1)
    choices = torch.nn.functional.logsigmoid(pairs)
    return choices, labels[cases, places].long(), mask[cases]


def most_parts(data: TrainingData) -> int:
    """Return into how many parts the cases can be divided.

    Each part has a group of every class. Of several labels it may lack an answer: one of a dozen
    labels is always rare, and a part can be learned from, or held out, for all others.
    """
    labels, groups = data.labels.numpy(), data.groups.numpy()
    if labels.ndim == 2:
        return len(np.unique(groups))
    return min(len(np.unique(groups[labels == value])) for value in np.unique(labels))


def label_folds(data: TrainingData, count: int, seed: int) -> list[np.ndarray]:
    """Return ``count`` disjoint sets of rows that together are all rows.

    Every label is spread evenly, and groups stay together, as in `allocate_labels`.
    """
    rows: dict[int, list[Case]] = defaultdict(list)
    for i, (group, found) in enumerate(
        zip(data.groups.tolist(), data.labels.tolist(), strict=True)
    ):
        answers = tuple(None if one == UNKNOWN else int(one) for one in found)
        rows[group].append(Case(str(i), {}, None, str(group), findings=answers))
    shares = {str(fold): 1 / count for fold in range(count)}
    placed = allocate_labels(list(rows.values()), shares, str(seed))
    parts: dict[str, list[int]] = {fold: [] for fold in shares}
    for row, fold in placed.items():
        parts[fold].append(int(row))
    return [np.array(sorted(part), dtype=np.int64) for part in parts.values()]
