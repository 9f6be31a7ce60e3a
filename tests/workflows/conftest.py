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
