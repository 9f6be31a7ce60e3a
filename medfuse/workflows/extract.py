"""From cases and sources to features, each computed once and banked."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from medfuse.backbones.build import BuiltSource, SourceTarget, build_sources
from medfuse.backbones.table_source import build_table_source
from medfuse.config import Experiment, InputConfig, SourceConfig
from medfuse.contract import FeatureFusionSpec
from medfuse.device import find_device
from medfuse.features.bank import FeatureBank
from medfuse.features.choice import EngineName, choose_engine
from medfuse.features.extract import extract_features
from medfuse.features.forward import Translations
from medfuse.features.request import (
    Augmentation,
    CaseImage,
    ExtractionRequest,
    Features,
    FeatureSource,
)
from medfuse.preprocessing import augment, augmentation_identity, drawing_for
from medfuse.preprocessing.tabular_row import tabular_width
from medfuse.registry import Registry
from medfuse.training.activations import Activations
from medfuse.workflows.borders import BorderPlan, FrozenPart, frozen_parts
from medfuse.workflows.prepare import PreparedCohort, PreparedInput
from medfuse.workflows.seen import seen_by_sources

_PORTION = 8192

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Banked:
    """What `bank_features` found and did.

    Attributes:
        known: distinct images whose features were all in the bank.
        computed: distinct images that a source had to look at now.
    """

    known: int
    computed: int


@dataclass(frozen=True)
class ExtractedFeatures:
    """What the sources see in all cases of a cohort.

    Attributes:
        sources: in the order of the configuration.
        inputs: position of the input that each source reads.
        values: per source ``(cases, 1 + views, F)`` or ``(..., T, F)``, NaN where a case has not
            the input; ``None`` for a source that learns from the first epoch.
        views: ``(cases,)`` number of views of each case, the clean one included.
        known: distinct images whose features were all in the bank.
        computed: distinct images that a source had to look at now.
        forwards: batches that went through a network.
        activations: of sources that learn above a frozen part, by number.
    """

    sources: tuple[BuiltSource, ...]
    inputs: tuple[int, ...]
    values: tuple[np.ndarray | None, ...]
    views: np.ndarray
    known: int
    computed: int
    forwards: int
    activations: Mapping[int, Activations] = field(default_factory=dict)


class ViewMaker:
    """Draws the augmented views of an experiment; the same image and view give the same pixels."""

    def __init__(self, experiment: Experiment, read: PreparedInput) -> None:
        self.drawing = drawing_for(experiment.augmentation, read.config, read.fingerprint)
        self.views = 0 if self.drawing.recipe == "none" else experiment.augmentation.views

    def __call__(self, pixels: torch.Tensor, digest: str, view: int) -> torch.Tensor:
        """Return view ``view`` of an image ``(C, *spatial)``; view 0 is the image itself."""
        return augment(pixels, self.drawing, digest, view)

    def identity(self) -> dict[str, object]:
        """Return all that decides a view, for the bank's key."""
        return augmentation_identity(self.drawing)


def load_networks(
    experiment: Experiment,
    registry: Registry,
    inputs: Mapping[str, InputConfig],
    *,
    download: bool = False,
) -> list[BuiltSource]:
    """Return the sources that read images, in the order of the configuration.

    Args:
        experiment: names the sources.
        registry: knows their backbones.
        inputs: image inputs by name, without ``auto``.
        download: allow weights to be fetched.

    Raises:
        SourceError: a source is unknown, does not fit its input, or its weights are absent or do
            not fit.
    """
    chosen = [c for c in experiment.sources if experiment.inputs[c.input].kind != "tabular"]
    targets = [_target(experiment, registry, inputs[c.input], download) for c in chosen]
    built = build_sources(chosen, registry, targets)
    seen_by_sources(built)  # a list that cannot be read is told now, not after hours of training
    return built


