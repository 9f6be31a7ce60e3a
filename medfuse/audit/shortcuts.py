"""Can trivial features alone predict the label? A model that is good may then have learned them.

Documented in chest X-rays by Zech et al. (2018, doi 10.1371/journal.pmed.1002683) and DeGrave et
al. (2021, doi 10.1038/s42256-021-00338-7): networks told hospitals and markers apart, not disease.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedGroupKFold

from medfuse.audit.duplicates import DuplicateGroup
from medfuse.audit.scan import Seen
from medfuse.audit.trivial import (
    GROUPS,
    PRESENCE,
    SITE,
    TOGETHER,
    Floats,
    feature_table,
    presence_table,
)
from medfuse.data import Case
from medfuse.data.groups import components
from medfuse.evaluation.ranking import auroc, rank
from medfuse.evaluation.resampling import percentile_interval, weight_blocks

_FOLDS = 5
_FEWEST_GROUPS = 10
_MOST_FILES = 4000
_RESAMPLES = 300
CLEAR, STRONG = 0.65, 0.8


@dataclass(frozen=True)
class Shortcut:
    """How well one group of trivial features predicts the label.

    Attributes:
        input: whose files; empty where the cases have one input.
        name: of the group; ``all acquired`` is every group that says nothing of the patient.
        about: what the group consists of.
        acquired: it tells of how the file was made, nothing of the patient.
        advice: what to do about it.
        auroc: macro AUROC, cross-validated.
        low: of its interval.
        high: of its interval.
        per_class: AUROC of each class against the rest.
        best_low: low end of the interval of the class that is predicted best.
    """

    input: str
    name: str
    about: str
    acquired: bool
    advice: str
    auroc: float
    low: float
    high: float
    per_class: Mapping[str, float]
    best_low: float

    @property
    def title(self) -> str:
        """The name, and of several inputs the one that it is measured on."""
        return f"{self.input}: {self.name}" if self.input else self.name

    @property
    def strength(self) -> str:
        """``strong``, ``clear`` or ``none``, by the lower end of the interval, of all classes
        or of the one that is predicted best.
        """
        low = max(self.low, self.best_low)
        return "strong" if low >= STRONG else "clear" if low >= CLEAR else "none"


@dataclass(frozen=True)
class ShortcutReport:
    """What was measured, and on what.

    Attributes:
        shortcuts: the best predictor first.
        constant: groups that are the same in every file, and so tell nothing.
        files: number of files used.
        reason: why nothing was measured; empty where it was.
    """

    shortcuts: tuple[Shortcut, ...] = ()
    constant: tuple[str, ...] = ()
    files: int = 0
    reason: str = ""


def probe_shortcuts(
    seen: Sequence[Seen],
    classes: Sequence[str],
    duplicates: Sequence[DuplicateGroup] = (),
    cases: Sequence[Case] = (),
    seed: int = 0,
) -> ShortcutReport:
    """Return the cross-validated AUROC of each group of trivial features.

    Five folds; cases of one patient, and duplicates, stay in one fold. Extremely randomized
    trees; intervals of 95 % by resampling patients. Files without a label are left out; of more
    than 4000 files a random 4000. Of several inputs each is measured alone, and so is which of
    them a case has.

    Args:
        seen: the readable files.
        classes: names.
        duplicates: as `find_duplicates` found them, places in ``seen``.
        cases: all of the cohort, for what they lack.
        seed: of the folds, trees and resamples.
    """
    together = _together(seen, duplicates)
    names = sorted({item.input for item in seen})
    parts = [
        _probed(_Files(seen, together, tuple(classes), name if len(names) > 1 else ""), seed)
        for name in names or [""]
    ]
    parts.append(_presence(cases, tuple(classes), seed))
    return ShortcutReport(
        shortcuts=tuple(sorted((s for p in parts for s in p.shortcuts), key=lambda s: -s.auroc)),
        constant=tuple(name for part in parts for name in part.constant),
        files=sum(part.files for part in parts),
        reason="; ".join(dict.fromkeys(part.reason for part in parts if part.reason)),
    )


@dataclass(frozen=True, eq=False)
class _Files:
    """The files of one input; of all where ``input`` is empty."""

    seen: Sequence[Seen]
    together: NDArray[np.int64]
    classes: tuple[str, ...]
    input: str


def _probed(files: _Files, seed: int) -> ShortcutReport:
    seen, classes, name = files.seen, files.classes, files.input
    chosen = _chosen(seen, name, seed)
    labels = np.array([seen[i].case.label for i in chosen], dtype=np.int64)
    groups = files.together[chosen]
    reason = _why_not(labels, groups, classes)
    if reason:
        return ShortcutReport(
            files=len(chosen), reason=f"input {name}: {reason}" if name else reason
        )
    tables = feature_table([seen[i] for i in chosen])
    about = {group.name: group for group in GROUPS}
    constant = tuple(
        f"{name}: {group}" if name else group for group in ("site", *about) if group not in tables
    )
    acquired = [t for group, t in tables.items() if group not in about or about[group].acquired]
    if len(acquired) > 1:
        tables["all acquired"] = np.hstack(acquired)
    probe = _Probe(labels, groups, classes, seed)
    found = [replace(probe.measure(group, t), input=name) for group, t in tables.items()]
    return ShortcutReport(tuple(found), constant, len(chosen))


def _presence(cases: Sequence[Case], classes: tuple[str, ...], seed: int) -> ShortcutReport:
    """Return how well what a case lacks predicts the label; of no file, and with no reason."""
    known = [case for case in cases if case.label is not None]
    table = presence_table(known) if known else None
    if table is None:
        return ShortcutReport()
    labels = np.array([case.label for case in known], dtype=np.int64)
    groups = np.unique([case.patient_id for case in known], return_inverse=True)[1]
    reason = _why_not(labels, groups, classes)
    if reason:
        return ShortcutReport(reason=f"{PRESENCE.name}: {reason}")
    return ShortcutReport((_Probe(labels, groups, classes, seed).measure(PRESENCE.name, table),))


@dataclass(frozen=True, eq=False)
class _Probe:
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: tuple[str, ...]
    seed: int

    def measure(self, name: str, table: Floats) -> Shortcut:
        group = next((group for group in (*GROUPS, SITE, PRESENCE) if group.name == name), TOGETHER)
        scores = self._out_of_fold(table)
        present = np.unique(self.labels)
        values = [self._resampled(scores[:, k], self.labels == k) for k in present]
        macro = np.mean(values, axis=0)
        low, high = percentile_interval(macro[1:], 0.95) or (0.0, 1.0)
        best = max(values, key=lambda resampled: float(resampled[0]))
        return Shortcut(
            input="",
            name=name,
            about=group.about,
            acquired=group.acquired,
            advice=group.advice,
            auroc=float(macro[0]),
            low=low,
            high=high,
            per_class={self.classes[k]: float(v[0]) for k, v in zip(present, values, strict=True)},
            best_low=(percentile_interval(best[1:], 0.95) or (0.0, 1.0))[0],
        )

    def _out_of_fold(self, table: Floats) -> Floats:
        folds = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=self.seed)
        scores = np.zeros((len(table), len(self.classes)))
        for train, test in folds.split(table, self.labels, self.groups):
            trees = ExtraTreesClassifier(
                100, max_depth=10, min_samples_leaf=5, class_weight="balanced",
                random_state=self.seed,
            )  # fmt: skip
            trees.fit(table[train], self.labels[train])
            scores[np.ix_(test, trees.classes_)] = trees.predict_proba(table[test])
        return scores

    def _resampled(self, scores: Floats, positive: NDArray[np.bool_]) -> Floats:
        blocks = weight_blocks(self.groups, _RESAMPLES, self.seed)
        return np.concatenate([auroc(rank(scores, positive, weights)) for weights in blocks])


def _together(seen: Sequence[Seen], duplicates: Sequence[DuplicateGroup]) -> NDArray[np.int64]:
    """Return a number per file; files of one patient or one picture share it."""
    keys: list[list[Hashable]] = [[("patient", item.case.patient_id)] for item in seen]
    for number, group in enumerate(duplicates):
        for member in group.members:
            keys[member].append(("duplicate", number))
    return np.asarray(components(keys), dtype=np.int64)


def _chosen(seen: Sequence[Seen], name: str, seed: int) -> NDArray[np.int64]:
    known = [i for i, item in enumerate(seen) if item.case.label is not None]
    labeled = np.array([i for i in known if name in ("", seen[i].input)], np.int64)
    if len(labeled) <= _MOST_FILES:
        return labeled
    picked = np.random.default_rng(seed).choice(labeled, _MOST_FILES, replace=False)
    return np.sort(picked)


def _why_not(labels: NDArray[np.int64], groups: NDArray[np.int64], classes: Sequence[str]) -> str:
    patients = Counter(
        int(label) for label, _ in {*zip(labels.tolist(), groups.tolist(), strict=True)}
    )
    if len(patients) < 2:
        return "fewer than two classes have a readable file"
    label, fewest = min(patients.items(), key=lambda item: item[1])
    if fewest < _FEWEST_GROUPS:
        return (
            f"class {classes[label]} has {fewest} different patients or pictures, at least "
            f"{_FEWEST_GROUPS} are needed"
        )
    return ""
