"""Does adapting to an unlabeled cohort help there? The fused candidate, adapted in several ways."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.backbones.build import BuiltSource
from medfuse.data import Case
from medfuse.errors import EvaluationError
from medfuse.evaluation import EvaluationSettings, Predictions, evaluate
from medfuse.evaluation.paired import bootstrap_difference, holm
from medfuse.features.bank import FeatureBank
from medfuse.report import Section, Table
from medfuse.report.metric_tables import estimate_text
from medfuse.storage import digest_of
from medfuse.training.candidate import BankedCases, Fit
from medfuse.training.seeds import derived_seed
from medfuse.workflows.adaptation import MOVES, NAMES, Features, by_papers, moved, values_of
from medfuse.workflows.compare_fits import named_fit
from medfuse.workflows.compare_task import CompareTask, pooled_fusion
from medfuse.workflows.extract import ExtractedFeatures
from medfuse.workflows.measure import settings_of
from medfuse.workflows.prepare import PreparedCohort
from medfuse.workflows.target_cases import TargetReader

_log = logging.getLogger(__name__)
PLAIN = "no adaptation"
TESTED = ("auroc_macro", "accuracy")
_AUGMENTED = "test-time augmentation"
_AVERAGED = f"{_AUGMENTED}: mean over the target's augmented views"


@dataclass(frozen=True, eq=False)
class _Target:
    """A cohort that the compared cases do not belong to.

    Attributes:
        prepared: its cases; a label counts classes as the compared cases do.
        features: of all sources, with the augmented views.
        adapted: the same after AdaBN; ``None`` where no source has a batch norm.
        shared: cases with an image that is also among the compared ones.
    """

    prepared: PreparedCohort
    features: ExtractedFeatures
    adapted: ExtractedFeatures | None
    shared: int

    @property
    def cases(self) -> Sequence[Case]:
        """The cases in their order."""
        return self.prepared.cohort.cases

    def counts(self) -> dict[str, int]:
        """Return how many cases, patients and labels it has, and how many cases it shares."""
        return {
            "cases": len(self.cases),
            "patients": len({case.patient_id for case in self.cases}),
            "labeled": sum(case.label is not None for case in self.cases),
            "shared": self.shared,
        }


def compare_on_target(task: CompareTask, path: str) -> dict[str, Any]:
    """Return what each way of adapting gains on a target cohort, as JSON data.

    The fused candidate learns from all compared cases and is asked about the target's. Ways that
    need labels of the target do not exist here; where it has some, they measure the effect alone.

    Raises:
        CohortError: the target cannot be read.
        ConfigError: an input is a table.
    """
    target = _target(task, path)
    said = _probabilities(task, target)
    fused = task.plan.fused
    found: dict[str, Any] = {"fused": fused, **target.counts(), "methods": []}
    changed = {
        name: float((chances.argmax(1) != said[PLAIN].argmax(1)).mean())
        for name, chances in said.items()
    }
    if not found["labeled"]:
        found["methods"] = [{"name": name, "changed": share} for name, share in changed.items()]
        return {**found, "verdict": "the target has no labels: the effect cannot be measured."}
    kind = task.registry.head(task.experiment.head.use).task
    settings = settings_of(task.experiment.evaluation, task.experiment.seed, kind)
    rows = _measured(_predictions(task, target, said), settings)
    found["methods"] = [{**row, "changed": changed[row["name"]]} for row in rows]
    return {**found, "verdict": _verdict(rows)}


def target_section(found: Mapping[str, Any] | None) -> Section:
    """Return what the page of a comparison says of a target; empty without one."""
    title = "Adapting to the target cohort"
    if found is None:
        return Section(anchor="target", title=title)
    measured = bool(found["labeled"])
    header = ["method", "predictions changed"]
    header += ["AUROC", "accuracy", "AUROC gained", "p (corrected)"] if measured else []
    caption = (
        f"{found['fused']}, trained on all compared cases, on {found['cases']} cases of "
        f"{found['patients']} patients, {found['labeled']} with a label"
        + (f"; {found['shared']} share an image with the compared cases" if found["shared"] else "")
        + ". No label of the target was used to adapt."
    )
    rows = [_row(row, measured) for row in found["methods"]]
    names = [row["name"] for row in found["methods"]]
    return Section(
        anchor="target",
        title=title,
        text=found["verdict"],
        points=[*by_papers(names), *([_AVERAGED] if _AUGMENTED in names else [])],
        tables=[Table(header=header, rows=rows, caption=caption)],
    )


def _row(row: Mapping[str, Any], measured: bool) -> list[str]:
    cells = [row["name"], f"{row['changed']:.1%}"]
    if not measured:
        return cells
    cells += [estimate_text(row["auroc_macro"]), estimate_text(row["accuracy"])]
    gain = row["gain"]
    if gain is None or gain["difference"] is None:
        return [*cells, "", ""]
    p_value = gain["p_adjusted"]
    text = "undefined" if p_value is None else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
    return [*cells, f"{gain['difference']:+.3f}", text]


def _target(task: CompareTask, path: str) -> _Target:
    experiment, sources = pooled_fusion(task.experiment, task.registry), task.features.sources
    bank = FeatureBank(experiment.bank.path, experiment.bank.budget_gb)
    learned, progress = task.compared.prepared, task.settings.progress
    reader = TargetReader(experiment, task.registry, learned, bank, progress)
    prepared = reader.read(path, role="train")  # as such it has augmented views
    adapted: Sequence[BuiltSource] | None = reader.after_adabn(prepared, sources)
    return _Target(
        prepared,
        reader.features(prepared, sources),
        None if adapted is None else reader.features(prepared, adapted),
        reader.shared(prepared),
    )


def _probabilities(task: CompareTask, target: _Target) -> dict[str, NDArray[np.float64]]:
    """Return what each way says of the target's cases, ``(M, K)`` by name."""
    own, new = list(task.workshop.cases.values), values_of(target.features)
    sites = [case.site for case in task.compared.cases]
    plain = _asked(task, target, own, new, PLAIN)
    said = {PLAIN: plain[:, 0]}
    for method in MOVES:
        pairs = zip(own, new, strict=True)
        try:
            learned = [moved(method, x, y, sites) for x, y in pairs]
        except EvaluationError as error:
            _log.warning("%s is left out: %s", NAMES[method], error)
            continue
        said[NAMES[method]] = _asked(task, target, learned, new, NAMES[method])[:, 0]
    if target.adapted is not None:
        name = NAMES["adabn"]
        said[name] = _asked(task, target, own, values_of(target.adapted), name)[:, 0]
    if target.features.views.max() > 1:
        said[_AUGMENTED] = plain.mean(1)
    return said


