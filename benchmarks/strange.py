"""What a model calls unlike its training cases: a section of docs/results.md.

    MEDFUSE_DATA=... MEDFUSE_WEIGHTS=... python benchmarks/strange.py --out strange.json

A chest model (`cxr_covid3`, fold 0) and a brain model (`brain_mri4`), each with the limits that
`medfuse train` puts into its bundle, see their own test cases, the other sets, and their own test
files changed. Then false alarms on cases that are like the training cases for certain: parts of
these that are drawn at random, again and again, and limits of the rest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from calibration import task_of
from comparison import experiment_of
from PIL import Image, ImageOps
from scipy import stats

from medfuse.config import CohortConfig, Experiment, InputConfig
from medfuse.data import Case, read_cohort
from medfuse.data.readers import installed_readers
from medfuse.evaluation.conformal import patients_needed
from medfuse.evaluation.feature_distance import FeatureDistances
from medfuse.evaluation.feature_statistics import (
    FeatureCases,
    fit_distance,
    held_out_distances,
    with_limits,
)
from medfuse.registry import load_registry
from medfuse.workflows.learn import LearnedModel, LearningTask, learn
from medfuse.workflows.measure import test_rows

MODELS = {"chest model": "cxr_covid3", "brain model": "brain_mri4"}
OTHERS = {
    "chest X-ray": "cxr_covid3",
    "brain MR": "brain_mri4/Testing",
    "chest CT": "ct_covid2",
    "pneumoniamnist": "pneumoniamnist/pneumoniamnist.npz",
}
OWN = {"chest model": "chest X-ray", "brain model": "brain MR"}
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "inverted": ImageOps.invert,
    "turned by 90": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 180": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "a corner": lambda image: image.crop((0, 0, image.width // 2, image.height // 2)),
    "middle half": lambda image: image.crop((
        image.width // 4, image.height // 4, 3 * image.width // 4, 3 * image.height // 4,
    )),
    "darker": lambda image: image.point([value * 6 // 10 for value in range(256)]),
    "mirrored": ImageOps.mirror,
}  # fmt: skip
LEVELS = (0.95, 0.99)


def main() -> None:
    """Measure both models and print what they call strange."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--images", type=int, default=100, help="of each other set, and changed")
    parser.add_argument("--repeats", type=int, default=5, help="random parts of the training cases")
    parser.add_argument("--out", type=Path, default=Path("strange.json"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    results = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
    for name in arguments.models:
        # what is standardized features does not depend on how long fusion and head learn
        changes = [*arguments.set, "training.epochs=1"]
        task = task_of(experiment_of(MODELS[name], [], changes))
        model = learn(task, task.experiment.fusion, range(len(task.features.sources)), None)
        results[name] = {"seen": seen(name, task, model, arguments.images), "alike": {}}
        print(table(name, results[name]), flush=True)
        results[name]["alike"] = alike(task, arguments.repeats)
        arguments.out.write_text(json.dumps(results, indent=2))
        print(table(name, results[name]), flush=True)


def table(name: str, found: dict[str, Any]) -> str:
    """Return Markdown: what lies beyond the limits, and what chance alone allows of like cases."""
    heads = [f"at {level:.0%} (chance allows)" for level in LEVELS]
    lines = [f"| {name} | cases | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    rows = dict(found["seen"])
    for design, drawn in found["alike"].items():
        for number, one in enumerate(drawn, 1):
            rows[f"a random fifth, {design}, {number}"] = one
    for what, row in rows.items():
        cells = []
        for level in LEVELS:
            beyond, (low, high) = row[f"beyond at {level:g}"], row[f"by chance at {level:g}"]
            cells.append(f"{beyond / row['cases']:.3f} ({low} to {high}, found {beyond})")
        lines.append(f"| {what} | {row['cases']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def seen(name: str, task: LearningTask, model: LearnedModel, count: int) -> dict[str, Any]:
    """Return the share of test cases, of other sets and of changed files beyond the limits."""
    cohort = task.prepared.cohort
    tested = test_rows(cohort)
    known = limits(task, model)
    rows: dict[str, Any] = {
        "own test cases": flagged(known, np.concatenate(model.features, axis=1)[tested])
    }
    drawn = np.random.default_rng(0)
    for other, path in OTHERS.items():
        if other != OWN[name]:
            references = listed(task.experiment, path)
            chosen = drawn.choice(len(references), min(count, len(references)), replace=False)
            rows[other] = flagged(known, looked(task, model, [references[i] for i in chosen]))
    some = drawn.choice(tested, min(count, len(tested)), replace=False)
    cases = [cohort.cases[row] for row in some]
    with tempfile.TemporaryDirectory() as folder:
        for what, change in CHANGES.items():
            files = [changed(case, change, Path(folder)) for case in cases]
            rows[what] = flagged(known, looked(task, model, files))
    return rows


def limits(task: LearningTask, model: LearnedModel) -> dict[float, FeatureDistances]:
    """Return the distances as `medfuse train` makes them, with the limits of each level."""
    rows, cases = model.held_out.learned, task.prepared.cohort.cases
    known = FeatureCases(
        [x[rows] for x in model.features], None, [cases[row].patient_id for row in rows]
    )
    sources = [fit_distance(x) for x in known.features]
    distances = held_out_distances(known, seed=task.experiment.seed)
    facts = {"held_out": len(rows)}
    return {
        level: FeatureDistances(with_limits(sources, distances, level, known.patients), facts)
        for level in LEVELS
    }


def flagged(known: dict[float, FeatureDistances], features: np.ndarray) -> dict[str, Any]:
    """Return how many cases are beyond a limit, at each level, and the range that chance allows."""
    found: dict[str, Any] = {"cases": len(features)}
    for level, distances in known.items():
        beyond = int((distances(features) > distances.limits).any(1).sum())
        held_out = int(distances.facts["held_out"])
        found[f"beyond at {level:g}"] = beyond
        found[f"by chance at {level:g}"] = expected(level, held_out, len(features))
    return found


def expected(level: float, held_out: int, cases: int) -> list[int]:
    """Return the central 95 % of how many of new like cases lie beyond a conformal limit.

    The limit is the r-th smallest of n held-out distances, so that the count is beta-binomial.
    """
    if held_out < patients_needed(level):
        return [0, 0]
    rank = int(np.ceil(level * (held_out + 1) - 1e-9))
    low, high = stats.betabinom(cases, held_out + 1 - rank, rank).interval(0.95)
    return [int(low), int(high)]


def listed(experiment: Experiment, path: str) -> list[str]:
    """Return the references of a set's images."""
    data = Path(experiment.cohort.path)
    root = next(p for p in (data, *data.parents) if (p / "cxr_covid3").is_dir())
    endings = installed_readers(load_registry()).endings
    given = read_cohort(CohortConfig(path=str(root / path)), {"image": InputConfig()}, endings)
    return [str(case.inputs["image"]) for case in given.cases]


def looked(task: LearningTask, model: LearnedModel, references: Sequence[str]) -> np.ndarray:
    """Return the features of files, read as the model reads its own."""
    read = next(iter(task.prepared.inputs.values()))
    network: Any = model.network
    found = []
    with torch.inference_mode():
        for start in range(0, len(references), 16):
            images = [read.preprocessing.load(one) for one in references[start : start + 16]]
            batch = torch.stack([torch.from_numpy(np.array(image.pixels)) for image in images])
            found.append(network.features(batch).numpy())
    return np.concatenate(found)


def changed(case: Case, change: Callable[[Image.Image], Image.Image], folder: Path) -> str:
    """Write a changed copy of a case's file and return its path."""
    with Image.open(str(next(iter(case.inputs.values())))) as image:
        file = folder / f"{case.case_id.replace('/', '_')}.png"
        change(image.convert("L")).save(file)
    return str(file)


def alike(task: LearningTask, repeats: int) -> dict[str, Any]:
    """Return false alarms on random fifths of the cases that are not test cases.

    ``images``: each image is drawn by itself, as one without patients is taken. ``blocks``: ten
    neighbors by file name are drawn together, as if they were a patient, for limits as well.
    """
    cohort, drawn = task.prepared.cohort, np.random.default_rng(0)
    rows = np.array([i for i, case in enumerate(cohort.cases) if case.role != "test"])
    names = [str(next(iter(cohort.cases[row].inputs.values()))) for row in rows]
    place = np.argsort(np.argsort(names))
    single, blocks = np.arange(len(rows)), place // 10
    values = [np.asarray(x)[rows, 0] for x in task.features.values if x is not None]
    return {
        name: [alarms(values, groups, int(drawn.integers(1 << 30))) for _ in range(repeats)]
        for name, groups in {"blocks": blocks, "images": single}.items()
    }


def alarms(values: list[np.ndarray], groups: np.ndarray, seed: int) -> dict[str, Any]:
    """Return how many of a random fifth of the groups' cases lie beyond limits of the others."""
    units = np.unique(groups)
    left = np.random.default_rng(seed).permutation(units)[: len(units) // 5]
    new = np.isin(groups, left)
    scaled = [
        (x - x[~new].mean(0)) / np.where(x[~new].std(0) > 1e-6, x[~new].std(0), 1) for x in values
    ]
    known = FeatureCases([x[~new] for x in scaled], None, list(groups[~new]))
    sources = [fit_distance(x) for x in known.features]
    distances = held_out_distances(known, seed=seed)
    found: dict[str, Any] = {"cases": int(new.sum())}
    told = np.stack([s(x[new]) for s, x in zip(sources, scaled, strict=True)], axis=1)
    for level in LEVELS:
        limited = with_limits(sources, distances, level, known.patients)
        limits = np.array([source.limit for source in limited])
        found[f"beyond at {level:g}"] = int((told > limits).any(1).sum())
        held_out = len(np.unique(groups[~new]))
        found[f"by chance at {level:g}"] = expected(level, held_out, int(new.sum()))
    return found


if __name__ == "__main__":
    main()
