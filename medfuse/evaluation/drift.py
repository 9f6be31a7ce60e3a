"""Is a cohort like the one that a model was trained on? Features and labels, tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2_contingency

from medfuse.evaluation.feature_distance import LEVELS, FeatureDistances
from medfuse.evaluation.feature_drift import feature_drift
from medfuse.evaluation.paired import holm

LEVEL = 0.05


def source_drift(
    known: FeatureDistances, found: np.ndarray, patients: Sequence[Any] = ()
) -> dict[str, Any]:
    """Return for each source whether a cohort lies farther away than held-out training cases.

    ``sources`` holds the rows of `feature_drift`, each with ``excess``, by how much the share of
    held-out cases up to some distance is above that of the cohort at most; the ``p_value`` of the
    one-sided two-sample test on it (its limiting distribution: Smirnov, 1948,
    doi:10.1214/aoms/1177730256), ``p_adjusted`` by Holm's method over the sources, and whether it
    ``drifts``. A cohort that lies nearer, as one of plainer cases does, is no drift. Patients are
    counted, not cases, since several images of one patient are alike. ``verdict`` names the source
    that drifts most, in a sentence.

    Args:
        known: the distances of the model; its facts say how many held-out cases they had.
        found: ``(N, S)`` distances of the cohort's cases; NaN where there is none.
        patients: of each case; empty if every case is a patient of its own.
    """
    rows = feature_drift(known, found)
    held_out = int(known.facts.get("held_out", 0))
    columns = zip(rows, known.sources, np.asarray(found, dtype=np.float64).T, strict=True)
    for row, source, column in columns:
        there = ~np.isnan(column)
        row["excess"] = _excess(column[there], np.asarray(source.quantiles, dtype=np.float64))
        row["p_value"] = _p_value(row["excess"], held_out, _patients(there, patients))
    tested = [row for row in rows if row["p_value"] is not None]
    for row in rows:
        row["p_adjusted"] = None
    for row, adjusted in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_adjusted"] = adjusted
    for row in rows:
        row["drifts"] = row["p_adjusted"] is not None and row["p_adjusted"] < LEVEL
    return {
        "test": "One-sided test of Kolmogorov and Smirnov, patients counted",
        "correction": "Holm",
        "held_out": held_out,
        "sources": rows,
        "verdict": _verdict(rows),
    }


def label_shift(training: Mapping[str, int], cohort: Mapping[str, int]) -> dict[str, Any]:
    """Return whether classes are as frequent in a cohort as where a model was trained.

    ``training`` and ``cohort`` hold the share of each class, ``distance`` is half the sum of the
    differences (the total variation distance, from 0 to 1), ``p_value`` that of the chi-squared
    test of homogeneity; ``None`` where one side has no case.

    Args:
        training: cases of each class that were learned from.
        cohort: labeled cases of each class in the cohort.
    """
    names = list(training)
    counts = np.array([[side.get(name, 0) for name in names] for side in (training, cohort)])
    totals = counts.sum(1)
    if (totals == 0).any():
        return {"training": {}, "cohort": {}, "distance": None, "p_value": None}
    shares = counts / totals[:, None]
    occupied = counts[:, counts.sum(0) > 0]
    p_value = float(chi2_contingency(occupied).pvalue) if occupied.shape[1] > 1 else 1.0
    return {
        "training": dict(zip(names, map(float, shares[0]), strict=True)),
        "cohort": dict(zip(names, map(float, shares[1]), strict=True)),
        "distance": float(np.abs(shares[0] - shares[1]).sum() / 2),
        "p_value": p_value,
    }


def _patients(known: np.ndarray, patients: Sequence[Any]) -> int:
    if not len(patients):
        return int(known.sum())
    return len({str(patients[int(i)]) for i in np.flatnonzero(known)})


def _excess(values: np.ndarray, quantiles: np.ndarray) -> float | None:
    """Return the largest amount by which the held-out distribution function is above."""
    if not len(values):
        return None
    expected = np.interp(np.sort(values), quantiles, LEVELS, left=0.0, right=1.0)
    return float(max((expected - np.arange(len(values)) / len(values)).max(), 0.0))


def _p_value(excess: float | None, first: int, second: int) -> float | None:
    if excess is None or not first or not second:
        return None
    return float(np.exp(-2 * first * second / (first + second) * excess**2))


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    if not any(row["p_value"] is not None for row in rows):
        return "no source can be tested: there are no distances or no cases."
    drifting = sorted((r for r in rows if r["drifts"]), key=lambda r: -r["excess"])
    if not drifting:
        return (
            "no drift found: to no source do the images lie farther from those of training than "
            f"held-out ones do, beyond chance (p >= {LEVEL}, corrected)."
        )
    most, *others = drifting
    text = (
        f"the images differ from those of training. {most['source']} drifts most: a case lies "
        f"farther from the training cases than a held-out one in {most['farther']:.0%} of pairs, "
        f"and {most['beyond']:.0%} lie beyond the limit."
    )
    rest = [row["source"] for row in rows if not row["drifts"]]
    also = f" Also: {', '.join(row['source'] for row in others)}." if others else ""
    return text + also + (f" Not beyond chance: {', '.join(rest)}." if rest else "")
