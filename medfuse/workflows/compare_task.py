"""Everything that one comparison reads: cases in folds, banked features, candidates."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.config import ComponentConfig, Experiment
from medfuse.contract import FeatureFusionSpec
from medfuse.data import Cohort
from medfuse.data.readers import installed_readers
from medfuse.errors import ConfigError, SourceError
from medfuse.evaluation.candidates import Candidate
from medfuse.features.bank import FeatureBank
from medfuse.registry import Registry
from medfuse.storage import digest_of
from medfuse.training.candidate import BankedCases, Fitted, Recipe
from medfuse.workflows.compare_cases import ComparedCases, compared_cases
from medfuse.workflows.compare_fits import FitStore, Workshop
from medfuse.workflows.compare_folder import FITS
from medfuse.workflows.compare_plan import (
    Plan,
    PlannedCandidate,
    distinct,
    fusions_to_compare,
    plan_comparison,
)
from medfuse.workflows.compare_settings import CompareSettings
from medfuse.workflows.extract import ExtractedFeatures, extract, load_networks, with_tables
from medfuse.workflows.overlap import find_overlap, refuse_overlap
from medfuse.workflows.preflight import check_with_cohort
from medfuse.workflows.prepare import prepare_cohort
from medfuse.workflows.seen import SeenCases, find_seen, seen_by_sources
from medfuse.workflows.settle import list_cohort, settle_cohort, settle_head
from medfuse.workflows.workers import available_workers

_RULES = 2  # changes with how candidates learn, so that fits of another release are not taken over
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CompareTask:
    """All that a comparison reads.

    Attributes:
        experiment: with every source frozen.
        registry: knows fusions and heads.
        settings: what was asked for.
        folder: for the results.
        compared: cases and folds.
        features: of all sources.
        workshop: trains candidates.
        plan: all candidates.
        overlap: data sets that a source was trained on and that are compared on, by source.
        seen: which cases a source has learned from.
        context: digest of the cases and of how candidates learn.
    """

    experiment: Experiment
    registry: Registry
    settings: CompareSettings
    folder: Path
    compared: ComparedCases
    features: ExtractedFeatures
    workshop: Workshop
    plan: Plan
    overlap: Mapping[str, Sequence[str]]
    seen: SeenCases
    context: str

    @property
    def labels(self) -> list[str]:
        """Names of the sources, no two alike."""
        return distinct([source.label for source in self.features.sources])

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds."""
        return [int(fold) for fold in np.unique(self.compared.folds)]

    def inside(self, fold: int) -> NDArray[np.int64]:
        """Return the cases of a fold, which are tested."""
        return np.flatnonzero(self.compared.folds == fold)

    def outside(self, fold: int) -> NDArray[np.int64]:
        """Return the cases of all other folds, which are learned from."""
        return np.flatnonzero(self.compared.folds != fold)

    def assembled(self, fitted: Mapping[int, Fitted]) -> NDArray[np.float64]:
        """Return the probabilities of all cases, ``(N, K)``, each from its own fold."""
        found = np.zeros((len(self.compared.folds), len(self.workshop.cases.classes)))
        for fold, one in fitted.items():
            found[self.inside(fold)] = one.probabilities
        return found

    def candidate(self, planned: PlannedCandidate, fitted: Mapping[int, Fitted]) -> Candidate:
        """Return a candidate with its predictions out of fold, by its fit on each fold."""
        return Candidate(
            name=planned.name,
            kind=planned.kind,
            sources=tuple(self.labels[i] for i in planned.sources),
            probabilities=self.assembled(fitted),
            visible=self.workshop.cases.visible(planned.sources),
        )

    def facts(self, candidates: Sequence[Candidate]) -> dict[str, Any]:
        """Return what a reader must know beside the numbers."""
        names = [source.label for source in self.features.sources]
        renamed = dict(zip(names, self.labels, strict=True))
        by = {renamed[name]: count for name, count in self.seen.summary()["by"].items()}
        return {
            "left_aside": self.compared.left_aside,
            "members": max(
                self.workshop.recipe.members_of(len(self.outside(fold))) for fold in self.folds
            ),
            "sources": {
                label: {
                    "features": source.feature_dim,
                    "domain": source.card["domain"],
                    "license": source.card["license"],
                    "training_data": list(source.card["training_data"]),
                    "seen": by.get(label, 0),
                    "overlap": list(self.overlap.get(source.label, ())),
                }
                for label, source in zip(self.labels, self.features.sources, strict=True)
            },
            "seen": {c.name: _seen_by(c, self.seen, renamed) for c in candidates},
            "configuration_digest": self.experiment.digest(),
        }


def frozen(experiment: Experiment) -> Experiment:
    """Return the experiment with sources that do not learn and a fusion of pooled features."""
    learns = [source.use for source in experiment.sources if source.learns]
    if learns:
        _log.warning("%s: compared frozen, though the configuration trains it", ", ".join(learns))
    sources = [s.model_copy(update={"train": "frozen", "unfreeze": []}) for s in experiment.sources]
    return experiment.model_copy(update={"sources": sources})


