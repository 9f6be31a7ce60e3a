"""From a bundle and a cohort to what differs from the cases that the bundle learned from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medfuse import plots
from medfuse.data import Case
from medfuse.evaluation.drift import label_shift, source_drift
from medfuse.evaluation.feature_distance import DISTANCES, FeatureDistances, load_distances
from medfuse.report import Section, Table
from medfuse.serving.predict import Predictor
from medfuse.serving.prediction import Answer
from medfuse.workflows.gallery import Gallery

ABSENT = "The bundle holds no distances of its training cases, so drift cannot be measured."


@dataclass(frozen=True)
class Drift:
    """How a cohort differs from the training cases of a bundle.

    Attributes:
        known: what the bundle keeps of its training cases.
        distances: ``(N, S)`` of the cohort's cases.
        facts: plain data for ``metrics.json``: ``sources`` and ``labels``.
    """

    known: FeatureDistances
    distances: np.ndarray
    facts: dict[str, Any]


def measure_drift(
    predictor: Predictor, bundle: Path, answered: Sequence[tuple[Case, Answer]]
) -> Drift | None:
    """Return the drift of features, and of labels where cases have some.

    Args:
        predictor: of the bundle.
        bundle: its folder.
        answered: cases that the bundle could read, with its answers; a label counts classes as the
            bundle does.

    Returns:
        ``None`` where the bundle keeps no distances.
    """
    file = bundle / "models" / DISTANCES
    if not file.is_file():
        return None
    known, cases = load_distances(file), [case for case, _ in answered]
    features = np.array([answer.features for _, answer in answered])
    distances = known(features, _present(known, predictor, cases))
    patients = [case.patient_id for case in cases]
    trained = predictor.metadata["medfuse"]["details"].get("class_counts", {})
    labels = Counter(predictor.classes[c.label] for c in cases if c.label is not None)
    facts = {
        "sources": source_drift(known, distances, patients),
        "labels": label_shift(trained, labels) if trained and labels else None,
    }
    return Drift(known, distances, facts)


def drift_section(drift: Drift | None, gallery: Gallery) -> Section:
    """Return what a page says of the drift; the figure joins the gallery."""
    title = "Drift"
    if drift is None:
        return Section(anchor="drift", title=title, text=ABSENT)
    sources, labels = drift.facts["sources"], drift.facts["labels"]
    expected = {s.label: np.asarray(s.quantiles, dtype=np.float64) for s in drift.known.sources}
    found = list(np.asarray(drift.distances, dtype=np.float64).T)
    drawing = plots.distance_curves(expected, found, list(drift.known.limits))
    gallery.add(
        "drift", drawing, "Distance of each case from the training cases, by source.", wide=True
    )
    return Section(
        anchor="drift",
        title=title,
        text=sources["verdict"],
        tables=[_source_table(sources), *([_label_table(labels)] if labels else [])],
        figures=[gallery.named["drift"]],
    )


def given_to(predictor: Predictor, case: Case) -> Any:
    """Return a case as the predictor takes it: a reference, or references by input."""
    return next(iter(case.inputs.values())) if predictor.table is None else dict(case.inputs)


def _present(
    known: FeatureDistances, predictor: Predictor, cases: Sequence[Case]
) -> np.ndarray | None:
    if predictor.table is None:
        return None
    names = list(predictor.table)
    wanted = [names[source.position] for source in known.sources]
    return np.array([[name in case.inputs for name in wanted] for case in cases])


def _source_table(found: dict[str, Any]) -> Table:
    rows = [
        [
            row["source"],
            str(row["cases"]),
            _number(row["median"]),
            _number(row["expected_median"]),
            _number(row["farther"]),
            _number(row["beyond"]),
            _number(row["excess"]),
            _number(row["p_adjusted"], smallest=0.001),
        ]
        for row in found["sources"]
    ]
    return Table(
        header=[
            "source", "cases", "median distance", "of held-out cases", "farther", "beyond limit",
            "excess", "p (corrected)",
        ],
        rows=rows,
        caption=(
            f"Beside {found['held_out']} held-out training cases. Farther: the chance that a case "
            "of this cohort lies farther than a held-out one, 0.5 without drift. Excess: by how "
            "much the curve of held-out cases is above at most. "
            f"{found['test']}; corrected by {found['correction']}'s method."
        ),
    )  # fmt: skip


def _label_table(found: dict[str, Any]) -> Table:
    rows = [
        [name, f"{share:.3f}", f"{found['cohort'][name]:.3f}"]
        for name, share in found["training"].items()
    ]
    p_value = _number(found["p_value"], smallest=0.001)
    caption = (
        f"Share of each class. Total variation distance {found['distance']:.3f}, p {p_value} "
        "(chi-squared, cases taken as independent). Probabilities and precision hold for the "
        "frequencies of training."
    )
    return Table(header=["class", "in training", "in this cohort"], rows=rows, caption=caption)


def _number(value: float | None, smallest: float = 0.0) -> str:
    if value is None:
        return "undefined"
    return f"< {smallest:g}" if value < smallest else f"{value:.3f}"
