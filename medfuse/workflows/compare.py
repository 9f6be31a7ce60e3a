"""Compare: a configuration -> does fusing help on these cases, by how much, and is it certain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medfuse.config import Experiment, as_experiment
from medfuse.evaluation.fold_comparison import compare_on_folds
from medfuse.registry import load_registry
from medfuse.training.candidate import Fit, Fitted
from medfuse.training.seeds import derived_seed
from medfuse.workflows.bundled_sources import with_each_network
from medfuse.workflows.compare_choice import chosen_candidates
from medfuse.workflows.compare_curve import curve_sizes, learning_curves
from medfuse.workflows.compare_fits import by_key, named_fit
from medfuse.workflows.compare_folder import claim_compare_folder
from medfuse.workflows.compare_page import write_comparison_page
from medfuse.workflows.compare_plan import PlannedCandidate, fusions_to_compare
from medfuse.workflows.compare_scratch import check_scratch, scratch_candidate
from medfuse.workflows.compare_settings import CompareSettings
from medfuse.workflows.compare_tables import write_candidate_predictions, write_tables
from medfuse.workflows.compare_target import compare_on_target
from medfuse.workflows.compare_task import CompareTask, frozen, prepare_task
from medfuse.workflows.measure import settings_of
from medfuse.workflows.preflight import check_experiment


@dataclass(frozen=True)
class ComparisonOutcome:
    """What a comparison found.

    Attributes:
        folder: with tables, plots and predictions.
        report: the HTML page inside it.
        comparison: the content of ``comparison.json``.
    """

    folder: Path
    report: Path
    comparison: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """One sentence: whether fusing helps, by how much, and how certain that is."""
        return str(self.comparison["verdict"])


def compare(
    experiment: Experiment | Mapping[str, Any] | Path | str,
    out: Path | str,
    settings: CompareSettings | None = None,
) -> ComparisonOutcome:
    """Compare single sources, fusions and baselines on the same folds, and test the differences.

    The cases of the test part take no part, unless the cohort is divided into folds anyway. All
    sources are compared frozen. A comparison that was interrupted goes on where it was; one that is
    asked for more candidates computes those alone.

    Args:
        experiment: a configuration, its plain data, or the path of its YAML file.
        out: the folder for the results.
        settings: what is compared.

    Raises:
        SourceError: fewer than two sources, or one that was trained on this data set.
        MedfuseError: anything else that a user can mend; the text says how.
    """
    settings = settings or CompareSettings()
    config, registry = frozen(with_each_network(as_experiment(experiment))), load_registry()
    check_experiment(config, registry, download=settings.download)
    check_scratch(config, settings.scratch)
    fusions_to_compare(config, registry, settings.fusions)
    with claim_compare_folder(out, config, fresh=settings.fresh) as claimed:
        folder = claimed.path
        task = prepare_task(config, registry, settings, folder)
        curve_sizes(task)  # what cannot be is said before anything is trained
        claimed.begin()
        comparison = _compared(task)
        target = settings.target or (config.adaptation and config.adaptation.target)
        if target:
            comparison["target"] = compare_on_target(task, target)
        claimed.finish(comparison)
        write_tables(comparison, folder / "tables")
        report = write_comparison_page(task, comparison)
        return ComparisonOutcome(folder, report, comparison)


def _compared(task: CompareTask) -> dict[str, Any]:
    """Return the content of ``comparison.json``; predictions are written on the way."""
    fitted = _fitted(task)
    candidates = [
        task.candidate(one, {fold: fitted[one.name, fold] for fold in task.folds})
        for one in task.plan.candidates
    ]
    candidates += chosen_candidates(task, fitted)
    scratch = scratch_candidate(task)
    candidates += [scratch] if scratch else []
    write_candidate_predictions(task, candidates, task.folder / "predictions.csv")
    config = task.experiment
    kind = task.registry.head(config.head.use).task
    settings = settings_of(config.evaluation, config.seed, kind)
    found = compare_on_folds(task.compared.for_tests(), candidates, task.plan.fused, settings)
    curve = None if task.settings.curve is None else learning_curves(task, found, fitted)
    return {**found, **task.facts(candidates), "curve": curve}


def _fitted(task: CompareTask) -> dict[tuple[str, int], Fitted]:
    """Return every candidate's fit on every fold, by name and fold."""
    named = {
        (planned.name, fold): named_fit(_fit(task, planned, fold), task.context)
        for planned in task.plan.candidates
        for fold in task.folds
    }
    return by_key(named, task.workshop.run(list(named.values()), "comparing"))


def _fit(task: CompareTask, planned: PlannedCandidate, fold: int) -> Fit:
    return Fit(
        method=planned.method,
        sources=planned.sources,
        fusion=planned.fusion,
        train=task.outside(fold),
        test=task.inside(fold),
        seed=derived_seed(task.experiment.seed, "fold", fold),
    )
