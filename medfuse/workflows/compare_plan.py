"""What is compared: single sources, fusions, pairs and baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from medfuse.config import ComponentConfig, Experiment
from medfuse.contract import ComponentSpec, DecisionFusionSpec, FeatureFusionSpec
from medfuse.errors import ConfigError
from medfuse.evaluation.candidates import Kind
from medfuse.registry import Registry
from medfuse.training.baselines import BASELINES, BaselineName
from medfuse.training.composed import ALONE
from medfuse.workflows.compare_settings import ALL, AUTO


@dataclass(frozen=True)
class PlannedCandidate:
    """One way of classifying.

    Attributes:
        name: unlike that of any other.
        kind: see `medfuse.evaluation.candidates.Candidate`.
        method: a network, or a classic classifier.
        sources: numbers of those it reads.
        fusion: of a network.
    """

    name: str
    kind: Kind
    method: Literal["network"] | BaselineName
    sources: tuple[int, ...]
    fusion: ComponentConfig = ALONE

    def identity(self) -> dict[str, object]:
        """Return what decides its fits, as plain data; not its name."""
        fusion = self.fusion.model_dump(mode="json")
        return {"method": self.method, "sources": list(self.sources), "fusion": fusion}


@dataclass(frozen=True)
class Plan:
    """All candidates, and the one that the verdict is about.

    Attributes:
        candidates: single sources first.
        fused: name of the fusion that the configuration names, or of the first one asked for.
    """

    candidates: tuple[PlannedCandidate, ...]
    fused: str

    def __getitem__(self, name: str) -> PlannedCandidate:
        """Return the candidate of a name."""
        return next(c for c in self.candidates if c.name == name)


def fusions_to_compare(
    experiment: Experiment, registry: Registry, asked: Sequence[str]
) -> tuple[ComponentConfig, ...]:
    """Return the fusions to compare, that of the configuration first if it is among them.

    Args:
        experiment: its own fusion keeps its options; the others have their defaults.
        registry: knows all fusions.
        asked: names; ``all`` for every built-in and installed one that takes pooled features,
            ``auto`` for those of them that are trained once, and that of the configuration; those
            fitted on decisions out of fold are trained six times.

    Raises:
        ConfigError: a fusion takes feature maps, which the others cannot be compared on.
        PluginError: a name is unknown.
    """
    own = experiment.fusion
    specs = [spec for _, spec in registry.components("fusion") if _takes_vectors(spec)]
    every = [spec.name for spec in specs]
    quick = [s.name for s in specs if not _is_fitted_out_of_fold(s) or s.name == own.use]
    meant = {ALL: every, AUTO: quick}
    names = list(dict.fromkeys(name for one in asked for name in meant.get(one, [one])))
    for name in names:
        if not _takes_vectors(registry.fusion(name)):
            raise ConfigError(
                f"fusion {name!r} takes feature maps, but a comparison works on pooled features, "
                f"which all candidates share. Choose among {', '.join(every)}."
            )
    ordered = sorted(names, key=lambda name: name != own.use)
    return tuple(own if name == own.use else ComponentConfig(use=name) for name in ordered)


def plan_comparison(
    labels: Sequence[str], fusions: Sequence[ComponentConfig], *, pairs: bool, baselines: bool
) -> Plan:
    """Return every candidate of a comparison.

    Args:
        labels: of the sources.
        fusions: of all sources; the first is the one that the verdict is about.
        pairs: every two sources too, by the first fusion.
        baselines: k-NN and logistic regression too, on each source and on all.
    """
    names = distinct(labels)
    everything = tuple(range(len(names)))
    found = [PlannedCandidate(name, "single", "network", (i,)) for i, name in enumerate(names)]
    found += [PlannedCandidate(f.use, "fusion", "network", everything, f) for f in fusions]
    if pairs and len(names) > 2:
        found += _pairs(names, fusions[0])
    if baselines:
        found += _baselines(names)
    return Plan(tuple(found), fusions[0].use)


def distinct(labels: Sequence[str]) -> list[str]:
    """Return the labels, a number behind one that was there before."""
    counts = [list(labels[:i]).count(label) for i, label in enumerate(labels)]
    return [f"{a} ({n + 1})" if n else a for a, n in zip(labels, counts, strict=True)]


def _pairs(names: Sequence[str], fusion: ComponentConfig) -> Iterator[PlannedCandidate]:
    for i, j in combinations(range(len(names)), 2):
        name = f"{names[i]} + {names[j]}"
        yield PlannedCandidate(name, "pair", "network", (i, j), fusion)


def _baselines(names: Sequence[str]) -> Iterator[PlannedCandidate]:
    for method in BASELINES:
        yield PlannedCandidate(
            f"{method}, all sources", "baseline", method, tuple(range(len(names)))
        )
        for i, name in enumerate(names):
            yield PlannedCandidate(f"{method}, {name}", "baseline", method, (i,))


def _takes_vectors(spec: ComponentSpec) -> bool:
    return not isinstance(spec, FeatureFusionSpec) or spec.accepts == "vectors"


def _is_fitted_out_of_fold(spec: ComponentSpec) -> bool:
    return isinstance(spec, DecisionFusionSpec) and spec.fitting == "out_of_fold"