def prepare_task(
    experiment: Experiment, registry: Registry, settings: CompareSettings, folder: Path
) -> CompareTask:
    """Return everything that a comparison reads; features that are not banked are computed.

    Raises:
        SourceError: fewer than two sources, or one that was trained on this data set.
        ConfigError: the head is not for what the cases have, or several labels are to be adapted
            to a target.
        CohortError: the cohort cannot be used, or a class has too few patients.
    """
    _check_sources(experiment)
    bank = FeatureBank(experiment.bank.path, experiment.bank.budget_gb)
    readers = installed_readers(registry)
    cohort = list_cohort(experiment, readers)
    experiment = settle_head(experiment, cohort)
    _check_target(experiment, cohort, settings)
    check_with_cohort(experiment, registry, cohort)
    settled = settle_cohort(experiment, bank, cohort=cohort, readers=readers)
    inputs = {name: found.config for name, found in settled.inputs.items()}
    pooled = pooled_fusion(experiment, registry)
    networks = load_networks(pooled, registry, inputs, download=settings.download)
    overlap = find_overlap(experiment, networks)
    if not settings.accept_overlap:
        refuse_overlap(overlap)
    prepared = prepare_cohort(experiment, bank, settled=settled, progress=settings.progress)
    compared = compared_cases(prepared, settings.folds, experiment.seed)
    sources = with_tables(pooled, networks, compared.prepared)
    features = extract(pooled, compared.prepared, sources, bank, progress=settings.progress)
    fusions = fusions_to_compare(experiment, registry, settings.fusions)
    plan = plan_comparison(
        [source.label for source in sources],
        fusions,
        pairs=settings.pairs,
        baselines=settings.baselines,
    )
    cases = _banked(compared, features)
    recipe = Recipe(experiment.head, experiment.training, settings.members)
    digests = [compared.prepared.digests(case) for case in compared.cases]
    return CompareTask(
        experiment=experiment,
        registry=registry,
        settings=settings,
        folder=folder,
        compared=compared,
        features=features,
        workshop=_workshop(cases, recipe, settings, folder),
        plan=plan,
        overlap=overlap,
        seen=find_seen(digests, seen_by_sources(sources)),
        context=_context(cases, recipe),
    )


def _check_sources(experiment: Experiment) -> None:
    if len(experiment.sources) < 2:
        raise SourceError(
            f"found {len(experiment.sources)} source to compare, expected at least 2. Name more "
            "under sources."
        )


def _check_target(experiment: Experiment, cohort: Cohort, settings: CompareSettings) -> None:
    target = settings.target or (experiment.adaptation and experiment.adaptation.target)
    if cohort.multilabel and target:
        raise ConfigError(
            f"target {target}: adapting to another cohort is compared for one class per case, and "
            "these cases have several labels. Leave out --target and adaptation."
        )


def pooled_fusion(experiment: Experiment, registry: Registry) -> Experiment:
    """Return the experiment with a fusion that takes pooled features, as all candidates do."""
    spec = registry.fusion(experiment.fusion.use)
    if isinstance(spec, FeatureFusionSpec) and spec.accepts == "maps":
        _log.warning("fusion %s takes feature maps: it is not compared", spec.name)
        return experiment.model_copy(update={"fusion": ComponentConfig(use="concat")})
    return experiment


def _banked(compared: ComparedCases, features: ExtractedFeatures) -> BankedCases:
    values = []
    for value in features.values:
        assert value is not None, "every source is frozen"
        values.append(np.ascontiguousarray(value, dtype=np.float32))
    return BankedCases(
        values=tuple(values),
        slices=tuple(source.slices for source in features.sources),
        labels=compared.labels,
        views=features.views,
        groups=compared.groups,
        known=compared.prepared.known(),
        inputs=features.inputs,
        classes=tuple(compared.prepared.cohort.classes),
    )


def _workshop(
    cases: BankedCases, recipe: Recipe, settings: CompareSettings, folder: Path
) -> Workshop:
    workers = settings.workers or available_workers()
    return Workshop(cases, recipe, FitStore(folder / FITS), workers, settings.progress)


def _context(cases: BankedCases, recipe: Recipe) -> str:
    """Return a digest of the features, the labels and how candidates learn."""
    rows = np.arange(len(cases.labels))
    data = cases.of(tuple(range(len(cases.values))), rows)
    return digest_of(
        {
            "cases": data.digest(),
            "groups": digest_of(cases.groups.tolist()),
            "classes": list(cases.classes),
            "head": recipe.head.model_dump(mode="json"),
            "training": recipe.training.model_dump(mode="json", exclude={"device"}),
            "members": recipe.members,
            "rules": _RULES,
        }
    )


def _seen_by(candidate: Candidate, seen: SeenCases, renamed: Mapping[str, str]) -> int:
    """Return how many cases one of the candidate's sources has learned from.

    A network from random weights has the name of a source, and nothing of what that has learned.
    """
    own = set() if candidate.kind == "scratch" else set(candidate.sources)
    return sum(bool(own & {renamed[name] for name in names}) for names in seen.by)
