"""One small finished run, shared by the tests that only look at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medfuse.workflows.phantoms import write_phantoms
from medfuse.workflows.train import TrainingOutcome, train


def small_experiment(images: Path, **changes: Any) -> dict[str, Any]:
    """Two tiny untrained networks on small images: quick, and everything takes part."""
    return {
        "name": "tiny",
        "cohort": {"path": str(images), "group_pattern": r"p(\d+)_"},
        "inputs": {"image": {"modality": "XR", "size": [48, 48]}},
        "augmentation": {"views": 1},
        "sources": [{"use": "timm:test_resnet.random"}, {"use": "timm:test_convnext.random"}],
        "training": {"epochs": 2, "members": 2},
        "evaluation": {"bootstrap": 50},
        **changes,
    }


def table_of(images: Path, file: Path, *, blank: int = 3) -> Path:
    """Write a table of images, age and sex; every ``blank``-th case lacks each input in turn."""
    rows = ["case_id,label,patient_id,image,age,sex"]
    for number, image in enumerate(sorted(images.rglob("*.png"))):
        label, patient = image.parent.name, image.stem.split("_")[0]
        cells = [str(image), str(40 + number % 7), "FM"[number % 2]]
        if number % (2 * blank) == 0:
            cells[0] = ""
        elif number % (2 * blank) == blank:
            cells[1:] = ["", ""]
        rows.append(",".join([f"c{number}", label, patient, *cells]))
    file.write_text("\n".join(rows) + "\n")
    return file


def experiment_with_table(table: Path, **changes: Any) -> dict[str, Any]:
    """An image and a table of two columns, a third of it missing."""
    clinic = {"kind": "tabular", "columns": {"age": "number", "sex": "category"}}
    return {
        "name": "several",
        "cohort": {"path": str(table)},
        "inputs": {"image": {"size": [48, 48]}, "clinic": clinic},
        "sources": ["timm:test_resnet.random", {"use": "tabular", "input": "clinic"}],
        "training": {"epochs": 2, "members": 2},
        "evaluation": {"bootstrap": 20, "minimum_cases": 3, "subgroups": ["sex", "age:43"]},
        **changes,
    }


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of generated images: 3 classes, 10 patients each, 2 images a patient."""
    return write_phantoms(tmp_path_factory.mktemp("phantoms"), patients_per_class=10)


@pytest.fixture(scope="session")
def shared_bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bank that several runs use, so that features are computed once."""
    return tmp_path_factory.mktemp("bank")


@pytest.fixture(scope="session")
def finished_run(
    images: Path, shared_bank: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainingOutcome:
    """A finished run of `small_experiment`."""
    experiment = small_experiment(images, bank={"path": str(shared_bank)})
    return train(experiment, tmp_path_factory.mktemp("runs") / "run", progress=False)


@pytest.fixture(scope="session")
def run_with_table(images: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingOutcome:
    """A finished run of `experiment_with_table`."""
    folder = tmp_path_factory.mktemp("several")
    experiment = experiment_with_table(table_of(images, folder / "cases.csv"))
    return train(experiment, folder / "run", progress=False)
