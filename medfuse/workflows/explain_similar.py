"""The training cases of a run that each source finds most like a case."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medfuse.config import Experiment, load_experiment
from medfuse.data import Case
from medfuse.errors import BundleError
from medfuse.explanation.neighbors import FeatureIndex
from medfuse.explanation.shares import mean_features, spread_of_features
from medfuse.features.bank import FeatureBank
from medfuse.features.choice import engine_here
from medfuse.plots.similar import SheetRow, similar_cases
from medfuse.registry import load_registry
from medfuse.workflows.explain_case import ReadCase
from medfuse.workflows.explain_subject import Subject
from medfuse.workflows.extract import extract, load_networks, with_tables
from medfuse.workflows.prepare import PreparedCohort, PreparedInput, prepare_cohort
from medfuse.workflows.settle import settle_cohort

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainingCases:
    """The training cases of a run, by the features that the bank holds of them.

    Attributes:
        cases: those that were learned from.
        labels: their classes or labels in words; empty if unknown.
        digests: the pixel digests of their images.
        indexes: by source; one that learned itself has none, its features are not banked.
        pictures: by source, the input that can be looked at; a table has none.
    """

    cases: tuple[Case, ...]
    labels: tuple[str, ...]
    digests: tuple[frozenset[str], ...]
    indexes: Mapping[str, FeatureIndex]
    pictures: Mapping[str, PreparedInput]


def training_cases(subject: Subject, *, progress: bool = True) -> TrainingCases:
    """Return the training cases of a run; what the bank has lost is computed again.

    Raises:
        BundleError: a bundle alone, which holds no training cases.
        MedfuseError: the cohort or a source of the run is no longer there.
    """
    if subject.run is None:
        raise BundleError(
            f"{subject.bundle}: a bundle holds no training cases to compare with. "
            "Give the run's folder, or leave out --neighbors."
        )
    experiment, registry = _here(load_experiment(subject.run / "config.yaml")), load_registry()
    bank = FeatureBank(experiment.bank.path, experiment.bank.budget_gb)
    settled = settle_cohort(experiment, bank)
    inputs = {name: found.config for name, found in settled.inputs.items()}
    networks = load_networks(experiment, registry, inputs)
    prepared = prepare_cohort(experiment, bank, settled=settled, progress=progress)
    sources = with_tables(experiment, networks, prepared)
    features = extract(experiment, prepared, sources, bank, progress=progress)
    rows = [i for i, c in enumerate(prepared.cohort.cases) if c.role in ("train", "validation")]
    indexes = {
        name: _index(subject, position, values[rows, 0])
        for position, (name, values) in enumerate(
            zip(subject.sources, features.values, strict=True)
        )
        if values is not None
    }
    cases = tuple(prepared.cohort.cases[i] for i in rows)
    return TrainingCases(
        cases,
        tuple(prepared.cohort.truth(case) for case in cases),
        tuple(prepared.digests(case) for case in cases),
        indexes,
        _pictures(subject, prepared),
    )


def nearest_cases(
    subject: Subject,
    read: ReadCase,
    known: TrainingCases,
    count: int,
    without: Sequence[int] = (),
) -> dict[str, list[dict[str, Any]]]:
    """Return by source the nearest training cases of a case: case id, label, distance, row.

    Those in the rows ``without`` are passed over.
    """
    with torch.no_grad():
        features = subject.network.extract(*read.images)
        present = subject.network.present(*read.images)
    found = {}
    for position, name in enumerate(subject.sources):
        here = present is None or bool(present[0, position] > 0)
        if name not in known.indexes or not here:
            continue
        vector = _vector(features[position][0].cpu().numpy())
        found[name] = [
            {
                "case_id": known.cases[row].case_id,
                "label": known.labels[row],
                "distance": distance,
                "row": row,
            }
            for row, distance in known.indexes[name].nearest(vector, count, without)
        ]
    return found


def neighbor_sheet(
    subject: Subject,
    read: ReadCase,
    known: TrainingCases,
    nearest: Mapping[str, list[dict[str, Any]]],
    title: str,
) -> Figure | None:
    """Return a case beside its neighbors, a row for each source that sees pictures."""
    rows = []
    for name, found in nearest.items():
        if name not in known.pictures or not found:
            continue
        position = subject.predictor.input_names.index(subject.input_of(name))
        own = _picture(read.images[position][0].cpu().numpy())
        others = [_picture(known.pictures[name].pixels(known.cases[f["row"]])) for f in found]
        texts = [f"{one['label']}\n{one['distance']:.2f}" for one in found]
        rows.append(SheetRow(name, [own, *others], ["this case", *texts]))
    return similar_cases(rows, title) if rows else None


def _here(experiment: Experiment) -> Experiment:
    """Return a run's configuration for this machine, which may have other libraries.

    Distances need no more than features that are the same to rounding.
    """
    engine = engine_here(experiment.bank.engine)
    if engine == experiment.bank.engine:
        return experiment
    _log.warning(
        "the run's features were computed by %s, which is not installed here; by another library "
        "they are the same to rounding, and computed again where the bank has none of it",
        experiment.bank.engine,
    )
    bank = experiment.bank.model_copy(update={"engine": engine})
    return experiment.model_copy(update={"bank": bank})


def _index(subject: Subject, position: int, values: NDArray[Any]) -> FeatureIndex:
    network = subject.network
    return FeatureIndex(
        np.stack([_vector(row) for row in values]),
        mean_features(network, position).cpu().numpy(),
        spread_of_features(network, position).cpu().numpy(),
    )


def _vector(features: NDArray[Any]) -> NDArray[Any]:
    return features if features.ndim == 1 else features.mean(0)


def _pictures(subject: Subject, prepared: PreparedCohort) -> dict[str, PreparedInput]:
    several = subject.predictor.table is not None
    found = {}
    for name in subject.sources:
        own = subject.input_of(name)
        read = prepared.inputs[own] if several else next(iter(prepared.inputs.values()))
        if read.config.kind != "tabular":
            found[name] = read
    return found


def _picture(pixels: NDArray[Any]) -> NDArray[np.float32]:
    flat = pixels[..., pixels.shape[-1] // 2] if pixels.ndim == 4 else pixels
    shown: NDArray[np.float32] = np.moveaxis(flat, 0, -1) if len(flat) == 3 else flat[0]
    return shown
