"""Does fusing help? Every candidate on the same folds, tested, and said in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import EvaluationError
from medfuse.evaluation.candidates import (
    FUSED,
    Candidate,
    FoldCases,
    ScoredCases,
    require_distinct,
)
from medfuse.evaluation.estimates import estimate
from medfuse.evaluation.fold_area import area_difference, fold_p_value
from medfuse.evaluation.fold_verdict import fold_verdict
from medfuse.evaluation.label_predictions import LabelPredictions
from medfuse.evaluation.paired import difference_of, holm, mcnemar
from medfuse.evaluation.scores import OVERALL, ScoreTable
from medfuse.evaluation.settings import EvaluationSettings

SCHEMA_VERSION = 1
CHOSEN_SINGLE, CHOSEN_FUSION = "chosen single", "chosen fusion"
_FEW = 20
_MOST_AT_HAND = 16_000_000  # numbers of 8 bytes
_METRICS = ("accuracy", "balanced_accuracy", "log_loss", "brier")
_LABEL_METRICS = ("accuracy", "exact_match", "log_loss", "brier")


def compare_on_folds(
    cases: FoldCases,
    candidates: Sequence[Candidate],
    fused: str,
    settings: EvaluationSettings | None = None,
) -> dict[str, Any]:
    """Return every candidate's scores, the tests between them and the verdict, as JSON data.

    Three questions are asked, and all their p-values corrected together by Holm's method:

    - ``fusing``: each fused candidate against the best single source. It must beat every single
      source to be called better, so its p-value is the largest over them (an intersection-union
      test; Berger, 1982, doi:10.1080/00401706.1982.10487790). The best source is the one with the
      highest AUROC on these very cases, which favors it; the p-value does not rest on that choice.
    - ``choosing``: the fusion chosen inside the training cases of each fold, against the single
      source chosen there: what the whole procedure gains.
    - ``baselines``: the candidate ``fused`` against classic classifiers and a network from
      random weights.

    Several labels per case are asked the same: every score but the exact match is the mean over
    the labels that are `measured <FoldCases.measured>`, each on the cases whose answer is known.

    Args:
        cases: labels, patients and folds.
        candidates: predictions out of fold; at least one single source.
        fused: name of the fused candidate that was fixed beforehand.
        settings: resamples, seed and confidence.

    Raises:
        EvaluationError: no single source, no candidate ``fused``, or a patient in several folds.
    """
    settings = settings or EvaluationSettings()
    known = require_distinct(candidates)
    if fused not in known:
        raise EvaluationError(f"found no candidate {fused!r} among {', '.join(known)}.")
    field_of = _Field(cases, known, settings)
    best = field_of.best_single()
    rows = [
        *field_of.fusing(best),
        *field_of.choosing(),
        *field_of.against(fused, ("baseline", "scratch")),
    ]
    _adjust(rows)
    result = {
        "schema_version": SCHEMA_VERSION,
        **_counts(cases),
        "fused": fused,
        "best_single": best,
        "confidence": settings.confidence,
        "correction": {
            "method": "Holm",
            "comparisons": sum(r["p_value"] is not None for r in rows),
        },
        "candidates": [field_of.described(name) for name in known],
        "comparisons": rows,
    }
    result = _without_nan(result)
    return {**result, **fold_verdict(result)}


@dataclass(frozen=True, eq=False)
class _Field:
    """All candidates of one comparison; scores are computed once."""

    cases: FoldCases
    known: Mapping[str, Candidate]
    settings: EvaluationSettings
    _scored: dict[tuple[str, bytes], ScoredCases] = field(default_factory=dict)
    _tables: dict[tuple[str, bytes], ScoreTable] = field(default_factory=dict)
    _drawn: dict[bytes, list[NDArray[np.float64]]] = field(default_factory=dict)

    def best_single(self) -> str | None:
        """Return the single source of the highest AUROC, of those that see enough cases."""
        singles = [c for c in self.known.values() if c.kind == "single"]
        seen = {c.name: int(self.cases.visible_to(c).sum()) for c in singles}
        areas = {name: self._area_alone(name) for name, count in seen.items() if count}
        defined = {name: area for name, area in areas.items() if np.isfinite(area)}
        enough = {name: area for name, area in defined.items() if seen[name] >= _FEW} or defined
        return max(enough, key=lambda name: enough[name]) if enough else None

    def fusing(self, best: str | None) -> Iterator[dict[str, Any]]:
        """Yield each fused candidate beside the best single source."""
        if best is None:
            return
        singles = [name for name, c in self.known.items() if c.kind == "single"]
        for name in [name for name, c in self.known.items() if c.kind in FUSED]:
            row = self.pair("fusing", name, best)
            others = {single: self._p_value(name, single) for single in singles}
            if (row["auroc"]["difference"] or 0) > 0:
                known = [p for p in others.values() if p is not None]
                row["p_value"] = max(known) if len(known) == len(singles) else None
            yield {**row, "p_single": others}

    def choosing(self) -> Iterator[dict[str, Any]]:
        """Yield the fusion chosen inside the training cases beside the source chosen there."""
        if {CHOSEN_FUSION, CHOSEN_SINGLE} <= set(self.known):
            yield self.pair("choosing", CHOSEN_FUSION, CHOSEN_SINGLE)

    def against(self, fused: str, kinds: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield the candidate that was fixed beforehand beside all of some kinds."""
        for name in [name for name, c in self.known.items() if c.kind in kinds]:
            yield self.pair("baselines", fused, name)

    def pair(self, question: str, first: str, second: str) -> dict[str, Any]:
        """Return the tests of two candidates on the cases that both can see."""
        rows = self.cases.visible_to(self.known[first], self.known[second])
        head = {"question": question, "first": first, "second": second, "cases": int(rows.sum())}
        if not rows.any():
            nothing = {"test": "none", "difference": None, "p_value": None}
            return {**head, "auroc": nothing, "p_value": None, "p_folds": None}
        one, other = self.scored(first, rows), self.scored(second, rows)
        area = area_difference(one.area, other.area, self.settings.confidence)
        own, others = self._table(first, rows), self._table(second, rows)
        gaps = {
            name: asdict(difference_of(own[name, OVERALL], others[name, OVERALL], self.settings))
            for name in ("accuracy", "log_loss")
        }
        return {
            **head,
            "auroc": asdict(area),
            **gaps,
            "mcnemar": _mcnemar(one, other),
            "p_folds": fold_p_value(one.area, other.area),
            "p_value": area.p_value,
        }

    def described(self, name: str) -> dict[str, Any]:
        """Return the scores of a candidate on the cases that it can see."""
        candidate = self.known[name]
        rows = self.cases.visible_to(candidate)
        head = {"name": name, "kind": candidate.kind, "sources": list(candidate.sources)}
        if not rows.any():
            return {**head, "cases": 0, "auroc": None, "auroc_by_fold": []}
        area = self.scored(name, rows).area
        low, high = area.interval(self.settings.confidence)
        metrics = _LABEL_METRICS if self.cases.multilabel else _METRICS
        table = self._table(name, rows)
        return {
            **head,
            "cases": int(rows.sum()),
            "auroc": {"value": area.value, "low": low, "high": high},
            "auroc_by_fold": [float(value) for value in area.by_fold],
            **{m: estimate(table[m, OVERALL], self.settings, "undefined") for m in metrics},
        }

    def scored(self, name: str, rows: NDArray[np.bool_]) -> ScoredCases:
        """Return the predictions of a candidate for some of the cases."""
        key = (name, rows.tobytes())
        if key not in self._scored:
            self._scored[key] = self.cases.scored(self.known[name], rows)
        return self._scored[key]

    def _table(self, name: str, rows: NDArray[np.bool_]) -> ScoreTable:
        key = (name, rows.tobytes())
        if key not in self._tables:
            scored = self.scored(name, rows)
            self._tables[key] = scored.resampled(self._weights_for(scored, key[1]))
        return self._tables[key]

    def _weights_for(self, scored: ScoredCases, rows: bytes) -> Iterable[NDArray[np.float64]]:
        """Return the weights of the resamples; those that were drawn last are at hand."""
        if len(scored.folds) * self.settings.bootstrap > _MOST_AT_HAND:
            return scored.weights(self.settings)
        if rows not in self._drawn:
            self._drawn.clear()
            self._drawn[rows] = list(scored.weights(self.settings))
        return self._drawn[rows]

    def _area_alone(self, name: str) -> float:
        return self.scored(name, self.cases.visible_to(self.known[name])).area.value

    def _p_value(self, first: str, second: str) -> float | None:
        rows = self.cases.visible_to(self.known[first], self.known[second])
        if not rows.any():
            return None
        areas = [self.scored(name, rows).area for name in (first, second)]
        found = area_difference(areas[0], areas[1], self.settings.confidence)
        return 1.0 if found.difference < 0 else found.p_value


