"""Validate: train without each site in turn, and measure there."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medfuse.config import Experiment, as_experiment, parse_experiment
from medfuse.data import Case, Cohort, read_split
from medfuse.data.sites import with_held_out_site
from medfuse.errors import CohortError, ConfigError, TrainingError
from medfuse.evaluation import (
    LabelPredictions,
    LabelThreshold,
    PredictionRow,
    Predictions,
    read_predictions,
    write_predictions,
)
from medfuse.registry import load_registry
from medfuse.storage import write_json, write_text
from medfuse.workflows import measure
from medfuse.workflows.bundled_sources import with_each_network
from medfuse.workflows.output_folder import refuse_foreign_content
from medfuse.workflows.settle import list_cohort
from medfuse.workflows.site_page import SiteResults, site_csv, write_site_page
from medfuse.workflows.train import TrainingOutcome, train

_STATE = "validation.json"
_OWN = "held-out cases of the model without the site"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ValidationOutcome:
    """What training without each site in turn showed.

    Attributes:
        folder: holds ``metrics.json``, ``sites.csv``, ``predictions.csv``, ``report.html`` and the
            run of each site under ``sites/``.
        metrics: the content of ``metrics.json``.
        failed: why there is no result for a site, by its name.
    """

    folder: Path
    metrics: Mapping[str, Any]
    failed: Mapping[str, str]


@dataclass(frozen=True)
class _SiteRun:
    """A finished run, with the site that it had not seen."""

    site: str
    outcome: TrainingOutcome


def validate(
    experiment: Experiment | Mapping[str, Any] | Path | str,
    out: Path | str,
    *,
    fresh: bool = False,
    download: bool = False,
    progress: bool = True,
) -> ValidationOutcome:
    """Train once for each site without its cases, and measure every case by the model that has
    not seen its site.

    The runs share the bank. What was interrupted goes on where it was; finished runs are kept. A
    site without which nothing can be trained is named with the reason, and the others go on.

    Args:
        experiment: a configuration, its plain data, or the path of its YAML file.
        out: folder for the results.
        fresh: train again what is there.
        download: allow weights to be fetched.
        progress: tell on stderr how far it is, see `medfuse.progress`.

    Raises:
        CohortError: fewer than two sites, a given test part, or no site can be left out.
        MedfuseError: whatever `train` raises.
    """
    config, folder = with_each_network(as_experiment(experiment)), Path(out)
    refuse_foreign_content(folder, _STATE, "validation")
    _refuse_adaptation(config)
    cohort = list_cohort(config)
    names = sites_of(cohort)
    write_json(folder / _STATE, {"medfuse": {"kind": "validation", "version": 1}})
    done: list[_SiteRun] = []
    failed: dict[str, str] = {}
    for number, site in enumerate(names):
        _log.info("site %s: held out, %d of %d", site, number + 1, len(names))
        place = folder / "sites" / f"{number:02d}_{re.sub(r'[^A-Za-z0-9]+', '-', site)}"
        try:
            run = train(
                _without(config, site), place, fresh=fresh, download=download, progress=progress
            )
        except (CohortError, TrainingError) as error:
            _log.warning("site %s: left out of the table: %s", site, error)
            failed[site] = str(error)
            continue
        done.append(_SiteRun(site, run))
    if not done:
        raise CohortError(f"no site can be held out. The first one, {names[0]}: {failed[names[0]]}")
    return _write(config, folder, done, failed)


def _refuse_adaptation(config: Experiment) -> None:
    """Refuse a model that is made for a target: no held-out site is that target."""
    if config.adaptation is not None:
        raise ConfigError(
            "adaptation: found a target, but each site is held out as one that nothing is known "
            "of. Leave adaptation out, or measure it with medfuse compare --target."
        )


def sites_of(cohort: Cohort) -> list[str]:
    """Return the sites of a cohort in alphabetical order.

    Raises:
        CohortError: there are fewer than two, or the source gives a test part.
    """
    counts = Counter(case.site for case in cohort.cases if case.site)
    if len(counts) < 2:
        found = next(iter(counts), "none")
        raise CohortError(
            f"{cohort.root}: found {len(counts)} site ({found}), expected two or more to hold one "
            "out. Give the cases a column named site."
        )
    for site in counts:
        with_held_out_site(cohort, site)
    return sorted(counts)


def _without(config: Experiment, site: str) -> Experiment:
    data = config.model_dump(mode="json")
    data["cohort"]["split"]["hold_out_site"] = site
    return parse_experiment(data)


def _write(
    config: Experiment, folder: Path, done: Sequence[_SiteRun], failed: Mapping[str, str]
) -> ValidationOutcome:
    cases, rows, classes = _pooled(done)
    groups = config.evaluation.groups
    chances = np.array([row.probabilities for row in rows])
    given = measure.predictions_of(cases, classes, chances, subgroups=groups)
    found = _by_site(_with_own_thresholds(given, cases, done), cases)
    kind = load_registry().head(config.head.use).task
    settings = measure.settings_of(config.evaluation, config.seed, kind)
    plugin_metrics = measure.load_metrics(load_registry(), config.evaluation)
    chosen = [LabelThreshold(0.5, _OWN)] * len(classes)
    pooled = measure.measure(found, settings, plugin_metrics, chosen)
    facts = {run.site: _facts(run) for run in done}
    results = SiteResults(config.name, found, pooled, settings, facts, failed)
    write_predictions(folder / "predictions.csv", rows, classes)
    write_text(folder / "sites.csv", site_csv(results), mode=0o600)
    write_site_page(results, folder)
    metrics = {"pooled": pooled, "sites": facts, "failed": dict(failed)}
    write_json(folder / "metrics.json", metrics)
    return ValidationOutcome(folder, metrics, failed)


def _by_site(
    found: Predictions | LabelPredictions, cases: Sequence[Case]
) -> Predictions | LabelPredictions:
    """Return the predictions with the site as a group, also where only one could be held out."""
    return replace(found, groups={"site": [case.site for case in cases], **found.groups})


def _with_own_thresholds(
    found: Predictions | LabelPredictions, cases: Sequence[Case], done: Sequence[_SiteRun]
) -> Predictions | LabelPredictions:
    """Return the predictions, each of several labels judged by the thresholds of its model."""
    if isinstance(found, Predictions):
        return found
    limits = {run.site: _thresholds(run, found.classes) for run in done}
    return replace(found, thresholds=np.array([limits[case.site] for case in cases]))


def _thresholds(run: _SiteRun, classes: Sequence[str]) -> list[float]:
    labels = run.outcome.metrics["test"]["per_class"]
    return [labels[name]["threshold"]["value"] for name in classes]


def _pooled(
    done: Sequence[_SiteRun],
) -> tuple[list[Case], list[PredictionRow], tuple[str, ...]]:
    """Return each labeled case of a held-out site with what the model without that site says.

    Cases of other sites that a run tests because their patient was at the held-out one are left
    out, so that every case counts once.
    """
    cases: list[Case] = []
    rows: list[PredictionRow] = []
    classes: tuple[str, ...] = ()
    for run in done:
        cohort, _ = read_split(run.outcome.folder / "cohort.csv")
        table, classes = read_predictions(run.outcome.folder / "predictions.csv")
        told = {row.case_id: row for row in table}
        for case in cohort.cases:
            if case.role == "test" and case.labeled and case.site == run.site:
                cases.append(case)
                rows.append(told[case.case_id])
    return cases, rows, classes


def _facts(run: _SiteRun) -> dict[str, Any]:
    """Return what the table says of the run of a site beside its metrics, as plain data."""
    cohort, _ = read_split(run.outcome.folder / "cohort.csv")
    metrics = run.outcome.metrics
    comparison = metrics["comparison"]
    return {
        "learned_from": sum(case.role != "test" for case in cohort.cases),
        "verdict": comparison["verdict"] if comparison else "",
        "seen": metrics["test"]["seen"]["cases"] if metrics["test"] else 0,
        "run": str(run.outcome.folder.name),
    }
