"""Train several classifiers, each without another part of the cases, and average them.

Every case is left out once, so the held-out predictions of all cases calibrate the probabilities
without a part of their own (Breiman, 1996, doi:10.1007/BF00058655; cross-validated bagging as in
Parmanto et al., 1996, "Improving committee diagnosis with resampling techniques").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from torch import nn

from medfuse.config import TrainingConfig
from medfuse.errors import TrainingError
from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.model import ClassifierEnsemble
from medfuse.training.choices import label_folds, most_parts
from medfuse.training.data import TrainingData
from medfuse.training.fit import fit
from medfuse.training.opinions import weigh_opinions
from medfuse.training.predict import predict_logits
from medfuse.training.result import TrainingResult
from medfuse.training.run import Run
from medfuse.training.stratified import stratified_parts

FitMember: TypeAlias = Callable[
    [nn.Module, TrainingData, TrainingData | None, TrainingConfig, Run], TrainingResult
]


@dataclass(frozen=True)
class Ensemble:
    """Trained members and what they say of the cases they were not trained on.

    Attributes:
        classifier: the members, averaged.
        results: history of each member.
        held_out_logits: ``(N, K)`` in the order of the cases: the logits of the one member that
            was trained without the case.
    """

    classifier: ClassifierEnsemble
    results: tuple[TrainingResult, ...]
    held_out_logits: np.ndarray


def fit_members(
    members: Sequence[nn.Module],
    data: TrainingData,
    config: TrainingConfig,
    run: Run,
    fit_member: FitMember = fit,
) -> Ensemble:
    """Train each of M members on M - 1 of M parts of the cases; the part left out stops it early.

    Cases of one patient stay in one part; classes are spread evenly. Members that pool opinions
    get one set of weights, fitted on the parts left out. Each member has a folder of
    its own below the run's, so an interrupted run goes on with the member it was at.

    Args:
        members: untrained classifiers of the same structure, trained in place.
        data: all cases that may be learned from.
        config: how to learn.
        run: its seed also decides the parts.
        fit_member: trains one of them.

    Raises:
        TrainingError: a class has fewer patients than there are members.
    """
    parts = member_parts(data, len(members), run.seed)
    left_out = [data.select(rows) for rows in parts]
    results = []
    for number, (member, rows) in enumerate(zip(members, parts, strict=True)):
        rest = data.select(np.setdiff1d(np.arange(len(data)), rows))
        own = _member_run(run, number, len(members))
        results.append(fit_member(member, rest, left_out[number], config, own))
    weigh_opinions(members, left_out)
    found = [predict_logits(member, cases) for member, cases in zip(members, left_out, strict=True)]
    logits = np.empty((len(data), found[0].shape[1]), dtype=found[0].dtype)
    logits[np.concatenate(parts)] = np.concatenate(found)
    return Ensemble(ClassifierEnsemble(members, link_of(members[0])), tuple(results), logits)


def link_of(classifier: nn.Module) -> str:
    """Return ``sigmoid`` for a classifier of labels, ``softmax`` for any of classes."""
    inner: Any = classifier.fused if isinstance(classifier, OpinionPool) else classifier
    return "sigmoid" if inner.link == "sigmoid" else "softmax"


def most_members(data: TrainingData) -> int:
    """Return the number of parts of the cases that can each be left out of a member."""
    return most_parts(data)


def too_few_text(data: TrainingData) -> str:
    """Return what bounds the number of members, as part of a sentence."""
    who = "a class has" if data.labels.ndim == 1 else "there are"
    return f"{who} only {most_members(data)} patients to train on"


def member_parts(data: TrainingData, count: int, seed: int) -> list[np.ndarray]:
    """Return ``count`` disjoint sets of rows that together are all rows.

    Raises:
        TrainingError: a class has fewer groups of cases than parts are asked for.
    """
    most = most_members(data)
    if most < count:
        raise TrainingError(
            f"training.members is {count}, but {too_few_text(data)}. "
            f"Set training.members to at most {most}."
        )
    if data.labels.ndim == 2:
        return label_folds(data, count, seed)
    return stratified_parts(data.labels.numpy(), data.groups.numpy(), count, seed)


def _member_run(run: Run, number: int, members: int) -> Run:
    folder = run.folder / "members" / str(number) if run.folder else None
    seed = run.seed + 7919 * number
    return replace(run, folder=folder, seed=seed, member=number + 1, members=members)
