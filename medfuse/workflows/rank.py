"""Rank: a cohort and candidate sources -> their order, and a few that go together, untrained."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from medfuse.backbones.build import BuiltSource
from medfuse.config import Experiment, SourceConfig, load_experiment, parse_experiment
from medfuse.errors import ConfigError, SourceError
from medfuse.evaluation.feature_kernel import FeatureKernel
from medfuse.evaluation.similarity import similarities
from medfuse.evaluation.source_choice import choose_sources
from medfuse.evaluation.source_order import RankingCases, order_sources
from medfuse.features.bank import FeatureBank
from medfuse.registry import Registry, load_registry
from medfuse.storage import require_file_name
from medfuse.workflows.bundled_sources import with_each_network
from medfuse.workflows.extract import extract, load_networks, with_tables
from medfuse.workflows.local_sources import local_sources
from medfuse.workflows.preflight import check_experiment
from medfuse.workflows.prepare import PreparedCohort, prepare_cohort
from medfuse.workflows.ranking_cases import ranking_part
from medfuse.workflows.settle import SettledCohort, settle_cohort
from medfuse.workflows.source_ranking import Candidate, SourceRanking, ranking_of, write_ranking

_AT_ONCE = 4
_NONE_NAMED = "none"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RankingSettings:
    """How sources are ranked.

    Attributes:
        cases: to rank on at most; whole patients, classes in proportion.
        pick: sources to suggest at most.
        all_local: add every source whose weights are on this machine.
        download: allow weights to be fetched.
        progress: tell on stderr how far it is, see `medfuse.progress`.
    """

    cases: int = 1000
    pick: int = 3
    all_local: bool = False
    download: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.cases < 1 or self.pick < 1:
            raise ConfigError(
                f"found cases {self.cases} and pick {self.pick}, expected 1 or more of each."
            )


def rank_sources(
    experiment: Experiment | Mapping[str, Any] | Path | str,
    out: Path | str | None = None,
    settings: RankingSettings | None = None,
) -> SourceRanking:
    """Put the sources of an experiment in order by their frozen features, without training.

    Only cases that a run would learn from are looked at: no test case decides which sources are
    taken. Features go to the bank, where a later run finds them. All sources are ranked frozen
    and by whole images or volumes, whatever the experiment says of training and augmentation.

    Args:
        experiment: a configuration, its plain data, or the path of its YAML file; plain data need
            no ``sources`` with ``all_local``.
        out: a CSV file for the table; ``None`` writes none.
        settings: how many cases, how many to suggest, local sources.

    Raises:
        CohortError: the cohort cannot be used, or a class has too few patients.
        SourceError: a source is unknown or does not fit its input, its weights are absent, or
            there are fewer than two.
        MedfuseError: anything else that a user can mend; the text says how.
    """
    settings = settings or RankingSettings()
    if out is not None:
        require_file_name(out)
    registry, config = load_registry(), with_each_network(_as_experiment(experiment, settings))
    named = [source for source in config.sources if source.use != _NONE_NAMED]
    if not settings.all_local:
        _require_several(named)
    if named:
        check_experiment(config, registry, download=settings.download)
    bank = FeatureBank(config.bank.path, config.bank.budget_gb)
    settled = settle_cohort(config, bank)
    local = _local(config, registry, settled) if settings.all_local else []
    config = config.model_copy(update={"sources": [*named, *local]})
    _require_several(config.sources)
    optional = frozenset(source.use for source in local)
    ranking = _rank(_Job(config, registry, bank, settings, optional), settled)
    if out is not None:
        write_ranking(ranking, out)
    return ranking


def _rank(job: _Job, settled: SettledCohort) -> SourceRanking:
    config, settings = job.experiment, job.settings
    prepared = prepare_cohort(config, job.bank, settled=settled, progress=settings.progress)
    read = list(dict.fromkeys(source.input for source in config.sources))
    part, cases = ranking_part(prepared, read, settings.cases, config.seed)
    _log.info(
        "ranking %d sources on %d cases to learn from", len(config.sources), len(cases.labels)
    )
    candidates = list(job.candidates(part))
    _require_several(candidates)
    # Many small matrices: threads of the linear algebra would wait for each other, minutes in all.
    with threadpool_limits(1, user_api="blas"):
        return _ranked(candidates, cases, part.cohort.classes, settings.pick)


def _ranked(
    candidates: Sequence[Candidate], cases: RankingCases, classes: tuple[str, ...], pick: int
) -> SourceRanking:
    kernels = [candidate.kernel for candidate in candidates]
    order, alike = order_sources(kernels, cases), similarities(kernels)
    chosen = choose_sources(kernels, cases, alike, int(order.places.argmin()), pick)
    return SourceRanking(
        **ranking_of(candidates, order, alike, chosen),
        cases=len(cases.labels),
        groups=len(np.unique(cases.groups)),
        classes=classes,
    )


@dataclass(frozen=True)
class _Job:
    """What the candidates of one ranking share; those in ``optional`` were named by nobody."""

    experiment: Experiment
    registry: Registry
    bank: FeatureBank
    settings: RankingSettings
    optional: frozenset[str]

    def candidates(self, part: PreparedCohort) -> Iterator[Candidate]:
        """Yield every source, a few at a time: many networks do not fit into memory.

        Of the optional sources those that cannot be used are left out.
        """
        sources = self.experiment.sources
        for start in range(0, len(sources), _AT_ONCE):
            block = sources[start : start + _AT_ONCE]
            _log.info("sources %d to %d of %d", start + 1, start + len(block), len(sources))
            built = [(config, self._built(config, part)) for config in block]
            pairs = [(config, source) for config, source in built if source is not None]
            if pairs:
                yield from self._seen_by(pairs, part)

    def _built(self, config: SourceConfig, part: PreparedCohort) -> BuiltSource | None:
        alone = self.experiment.model_copy(update={"sources": [_frozen(config)]})
        inputs = {found.name: found.config for found in part.pictures}
        download = self.settings.download
        try:
            networks = load_networks(alone, self.registry, inputs, download=download)
            return with_tables(alone, networks, part)[0]
        except SourceError as error:
            if config.use not in self.optional:
                raise
            _log.warning("left out: %s", error)
            return None

    def _seen_by(
        self, pairs: Sequence[tuple[SourceConfig, BuiltSource]], part: PreparedCohort
    ) -> Iterator[Candidate]:
        """Yield what a few sources see in the cases."""
        block = self.experiment.model_copy(update={"sources": [_frozen(c) for c, _ in pairs]})
        built = [source for _, source in pairs]
        found = extract(block, part, built, self.bank, progress=self.settings.progress)
        for (config, source), values in zip(pairs, found.values, strict=True):
            features = np.asarray(values)[:, 0]
            if features.ndim == 3:  # one vector for each slice of a volume
                features = features.mean(axis=1)
            kernel = FeatureKernel.of(features, f"source {source.label}")
            yield Candidate(source.label, config, kernel, features.shape[1])


def _as_experiment(
    experiment: Experiment | Mapping[str, Any] | Path | str, settings: RankingSettings
) -> Experiment:
    """Return the experiment with what does not concern frozen features at its default."""
    if isinstance(experiment, Mapping):
        given = dict(experiment)
        if settings.all_local:
            given.setdefault("sources", [_NONE_NAMED])
        experiment = parse_experiment(given)
    elif not isinstance(experiment, Experiment):
        experiment = load_experiment(experiment)
    learns = [s.use for s in experiment.sources if s.learns]
    if learns:
        _log.warning("%s: ranked frozen, though the configuration trains it", ", ".join(learns))
    default = {name: Experiment.model_fields[name].default for name in ("augmentation", "fusion")}
    return experiment.model_copy(update=default)


def _frozen(config: SourceConfig) -> SourceConfig:
    return config.model_copy(update={"train": "frozen", "unfreeze": []})


def _local(
    experiment: Experiment, registry: Registry, settled: SettledCohort
) -> list[SourceConfig]:
    """Return sources that are on this machine and not named as they are, for every input."""
    named = {(s.use, s.input) for s in experiment.sources if not s.options and not s.cut}
    return [
        SourceConfig(use=use, input=name)
        for name, found in settled.inputs.items()
        for use in local_sources(registry, len(found.config.shape))
        if (use, name) not in named
    ]


def _require_several(sources: Sequence[object]) -> None:
    if len(sources) < 2:
        raise SourceError(
            f"found {len(sources)} usable source{'s' * (len(sources) != 1)} to rank, expected at "
            "least 2. Name more candidates, or add all whose weights are here with --all-local."
        )
