"""Does adapting to an unlabeled cohort help there? The fused candidate, adapted in several ways."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.errors import EvaluationError
from medfuse.evaluation import EvaluationSettings, Predictions, evaluate
from medfuse.evaluation.domain import Affine, coral, standardization
from medfuse.evaluation.paired import bootstrap_difference, holm
from medfuse.report import Section, Table
from medfuse.report.metric_tables import estimate_text
from medfuse.storage import digest_of
from medfuse.training.candidate import BankedCases, Fit
from medfuse.training.seeds import derived_seed
from medfuse.workflows.compare_fits import named_fit
from medfuse.workflows.compare_task import CompareTask
from medfuse.workflows.measure import settings_of
from medfuse.workflows.target_cases import TargetCases, counts, target_cases

_log = logging.getLogger(__name__)
PLAIN = "no adaptation"
TESTED = ("auroc_macro", "accuracy")
Features = NDArray[np.float32]
_Adapt = Callable[[Features, Features, "_Sites"], tuple[Features, Features]]
_PAPERS = {
    "standardization by site": "mean 0 and standard deviation 1 at each site, and at the target",
    "CORAL": "training features with the mean and covariance of the target (Sun et al., 2016)",
    "AdaBN": "batch norms of the networks with the target's statistics (Li et al., 2018)",
    "test-time augmentation": "mean over the target's augmented views",
}


@dataclass(frozen=True)
class _Sites:
    """Where cases come from: of those learned from, and of the target."""

    learned: Sequence[str]
    target: Sequence[str]


def compare_on_target(task: CompareTask, path: str) -> dict[str, Any]:
    """Return what each way of adapting gains on a target cohort, as JSON data.

    The fused candidate learns from all compared cases and is asked about the target's. Ways that
    need labels of the target do not exist here; where it has some, they measure the effect alone.

    Raises:
        CohortError: the target cannot be read.
        ConfigError: an input is a table.
    """
    target = target_cases(task, path)
    said = _probabilities(task, target)
    fused = task.plan.fused
    found: dict[str, Any] = {"fused": fused, **counts(target), "methods": []}
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
    return Section(
        anchor="target",
        title=title,
        text=found["verdict"],
        points=[
            f"{name}: {text}"
            for name, text in _PAPERS.items()
            if name in {row["name"] for row in found["methods"]}
        ],
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


def _probabilities(task: CompareTask, target: TargetCases) -> dict[str, NDArray[np.float64]]:
    """Return what each way says of the target's cases, ``(M, K)`` by name."""
    own, views = task.workshop.cases, int(target.features.views.max())
    sites = _Sites(
        [case.site for case in task.compared.cases], [case.site for case in target.cases]
    )
    plain = _asked(task, target, list(own.values), _values(target.features), PLAIN)
    said = {PLAIN: plain[:, 0]}
    for name, adapt in _ADAPTATIONS.items():
        both = zip(own.values, _values(target.features), strict=True)
        try:
            pairs = [adapt(x, y, sites) for x, y in both]
        except EvaluationError as error:
            _log.warning("%s is left out: %s", name, error)
            continue
        learned, new = [x for x, _ in pairs], [y for _, y in pairs]
        said[name] = _asked(task, target, learned, new, name)[:, 0]
    if target.adapted is not None:
        new = _values(target.adapted)
        said["AdaBN"] = _asked(task, target, list(own.values), new, "AdaBN")[:, 0]
    if views > 1:
        said["test-time augmentation"] = plain.mean(1)
    return said


def _asked(
    task: CompareTask,
    target: TargetCases,
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


def _values(features: Any) -> list[Features]:
    return [np.asarray(value, dtype=np.float32) for value in features.values]


def _clean(values: Features) -> NDArray[np.float64]:
    """Return the features of the clean views as rows ``(..., F)`` without missing ones."""
    rows = values[:, 0].reshape(-1, values.shape[-1]).astype(np.float64)
    return np.asarray(rows[~np.isnan(rows).any(1)])


def _by_coral(learned: Features, target: Features, _: _Sites) -> tuple[Features, Features]:
    first, second = coral(_clean(learned), _clean(target))
    return first(learned), second(target)


def _by_site(learned: Features, target: Features, sites: _Sites) -> tuple[Features, Features]:
    return _each_site(learned, sites.learned), _each_site(target, sites.target)


def _each_site(values: Features, sites: Sequence[str]) -> Features:
    found, names = np.empty_like(values), np.asarray(sites)
    for name in np.unique(names):
        rows = names == name
        mapped: Affine = standardization(_clean(values[rows]))
        found[rows] = mapped(values[rows])
    return found


_ADAPTATIONS: Mapping[str, _Adapt] = {"standardization by site": _by_site, "CORAL": _by_coral}


def _predictions(
    task: CompareTask, target: TargetCases, said: Mapping[str, NDArray[np.float64]]
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