def with_tables(
    experiment: Experiment, networks: Sequence[BuiltSource], prepared: PreparedCohort
) -> tuple[BuiltSource, ...]:
    """Return all sources in the order of the configuration: those of tables between ``networks``.

    Raises:
        SourceError: a network is named for a table.
    """
    rest = iter(networks)
    built = [
        _table(c, prepared) if prepared.inputs[c.input].config.kind == "tabular" else next(rest)
        for c in experiment.sources
    ]
    for source in built:
        sliced = f" of each of {source.slices} slices" if source.slices else ""
        _log.info("source %s: %d features%s", source.label, source.feature_dim, sliced)
    return tuple(built)


def _target(
    experiment: Experiment, registry: Registry, read: InputConfig, download: bool
) -> SourceTarget:
    fusion = registry.fusion(experiment.fusion.use)
    return SourceTarget(
        channels=read.channels,
        size=read.shape,
        tokens=isinstance(fusion, FeatureFusionSpec) and fusion.accepts == "maps",
        seed=experiment.seed,
        download=download,
    )


def _table(config: SourceConfig, prepared: PreparedCohort) -> BuiltSource:
    return build_table_source(config, tabular_width(prepared.inputs[config.input].config.columns))


def extract(
    experiment: Experiment,
    prepared: PreparedCohort,
    sources: Sequence[BuiltSource],
    bank: FeatureBank,
    *,
    progress: bool = True,
) -> ExtractedFeatures:
    """Return the features of all cases; training cases also have augmented views.

    Sources that learn from the first epoch (``train`` other than ``frozen``) have none, but
    perhaps the activations of their frozen part.

    Raises:
        BankError: the bank cannot be used.
        SourceError: a source gives values that are not finite.
    """
    views, most = _views(experiment, prepared)
    job = _Job(experiment, prepared, bank, views, progress)
    values: list[np.ndarray | None] = [None] * len(sources)
    known = computed = forwards = 0
    for name, read in prepared.inputs.items():
        chosen = _frozen_sources(experiment, name)
        if not chosen:
            continue
        if read.config.kind == "tabular":
            for number in chosen:
                values[number] = job.table(read)
            continue
        found = job.features(read, [sources[number] for number in chosen])
        known, computed = known + found.known, computed + found.computed
        forwards += found.forwards
        for number, array in zip(chosen, found.values, strict=True):
            values[number] = job.placed(read, array)
    parts = frozen_parts(experiment.sources, sources)
    banked = BorderPlan(experiment.bank, len(views), 1 + most).banked(parts)
    activations = job.activations(parts, banked)
    if all(value is None for value in values) and not banked:
        _log.info("every source learns from the images: nothing to bank")
    return ExtractedFeatures(
        sources=tuple(sources),
        inputs=tuple(prepared.position(config.input) for config in experiment.sources),
        values=tuple(values),
        views=1 + views.astype(np.int64),
        known=known,
        computed=computed,
        forwards=forwards,
        activations=activations,
    )


def bank_features(
    experiment: Experiment,
    prepared: PreparedCohort,
    sources: Sequence[BuiltSource],
    rows: Sequence[int],
    *,
    progress: bool = True,
) -> Banked:
    """Compute what the bank of an experiment does not know of some cases, and keep it there alone.

    Portions of the cases bound the memory.

    Args:
        experiment: says what is extracted, and where the bank is.
        prepared: all cases.
        sources: in the order of the configuration.
        rows: positions of the cases.
        progress: tell on stderr how far it is, see `medfuse.progress`.

    Raises:
        BankError: the bank cannot be used.
        SourceError: a source gives values that are not finite.
    """
    bank = FeatureBank(experiment.bank.path, experiment.bank.budget_gb)
    views, most = _views(experiment, prepared)
    job = _Job(experiment, prepared, bank, views, progress)
    parts = frozen_parts(experiment.sources, sources)
    banked = BorderPlan(experiment.bank, len(views), 1 + most).banked(parts)
    known = computed = 0
    for name, read in prepared.inputs.items():
        if read.config.kind == "tabular":
            continue
        found: list[FeatureSource] = [sources[i] for i in _frozen_sources(experiment, name)]
        found += [p for i, p in banked.items() if experiment.sources[i].input == name]
        for start in range(0, len(rows) if found else 0, _PORTION):
            portion = job.features(read, found, frozenset(rows[start : start + _PORTION]))
            known, computed = known + portion.known, computed + portion.computed
    return Banked(known, computed)


