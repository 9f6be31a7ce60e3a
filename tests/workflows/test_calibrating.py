"""Calibration from the configuration through the run into its bundle."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import yaml

from medfuse.bundle.verify import verify_bundle
from medfuse.config import parse_experiment
from medfuse.data import Case, Cohort
from medfuse.errors import ConfigError
from medfuse.registry import load_registry
from medfuse.serving.predict import load_bundle
from medfuse.training.calibration import HeldOutLogits, calibrate
from medfuse.workflows.calibrating import fit_calibration, held_out_probabilities
from medfuse.workflows.preflight import check_with_cohort
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import small_experiment

pytestmark = pytest.mark.slow


def run(images: Path, bank: Path, out: Path, method: str) -> TrainingOutcome:
    experiment = small_experiment(
        images,
        bank={"path": str(bank)},
        training={"epochs": 1, "members": 2},
        evaluation={"bootstrap": 0, "baselines": False, "calibrate": method},
    )
    return train(experiment, out / "run", progress=False)


@pytest.fixture(scope="module")
def isotonic(
    images: Path, shared_bank: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainingOutcome:
    return run(images, shared_bank, tmp_path_factory.mktemp("isotonic"), "isotonic")


def block_of(outcome: TrainingOutcome) -> dict:
    return json.loads((outcome.bundle / "configs" / "metadata.json").read_text())["medfuse"]


def test_the_bundle_calibrates_in_every_format_as_the_run_did(isotonic: TrainingOutcome) -> None:
    assert isotonic.metrics["training"]["calibration"] == {"method": "isotonic"}
    assert isotonic.metrics["training"]["temperature"] == 1
    assert isotonic.metrics["bundle"]["difference"] < 1e-4
    block = block_of(isotonic)
    assert block["details"]["calibration"] == {"method": "isotonic"}
    assert set(block["parity"]) == {"torchscript", "onnx", "rebuilt"}
    assert "isotonic" in (isotonic.bundle / "docs" / "README.md").read_text()
    assert "isotonic, from held-out folds" in isotonic.report.read_text()
    network = load_bundle(isotonic.bundle, "cpu").network
    assert type(network.calibration).__module__ == "scripts.calibration_isotonic"


def test_a_bundle_holds_a_linear_map_too(images: Path, shared_bank: Path, tmp_path: Path) -> None:
    outcome = run(images, shared_bank, tmp_path, "dirichlet")
    assert outcome.metrics["bundle"]["difference"] < 1e-4
    assert set(block_of(outcome)["parity"]) == {"torchscript", "onnx", "rebuilt"}
    network = load_bundle(outcome.bundle, "cpu").network
    assert type(network.calibration).__module__ == "scripts.calibration_dirichlet"


def test_a_bundle_with_a_map_passes_every_check(isotonic: TrainingOutcome) -> None:
    report = verify_bundle(isotonic.bundle)
    assert [check for check in report.checks if check.status == "failed"] == []
    assert "model.onnx" in {c.name: c.detail for c in report.checks}["agreement"]


def test_the_resolved_configuration_names_what_auto_chose(
    images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    outcome = run(images, shared_bank, tmp_path, "auto")
    found = outcome.metrics["training"]["calibration"]
    assert (found["asked"], found["method"]) == ("auto", "temperature")
    assert found["left_out"]["dirichlet"].endswith("held-out patients, 200 are needed")
    resolved = outcome.folder / "config.yaml"
    assert yaml.safe_load(resolved.read_text())["evaluation"]["calibrate"] == "temperature"
    written = outcome.report.stat().st_mtime_ns
    again = train(resolved, outcome.folder, progress=False)
    assert run(images, shared_bank, tmp_path, "auto").report == again.report
    assert again.report.stat().st_mtime_ns == written


def drawn(patients: int) -> HeldOutLogits:
    numbers = np.random.default_rng(0)
    logits = numbers.normal(size=(patients, 2)) * 3
    return HeldOutLogits(logits, numbers.integers(0, 2, patients), np.arange(patients))


def test_a_map_fitted_on_few_patients_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert fit_calibration(drawn(40), "dirichlet").method == "dirichlet"
    assert "only 40 patients were held out; below 200" in caplog.text


def test_held_out_cases_of_a_map_are_calibrated_by_others_those_of_a_temperature_as_they_are() -> (
    None
):
    cases = drawn(100)
    for method, same in (("temperature", True), ("isotonic", False)):
        calibration = calibrate(cases, method)
        told = held_out_probabilities(cases, calibration)
        logits = calibration(cases.logits)
        plain = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        assert np.allclose(told, plain) is same


@pytest.mark.parametrize("method", ["dirichlet", "isotonic"])
def test_maps_of_classes_are_refused_for_several_labels(method: str) -> None:
    cases = tuple(
        Case(str(i), {"image": "x"}, None, str(i), findings=(i % 2, 1 - i % 2)) for i in range(60)
    )
    cohort = Cohort(cases, ("edema", "effusion"), Path("labels.csv"), multilabel=True)
    experiment = parse_experiment(
        {"cohort": {"path": "labels.csv"}, "sources": ["mini:resnet"], "head": "multilabel",
         "evaluation": {"calibrate": method}}
    )  # fmt: skip
    with pytest.raises(ConfigError, match=f"evaluation.calibrate: {method} is of classes that"):
        check_with_cohort(experiment, load_registry(), cohort)