def _counts(cases: FoldCases) -> dict[str, Any]:
    several = cases.multilabel
    count = len(cases.classes)
    support = (cases.labels == 1).sum(0) if several else np.bincount(cases.labels, minlength=count)
    patients = len(set(map(str, cases.patients))) if len(cases.patients) else len(cases)
    return {
        **(_of_labels(cases) if several else {}),
        "cases": len(cases),
        "patients": patients,
        "classes": list(cases.classes),
        "support": dict(zip(cases.classes, map(int, support), strict=True)),
        "folds": len(np.unique(cases.folds)),
    }


def _of_labels(cases: FoldCases) -> dict[str, Any]:
    tested = set(cases.measured())
    absent = (cases.labels == 0).sum(0)
    return {
        "task": "multilabel",
        "absent": dict(zip(cases.classes, map(int, absent), strict=True)),
        "left_out": [name for k, name in enumerate(cases.classes) if k not in tested],
    }


def _mcnemar(first: ScoredCases, second: ScoredCases) -> dict[str, Any]:
    if isinstance(first.predictions, LabelPredictions):
        return {"p_mid": None, "reason": "a case has several labels"}
    if len(np.unique(first.predictions.patient_index)) < len(first.predictions):
        return {"p_mid": None, "reason": "some patients have several cases"}
    right = [s.predictions.predicted == s.predictions.labels for s in (first, second)]
    return asdict(mcnemar(*right))


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Correct the p-values of all rows together, in place."""
    tested = [row for row in rows if row["p_value"] is not None]
    for row in rows:
        row["p_adjusted"] = None
    for row, value in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_adjusted"] = value


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