def _asked(
    task: CompareTask,
    target: _Target,
    learned: Sequence[Features],
    new: Sequence[Features],
    name: str,
) -> NDArray[np.float64]:
    """Train on the compared cases, ask about all views of the target's: ``(M, 1 + V, K)``."""
    planned, views = task.plan[task.plan.fused], new[0].shape[1]
    cases = _joined(task.workshop.cases, learned, new)
    count = len(task.compared.cases)
    fit = Fit(
        method=planned.method,
        sources=planned.sources,
        fusion=planned.fusion,
        train=np.arange(count),
        test=np.arange(count, len(cases.labels)),
        seed=derived_seed(task.experiment.seed, "target"),
    )
    digest = digest_of([float(np.nansum(x.astype(np.float64))) for x in (*learned, *new)])
    named = named_fit(fit, digest_of([task.context, name, digest]))
    workshop = replace(task.workshop, cases=cases, workers=1)
    fitted = workshop.run([named], f"target, {name}")[named.key]
    return fitted.probabilities.reshape(len(target.cases), views, -1)


def _joined(own: BankedCases, learned: Sequence[Features], new: Sequence[Features]) -> BankedCases:
    """Return the compared cases, and behind them each view of the target's as a case."""
    values = []
    for x, y in zip(learned, new, strict=True):
        rows = np.zeros((y.shape[0] * y.shape[1], *x.shape[1:]), np.float32)
        rows[:, 0] = y.reshape(-1, *y.shape[2:])
        values.append(np.concatenate([x, rows]))
    count = len(values[0]) - len(own.labels)
    return replace(
        own,
        values=tuple(values),
        labels=np.concatenate([own.labels, np.zeros(count, np.int64)]),
        views=np.concatenate([own.views, np.ones(count, np.int64)]),
        groups=np.concatenate([own.groups, own.groups.max() + 1 + np.arange(count)]),
        known=np.concatenate([own.known, np.ones((count, own.known.shape[1]), bool)]),
    )


def _predictions(
    task: CompareTask, target: _Target, said: Mapping[str, NDArray[np.float64]]
) -> dict[str, Predictions]:
    rows = [i for i, case in enumerate(target.cases) if case.label is not None]
    cases = [target.cases[i] for i in rows]
    classes = tuple(task.compared.prepared.cohort.classes)
    labels = np.array([case.label for case in cases])
    patients = tuple(case.patient_id for case in cases)
    return {
        name: Predictions(labels, chances[rows], classes, patients)
        for name, chances in said.items()
    }


def _measured(
    predictions: Mapping[str, Predictions], settings: EvaluationSettings
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, found in predictions.items():
        overall = evaluate(found, settings)["overall"]
        row: dict[str, Any] = {"name": name, **{key: overall[key] for key in TESTED}, "gain": None}
        if name != PLAIN and overall["auroc_macro"]["value"] is not None:
            gap = bootstrap_difference(found, predictions[PLAIN], "auroc_macro", settings)
            row["gain"] = {
                "difference": gap.difference,
                "low": gap.low,
                "high": gap.high,
                "p_value": gap.p_value,
                "p_adjusted": None,
            }
        rows.append(row)
    tested = [r["gain"] for r in rows if r["gain"] and r["gain"]["p_value"] is not None]
    for gain, adjusted in zip(tested, holm([g["p_value"] for g in tested]), strict=True):
        gain["p_adjusted"] = adjusted
    return rows


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    gains = [r for r in rows if r["gain"] and r["gain"]["p_adjusted"] is not None]
    clear = [r for r in gains if r["gain"]["p_adjusted"] < 0.05]
    better = [r for r in clear if r["gain"]["difference"] > 0]
    worse = [r["name"] for r in clear if r["gain"]["difference"] < 0]
    harm = f" Worse than none: {', '.join(worse)}." if worse else ""
    if not better:
        return f"no evidence that adapting to the target helps there.{harm}"
    best = max(better, key=lambda r: r["gain"]["difference"])
    gain = best["gain"]
    return (
        f"{best['name']} gains {gain['difference']:+.3f} AUROC on the target; p = "
        f"{gain['p_adjusted']:.3f} (Holm, {len(gains)} comparisons).{harm}"
    )
