"""What is compared on the same cases: candidates, and the cases with their folds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import EvaluationError
from medfuse.evaluation.fold_area import FoldArea, fold_area, measured_labels
from medfuse.evaluation.label_predictions import UNKNOWN, LabelPredictions
from medfuse.evaluation.label_scores import answer_scores
from medfuse.evaluation.predictions import Predictions, numbered
from medfuse.evaluation.resampling import weight_blocks
from medfuse.evaluation.scores import OVERALL, ScoreTable, proper_scores, rates_of_classes
from medfuse.evaluation.settings import EvaluationSettings

Kind = Literal["single", "fusion", "pair", "choice", "baseline", "scratch"]
FUSED: frozenset[Kind] = frozenset({"fusion", "pair"})


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a way of classifying says of every case, by models that did not see the case.

    Attributes:
        name: unlike that of any other.
        kind: one source alone, a fusion of all or of two, one chosen among these inside the
            training cases, a classic classifier, or a network from random weights.
        sources: what it reads.
        probabilities: ``(N, K)`` out of fold; of L labels ``(N, L)``, whose rows need not sum to 1.
        visible: ``(N,)`` cases that have the input of one of its sources; all if ``None``.
    """

    name: str
    kind: Kind
    sources: tuple[str, ...]
    probabilities: NDArray[np.float64]
    visible: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class FoldCases:
    """N labeled cases in V folds.

    Attributes:
        labels: class of each, ``(N,)``; of several labels per case the answers ``(N, L)``: 1, 0,
            or -1 where unknown.
        classes: K names; of several labels L.
        patients: one value per case; empty if every case is a patient of its own.
        folds: fold of each case, ``(N,)``; all cases of a patient lie in one.
    """

    labels: NDArray[np.int64]
    classes: Sequence[str]
    patients: Sequence[Any]
    folds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def multilabel(self) -> bool:
        """Whether a case has an answer to each of several labels, in place of one class."""
        return self.labels.ndim == 2

    def measured(self) -> list[int]:
        """Return the labels that metrics are averaged over; see `measured_labels`."""
        return measured_labels(self.labels, numbered(self.patients, len(self)), self.folds)

    def right(self, candidate: Candidate) -> NDArray[np.float64]:
        """Return 1 where a candidate is right, and 0 where it is wrong.

        ``(N,)``; of several labels ``(N, L)``, NaN where the answer is unknown. A label is said to
        hold from a probability of one half on.
        """
        if not self.multilabel:
            return np.asarray(candidate.probabilities.argmax(1) == self.labels, dtype=np.float64)
        right = (candidate.probabilities >= 0.5) == (self.labels == 1)
        return np.asarray(np.where(self.labels == UNKNOWN, np.nan, right))

    def scored(self, candidate: Candidate, rows: NDArray[np.bool_] | None = None) -> ScoredCases:
        """Return what a candidate says of the cases at ``rows``; of all if ``None``.

        Raises:
            EvaluationError: no such case, or rows that are no probabilities.
        """
        kept = np.ones(len(self), dtype=bool) if rows is None else rows
        kind = LabelPredictions if self.multilabel else Predictions
        whole = kind(self.labels, candidate.probabilities, self.classes, self.patients)
        return ScoredCases(whole.only(kept), self.folds[kept])

    def visible_to(self, *candidates: Candidate) -> NDArray[np.bool_]:
        """Return the cases that all of the candidates can see, ``(N,)``."""
        seen = [c.visible for c in candidates if c.visible is not None]
        return np.logical_and.reduce(seen) if seen else np.ones(len(self), dtype=bool)


@dataclass(frozen=True, eq=False)
class ScoredCases:
    """Predictions out of fold, and their scores."""

    predictions: Predictions | LabelPredictions
    folds: NDArray[np.int64]

    @cached_property
    def area(self) -> FoldArea:
        """The macro AUROC over the folds."""
        return fold_area(self.predictions, self.folds)

    def weights(self, settings: EvaluationSettings) -> Iterator[NDArray[np.float64]]:
        """Yield the weights of the cases, ``(R, N)``: patients are drawn within their fold.

        They are the same for all candidates on the same cases.
        """
        strata = np.unique(self.folds, return_inverse=True)[1].reshape(-1)
        index = self.predictions.patient_index
        return weight_blocks(index, settings.bootstrap, settings.seed, strata)

    def resampled(self, weights: Iterable[NDArray[np.float64]]) -> ScoreTable:
        """Return accuracy, balanced accuracy, log loss and Brier score, each ``(1 + R,)``.

        Of several labels means over those that are tested, and in place of the balanced accuracy
        the exact match.

        Args:
            weights: of the cases, in blocks; see `weights`.
        """
        tables = [self._scores(block) for block in weights]
        return {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}

    def _scores(self, weights: NDArray[np.float64]) -> ScoreTable:
        found = self.predictions
        if isinstance(found, LabelPredictions):
            averaged = measured_labels(found.labels, found.patient_index, self.folds)
            return answer_scores(found, weights, averaged)
        return _scores(found, weights)


def require_distinct(candidates: Sequence[Candidate]) -> Mapping[str, Candidate]:
    """Return the candidates by name.

    Raises:
        EvaluationError: there is no single source, or a name occurs twice.
    """
    found = {candidate.name: candidate for candidate in candidates}
    if len(found) < len(candidates):
        raise EvaluationError("two candidates have the same name, expected different ones.")
    if not any(c.kind == "single" for c in candidates):
        raise EvaluationError("there is no single source to compare with.")
    return found


def _scores(predictions: Predictions, weights: NDArray[np.float64]) -> ScoreTable:
    table = {**proper_scores(predictions, weights), **rates_of_classes(predictions, weights)}
    recalls = [table["recall", k] for k in range(len(predictions.classes))]
    kept = {key: values for key, values in table.items() if key[1] == OVERALL}
    return {**kept, ("balanced_accuracy", OVERALL): np.mean(recalls, axis=0)}
