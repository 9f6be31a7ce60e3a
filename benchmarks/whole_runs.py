"""What the benchmarks of whole runs share: the images, the sources, and medfuse's own times.

With ``MEDFUSE_DATA`` and ``MEDFUSE_WEIGHTS`` set: brain_mri4 and the two ImageNet MobileNets of
``recipes/brain_mri4.yaml``. Without: generated chest phantoms and the same two networks with random
weights, of which times mean as much, and accuracies nothing.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medfuse.backbones.build import BuiltSource
from medfuse.config import Experiment, load_experiment, parse_experiment
from medfuse.data import Case
from medfuse.features.bank import FeatureBank
from medfuse.registry import load_registry
from medfuse.workflows.extract import ExtractedFeatures, extract, load_networks, with_tables
from medfuse.workflows.learn import LearningTask, learn
from medfuse.workflows.phantoms import write_phantoms
from medfuse.workflows.prepare import PreparedCohort, prepare_cohort
from medfuse.workflows.train import train

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "brain_mri4.yaml"
RANDOM = ("timm:mobilenetv2_035.random", "timm:mobilenetv1_100.random")
PARTS = ("train", "validation", "test")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock, and of all processors, which others on the machine weigh on less."""

    clock: float
    processor: float


@dataclass(frozen=True)
class Times:
    """What medfuse spends, first with nothing banked, then with the bank filled.

    Attributes:
        whole: of two `medfuse.train`, from listing the files to the verified bundle.
        inner: of reading, features and head alone.
        accuracy: of the test cases.
    """

    whole: tuple[Spent, Spent]
    inner: tuple[Spent, Spent]
    accuracy: float


@dataclass(frozen=True)
class Subject:
    """What every contestant gets: the cases of medfuse's split, and the frozen networks."""

    prepared: PreparedCohort
    sources: tuple[BuiltSource, ...]
    features: ExtractedFeatures

    @property
    def classes(self) -> Sequence[str]:
        return self.prepared.cohort.classes

    def cases(self, part: str) -> list[Case]:
        return [case for case in self.prepared.cohort.cases if case.role == part]


def with_real_sets() -> bool:
    """Tell whether real images and weights are named."""
    return {"MEDFUSE_DATA", "MEDFUSE_WEIGHTS"} <= set(os.environ)


def experiment_in(folder: Path, epochs: int, images: int, uses: Sequence[str]) -> Experiment:
    """Return one run without anything optional: one classifier, no graphs, no single sources.

    Args:
        folder: the bank lies there, and generated images.
        epochs: all of them, without early stopping.
        images: to learn from, training and validation; generated ones only.
        uses: the sources, for generated images.
    """
    common: dict[str, Any] = {
        "fusion": {"use": "concat"},
        "training": {"members": 1, "epochs": epochs, "early_stopping": None},
        "evaluation": {"baselines": False},
        "bundle": {"graphs": False},
        "bank": {"path": str(folder / "bank")},
    }
    if with_real_sets():
        data = load_experiment(RECIPE).model_dump(mode="json")
        return parse_experiment({**data, **common})
    write_phantoms(folder / "images", patients_per_class=max(4, round(images / 0.8 / 6)))
    return parse_experiment(
        {
            "name": "speed",
            "cohort": {"path": str(folder / "images"), "group_pattern": r"p(\d+)_"},
            "inputs": {"image": {"intensity": "range", "size": [224, 224], "fit": "stretch"}},
            "sources": [{"use": use} for use in uses],
            **common,
        }
    )


def medfuse_times(experiment: Experiment, folder: Path) -> Times:
    """Return how long medfuse takes, twice with an empty and twice with a filled bank."""
    whole = [timed(lambda n=n: train(experiment, folder / n, progress=False)) for n in "ab"]
    bank = {"path": str(folder / "inner")}
    again = parse_experiment({**experiment.model_dump(mode="json"), "bank": bank})
    inner = [timed(lambda n=n: _inner(again, folder / n)) for n in ("inner-a", "inner-b")]
    metrics = whole[0][0].metrics["test"]["overall"]
    return Times(
        (whole[0][1], whole[1][1]), (inner[0][1], inner[1][1]), metrics["accuracy"]["value"]
    )


def subject_of(experiment: Experiment) -> Subject:
    """Return the cases and features of an experiment, from its bank where they are there."""
    registry, bank = load_registry(), FeatureBank(experiment.bank.path)
    prepared = prepare_cohort(experiment, bank, progress=False)
    read = {name: found.config for name, found in prepared.inputs.items()}
    sources = with_tables(experiment, load_networks(experiment, registry, read), prepared)
    return Subject(prepared, sources, extract(experiment, prepared, sources, bank, progress=False))


def timed(run: Callable[[], Result]) -> tuple[Result, Spent]:
    """Return a result and what it took."""
    start, used = time.perf_counter(), processor()
    result = run()
    return result, Spent(time.perf_counter() - start, processor() - used)


def processor() -> float:
    """Return the seconds of processors that this process and its ended children have used."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in found)


def extrapolated(clock: Sequence[float], processor: float, epochs: int) -> Spent:
    """Return what all epochs take: the first also starts things, the others are alike.

    Args:
        clock: seconds of each measured epoch.
        processor: seconds of processors of all of them.
        epochs: how many there would be.
    """
    later = clock[1:] or clock
    rest = (epochs - len(clock)) * sum(later) / len(later)
    return Spent(sum(clock) + rest, processor * epochs / len(clock))


def machine() -> str:
    """Return how many cores there are, and how busy others keep them."""
    return f"{os.cpu_count()} cores, load of the last minute {os.getloadavg()[0]:.1f}"


def table(peer: str, spent: Spent, times: Times) -> list[str]:
    """Return a table: each of medfuse's times, and how often it fits into a peer's."""
    lines = [
        "| | seconds | ratio | seconds of processors | ratio |\n|---|---|---|---|---|",
        f"| {peer} | {spent.clock:.1f} | 1 | {spent.processor:.1f} | 1 |",
    ]
    names = ("first run, nothing banked", "second run, bank filled")
    for what, found in (("whole run", times.whole), ("features and head", times.inner)):
        for name, own in zip(names, found, strict=True):
            ratio = spent.clock / own.clock, spent.processor / own.processor
            lines.append(
                f"| medfuse, {what}, {name} | {own.clock:.1f} | {ratio[0]:.1f} "
                f"| {own.processor:.1f} | {ratio[1]:.1f} |"
            )
    return lines


def _inner(experiment: Experiment, folder: Path) -> None:
    folder.mkdir()
    subject = subject_of(experiment)
    task = LearningTask(
        experiment, load_registry(), subject.prepared, subject.features, progress=False
    )
    learn(task, experiment.fusion, range(len(subject.sources)), folder)
