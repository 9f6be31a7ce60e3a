"""A source's network from random weights, trained on the images of each fold."""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

from medfuse.backbones.build import BuiltSource
from medfuse.config import ComponentConfig, Experiment, SourceConfig
from medfuse.data import Role
from medfuse.errors import ConfigError
from medfuse.evaluation.candidates import Candidate
from medfuse.features.bank import FeatureBank
from medfuse.storage import digest_of
from medfuse.suggest import did_you_mean
from medfuse.training.candidate import Fitted, held_out_part
from medfuse.training.seeds import derived_seed
from medfuse.workflows.compare_task import CompareTask
from medfuse.workflows.extract import extract, load_networks, with_tables
from medfuse.workflows.learn import LearningTask, learn
from medfuse.workflows.prepare import PreparedCohort

_log = logging.getLogger(__name__)


def check_scratch(experiment: Experiment, name: str | None) -> None:
    """Refuse a name that no source of the configuration has, before anything is read.

    Raises:
        ConfigError: naming those that there are.
    """
    names = [source.use for source in experiment.sources]
    if name is not None and name not in names:
        raise ConfigError(
            f"--scratch {name}: found no such source, expected one of {', '.join(names)}."
            f"{did_you_mean(name, names)}"
        )


def scratch_candidate(task: CompareTask) -> Candidate | None:
    """Return the network of ``settings.scratch`` from random weights, trained whole on each fold.

    The same folds, and the same training cases hold back a part to stop early, as for the other
    candidates; head and training as configured, for ``settings.scratch_epochs``, on images of
    ``settings.scratch_size``. An interrupted training goes on where it was.
    """
    name = task.settings.scratch
    if name is None:
        return None
    number = [source.use for source in task.experiment.sources].index(name)
    label, store, fitted = task.labels[number], task.workshop.store, {}
    experiment = _experiment(task, task.experiment.sources[number])
    for fold in task.folds:
        key = _key(task, experiment, fold)
        found = store.load(key)
        if found is None:
            _log.info("%s from random weights: fold %d of %d", label, fold + 1, len(task.folds))
            folder = task.folder / "scratch" / key
            found = _learned(task, experiment, fold, folder)
            store.save(key, found)
            shutil.rmtree(folder, ignore_errors=True)
        fitted[fold] = found
    return Candidate(
        name=f"{label} from random weights",
        kind="scratch",
        sources=(label,),
        probabilities=task.assembled(fitted),
        visible=task.workshop.cases.visible((number,)),
    )


def _experiment(task: CompareTask, source: SourceConfig) -> Experiment:
    config = task.experiment
    training = {"members": 1, "epochs": task.settings.scratch_epochs}
    changes = {"train": "scratch", "input_size": task.settings.scratch_size or source.input_size}
    return config.model_copy(
        update={
            "sources": [source.model_copy(update=changes)],
            "inputs": {source.input: config.inputs[source.input]},
            "fusion": ComponentConfig(use="concat"),
            "training": config.training.model_copy(update=training),
        }
    )


def _key(task: CompareTask, experiment: Experiment, fold: int) -> str:
    """Return a digest of all that decides the training of one fold."""
    facts = {
        "context": task.context,
        "experiment": experiment.digest(),
        "test": digest_of(task.inside(fold).tolist()),
    }
    return digest_of(facts)[:32]


def _learned(task: CompareTask, experiment: Experiment, fold: int, folder: Path) -> Fitted:
    """Train on the images of all other folds, and return what is said of this one's cases."""
    seed = derived_seed(task.experiment.seed, "fold", fold)
    prepared = _with_parts(task, experiment, fold, seed)
    one = experiment.model_copy(update={"seed": seed})
    sources = _network(task, one, prepared)
    bank = FeatureBank(one.bank.path, one.bank.budget_gb)
    features = extract(one, prepared, sources, bank, progress=task.settings.progress)
    job = LearningTask(one, task.registry, prepared, features, task.settings.progress)
    model = learn(job, one.fusion, [0], folder, "single")
    rows = task.inside(fold)
    return Fitted(model.probabilities[rows], float("nan"), float(model.results[0].best_epoch))


def _with_parts(task: CompareTask, experiment: Experiment, fold: int, seed: int) -> PreparedCohort:
    """Return the cohort with the fold as test part and a part of the others to stop training."""
    compared = task.compared.prepared
    outside = task.outside(fold)
    data = task.workshop.cases.of((0,), outside)
    stopping = set(outside[held_out_part(data, seed)].tolist())
    inside = set(task.inside(fold).tolist())
    cases = [
        replace(case, role=_role(row, inside, stopping))
        for row, case in enumerate(compared.cohort.cases)
    ]
    inputs = {name: compared.inputs[name] for name in experiment.inputs}
    return replace(compared, cohort=compared.cohort.with_cases(cases), inputs=inputs)


def _role(row: int, inside: set[int], stopping: set[int]) -> Role:
    if row in inside:
        return "test"
    return "validation" if row in stopping else "train"


def _network(
    task: CompareTask, experiment: Experiment, prepared: PreparedCohort
) -> tuple[BuiltSource, ...]:
    inputs = {name: read.config for name, read in prepared.inputs.items()}
    networks = load_networks(experiment, task.registry, inputs)
    return with_tables(experiment, networks, prepared)