def _views(experiment: Experiment, prepared: PreparedCohort) -> tuple[np.ndarray, int]:
    """Return how many augmented views each case has, and how many those that have any."""
    learned = ("train", "validation") if experiment.training.members > 1 else ("train",)
    most = max(ViewMaker(experiment, i).views for i in prepared.inputs.values())
    return np.array([most if c.role in learned else 0 for c in prepared.cohort.cases]), most


def _frozen_sources(experiment: Experiment, name: str) -> list[int]:
    """Return the numbers of the sources that read an input and never learn."""
    configs = enumerate(experiment.sources)
    return [i for i, config in configs if config.input == name and config.train == "frozen"]


@dataclass(frozen=True)
class _Job:
    """What the extraction of every input shares."""

    experiment: Experiment
    prepared: PreparedCohort
    bank: FeatureBank
    views: np.ndarray
    progress: bool
    translations: Translations = field(default_factory=Translations)

    def features(
        self,
        read: PreparedInput,
        sources: Sequence[FeatureSource],
        only: frozenset[int] | None = None,
    ) -> Features:
        """Return the features of the cases that have an input, in their order; or ``only`` some."""
        maker = ViewMaker(self.experiment, read)
        pairs = zip(self.prepared.cohort.cases, self.views.tolist(), strict=True)
        listed = {
            row: CaseImage(case.case_id, case.inputs[read.name], views)
            for row, (case, views) in enumerate(pairs)
            if read.has(case)
        }
        cases = [case for row, case in listed.items() if only is None or row in only]
        device = device_of(self.experiment)
        request = ExtractionRequest(
            sources=sources,
            cases=cases,
            images=read.images,
            bank=self.bank,
            augmentation=Augmentation(maker, maker.identity()) if maker.views else None,
            shape=(read.config.channels, *read.config.shape),
            device=device,
            engine=engine_of(self.experiment, self.prepared, read),
            translations=self.translations,
        )
        return extract_features(request, self.progress)

    def activations(
        self, parts: Mapping[int, FrozenPart], banked: Mapping[int, FrozenPart]
    ) -> dict[int, Activations]:
        """Return the activations of frozen parts, those of the banked computed one by one."""
        # Slices go through the whole source, which computes a few of them at once.
        found = {i: Activations(None, part.border) for i, part in parts.items() if not part.slices}
        for number, part in banked.items():
            read = self.prepared.inputs[self.experiment.sources[number].input]
            values = self.placed(read, self.features(read, [part]).values[0])
            found[number] = Activations(torch.from_numpy(values), part.border)
        return found

    def placed(self, read: PreparedInput, values: np.ndarray) -> np.ndarray:
        """Return the features of all cases, ``(cases, 1 + views, ...)``, NaN without the input."""
        has = np.array([read.has(case) for case in self.prepared.cohort.cases])
        if has.all():
            return values
        placed = np.full((len(has), 1 + self.views.max(), *values.shape[2:]), np.nan, np.float32)
        placed[has, : values.shape[1]] = values
        return placed

    def table(self, read: PreparedInput) -> np.ndarray:
        """Return the encoded rows of all cases, the same in every view; they are not banked."""
        rows = np.stack(
            [read.pixels(case) for case in self.prepared.cohort.cases if read.has(case)]
        )
        return self.placed(read, np.repeat(rows[:, None], 1 + self.views.max(), axis=1))


def engine_of(experiment: Experiment, prepared: PreparedCohort, read: PreparedInput) -> EngineName:
    """Return which library computes the frozen networks of an input.

    All cases decide, also where a process computes its share of them.
    """
    views, _ = _views(experiment, prepared)
    has = np.array([read.has(case) for case in prepared.cohort.cases])
    images = int((1 + views[has]).sum())
    return choose_engine(experiment.bank.engine, device_of(experiment), images)


def device_of(experiment: Experiment) -> str:
    """Return the device that an experiment computes on."""
    return str(find_device(experiment.training.device, "training.device"))
