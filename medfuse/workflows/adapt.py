"""From features of a cohort, and images of a target without labels, to features adapted to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from medfuse.backbones.build import BuiltSource
from medfuse.config import AdaptationConfig
from medfuse.data import Case
from medfuse.errors import CohortError, ConfigError, EvaluationError
from medfuse.evaluation.domain import distance_of_means
from medfuse.workflows.adaptation import MOVES, NAMES, Features, clean, moved, values_of
from medfuse.workflows.extract import ExtractedFeatures
from medfuse.workflows.prepare import PreparedCohort
from medfuse.workflows.target_cases import TargetReader

_LEARNED = ("train", "validation", "calibration")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adaptation:
    """What adapting to a target did.

    Attributes:
        method: as the configuration names it.
        images: pixel digests of the target's images, which were seen without their labels.
        facts: plain data for ``metrics.json``: ``method``, ``cases`` and ``patients`` of the
            target, how many cases ``shared`` an image with the cohort, and for each source how far
            the means of features are apart ``before`` and ``after``, in standard deviations.
    """

    method: str
    images: frozenset[str]
    facts: Mapping[str, Any]

    @property
    def told(self) -> str:
        """What was done, in words."""
        return (
            f"adapted by {NAMES[self.method]} to {self.facts['cases']} cases of a target cohort, "
            "without their labels"
        )


def check_norms(config: AdaptationConfig | None, sources: Sequence[BuiltSource]) -> None:
    """Refuse AdaBN where no network has a batch norm.

    Raises:
        ConfigError: saying what to use instead.
    """
    if config is None or config.method != "adabn":
        return
    if not any(isinstance(m, _BatchNorm) for s in sources for m in s.module.modules()):
        raise ConfigError(
            "adaptation.method adabn: no source has a batch norm, whose statistics would be "
            "those of the target. Use coral or standardize."
        )


def adapt(
    reader: TargetReader, config: AdaptationConfig, features: ExtractedFeatures
) -> tuple[ExtractedFeatures, Adaptation]:
    """Return features in which the cases learned from look like the target's, and what was done.

    Test cases stay as the network sees them; with AdaBN the network itself is another one.

    Args:
        reader: of the target, with the cohort and the resolved experiment.
        config: method and target.
        features: of the cohort, all of frozen sources.

    Raises:
        CohortError: the target cannot be read.
        EvaluationError: a site or the target has too few cases.
    """
    target = reader.read(config.target, role=None)
    rows = np.array([case.role in _LEARNED for case in reader.prepared.cohort.cases])
    own, new = values_of(features), values_of(reader.features(target, features.sources))
    sources, after = features.sources, new
    if config.method in MOVES:
        changed = _moved(config.method, own, new, (rows, reader.prepared.cohort.cases))
    else:
        sources = _with_target_statistics(reader, target, features.sources)
        after = values_of(reader.features(target, sources))
        changed = _seen_by(reader, sources, own, rows)
    gaps = (features.sources, _distances(own, new, rows), _distances(changed, after, rows))
    adapted = replace(features, values=tuple(changed), sources=sources)
    return adapted, _told(reader, config.method, target, gaps)


def _with_target_statistics(
    reader: TargetReader, target: PreparedCohort, sources: Sequence[BuiltSource]
) -> tuple[BuiltSource, ...]:
    found = reader.after_adabn(target, sources)
    if found is None:
        raise CohortError(
            f"{target.cohort.root}: no case has an input that a source with batch norms reads, "
            "which adaptation by AdaBN needs. Use coral or standardize."
        )
    return tuple(found)


def _distances(
    learned: Sequence[Features], target: Sequence[Features], rows: np.ndarray
) -> list[float]:
    """Return for each source how far the means of the cases at ``rows`` and the target are."""
    pairs = zip(learned, target, strict=True)
    return [distance_of_means(clean(x[rows]), clean(y)) for x, y in pairs]


def _moved(
    method: str,
    own: Sequence[Features],
    new: Sequence[Features],
    cohort: tuple[np.ndarray, Sequence[Case]],
) -> list[Features]:
    """Return the features with those of the cases learned from moved."""
    rows, cases = cohort
    sites = [case.site for case, learned in zip(cases, rows, strict=True) if learned]
    found = []
    for mine, other in zip(own, new, strict=True):
        values = mine.copy()
        try:
            values[rows] = moved(method, mine[rows], other, sites)
        except EvaluationError as error:
            raise EvaluationError(f"adaptation by {NAMES[method]}: {error}") from error
        found.append(values)
    return found


def _seen_by(
    reader: TargetReader, sources: Sequence[BuiltSource], own: Sequence[Features], rows: np.ndarray
) -> list[Features]:
    """Return the features with those of the cases not learned from as other networks see them."""
    if rows.all():
        return list(own)
    cohort = reader.prepared.cohort
    rest = cohort.with_cases([cohort.cases[i] for i in np.flatnonzero(~rows)])
    seen = values_of(reader.features(replace(reader.prepared, cohort=rest), sources))
    found = []
    for mine, other in zip(own, seen, strict=True):
        values = mine.copy()
        values[~rows, : other.shape[1]] = other
        found.append(values)
    return found


def _told(
    reader: TargetReader,
    method: str,
    target: PreparedCohort,
    gaps: tuple[Sequence[BuiltSource], Sequence[float], Sequence[float]],
) -> Adaptation:
    cases = target.cohort.cases
    facts = {
        "method": method,
        "cases": len(cases),
        "patients": len({case.patient_id for case in cases}),
        "shared": reader.shared(target),
        "sources": {
            source.label: {"before": before, "after": after}
            for source, before, after in zip(*gaps, strict=True)
        },
    }
    images = frozenset().union(*(target.digests(case) for case in cases))
    adaptation = Adaptation(method, images, facts)
    _log.info("%s", adaptation.told)
    if facts["shared"]:
        _log.warning("%d cases of the target share an image with the cohort", facts["shared"])
    return adaptation
