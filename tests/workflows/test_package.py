"""A bundle has its name only after it gave the probabilities that were reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medfuse.errors import BundleError
from medfuse.training import calibration
from medfuse.workflows import package
from medfuse.workflows.train import train

from .conftest import small_experiment


class Shifted:
    """A predictor whose first probability is off."""

    def __init__(self, predictor: Any, by: float) -> None:
        self._predictor, self._by, self.classes = predictor, by, predictor.classes

    def predict(self, items: list[Any]) -> list[Any]:
        first, *rest = self._predictor.predict(items)
        name = self.classes[0]
        moved = {**first.probabilities, name: first.probabilities[name] + self._by}
        return [replace(first, probabilities=moved), *rest]


def shifting(by: float) -> Callable[..., Shifted]:
    load = package.load_bundle
    return lambda *arguments: Shifted(load(*arguments), by)


@pytest.mark.slow
def test_bundle_that_predicts_something_else_is_not_left_behind(
    images: Path, shared_bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = small_experiment(
        images,
        bundle={"graphs": False},
        bank={"path": str(shared_bank)},
        training={"epochs": 1, "members": 1, "device": "cpu"},
        evaluation={"bootstrap": 0, "baselines": False, "calibrate": "none"},
    )
    with monkeypatch.context() as patched:
        patched.setattr(package, "load_bundle", shifting(1.5e-5))
        with pytest.raises(BundleError, match=r"up to 1\.[45]e-05, expected below 1e-05"):
            train(experiment, tmp_path / "run", progress=False)
    assert list((tmp_path / "run" / "bundle").iterdir()) == []
    run = train(experiment, tmp_path / "run", progress=False)
    assert run.bundle.is_dir()
    assert run.metrics["bundle"]["difference"] < 1e-5


@pytest.mark.slow
def test_rounding_that_a_low_temperature_enlarges_is_no_other_prediction(
    images: Path, shared_bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "fit_temperature", lambda *_: 0.05)
    monkeypatch.setattr(package, "load_bundle", shifting(1e-4))
    experiment = small_experiment(
        images,
        bundle={"graphs": False},
        bank={"path": str(shared_bank)},
        training={"epochs": 1, "members": 1, "device": "cpu"},
        evaluation={"bootstrap": 0, "baselines": False},
    )
    run = train(experiment, tmp_path / "run", progress=False)
    assert run.metrics["training"]["temperature"] == pytest.approx(0.05)
    assert 5e-5 < run.metrics["bundle"]["difference"] < 2e-4
