"""Grading from images to the bundle: the order of the grades, their metrics, parity."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from medfuse.config import parse_experiment
from medfuse.data import Case, Cohort
from medfuse.errors import ConfigError
from medfuse.registry import load_registry
from medfuse.workflows.evaluate import evaluate
from medfuse.workflows.preflight import check_with_cohort
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import small_experiment
from .graded import GRADES, write_graded


@pytest.fixture(scope="module")
def graded_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graded(tmp_path_factory.mktemp("graded"), 8)


@pytest.fixture(scope="module", params=[("coral", "attention"), ("corn", "average")])
def run(
    request: pytest.FixtureRequest,
    graded_images: Path,
    shared_bank: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> TrainingOutcome:
    head, fusion = request.param
    experiment = small_experiment(
        graded_images,
        cohort={"path": str(graded_images), "classes": list(GRADES), "split": {"test": 0.3}},
        fusion={"use": fusion},
        head={"use": head, "hidden": 8},
        bank={"path": str(shared_bank)},
        evaluation={"bootstrap": 20, "baselines": False},
    )
    return train(experiment, tmp_path_factory.mktemp(head) / "run", progress=False)


@pytest.mark.slow
def test_a_graded_run_ends_in_a_bundle_that_agrees(run: TrainingOutcome) -> None:
    assert run.metrics["bundle"]["difference"] < 1e-5
    metadata = json.loads((run.bundle / "configs" / "metadata.json").read_text())
    assert metadata["medfuse"]["details"]["task"] == "ordinal"
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert tuple(channels.values()) == GRADES


@pytest.mark.slow
def test_a_graded_run_and_its_bundle_are_measured_by_grades(
    run: TrainingOutcome, tmp_path: Path
) -> None:
    own = run.metrics["test"]["overall"]
    cohort = run.folder / "cohort.csv"
    again = evaluate(run.bundle, cohort, tmp_path / "out", part="test").metrics["overall"]
    for name in ("mean_absolute_error", "quadratic_kappa"):
        assert own[name]["low"] is not None
        assert again[name]["value"] == pytest.approx(own[name]["value"])
    assert "mean absolute error in grades" in run.report.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_loss_of_a_graded_run_is_written_out(run: TrainingOutcome) -> None:
    from medfuse.config import load_experiment

    written = load_experiment(run.folder / "config.yaml")
    expected = {"coral": "coral", "corn": "cross_entropy"}
    assert written.training.loss == expected[written.head.use]


def _check(classes: tuple[str, ...], named: bool, head: str = "coral") -> None:
    experiment = parse_experiment({
        "cohort": {"path": "images", "classes": list(classes) if named else None},
        "sources": ["timm:test_resnet.random"],
        "head": head,
    })  # fmt: skip
    cases = tuple(
        Case(case_id=f"c{i}", patient_id=f"p{i}", inputs={}, label=i % len(classes))
        for i in range(8 * len(classes))
    )
    check_with_cohort(experiment, load_registry(), Cohort(cases, classes, Path()))


def test_grades_sorted_by_name_are_refused() -> None:
    message = r"order of the classes \(mild, none, severe\)\. Name them in cohort\.classes"
    with pytest.raises(ConfigError, match=message):
        _check(("mild", "none", "severe"), named=False)


def test_grades_that_are_named_are_taken_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="medfuse"):
        _check(("none", "mild", "severe"), named=True)
    assert "grades, the lowest first: none < mild < severe" in caplog.text


def test_ascending_numbers_are_grades_and_other_orders_of_them_are_not() -> None:
    _check(("0", "2", "10"), named=False)
    with pytest.raises(ConfigError, match="nothing tells the order"):
        _check(("10", "0", "2"), named=False)


def test_classes_without_order_need_no_names() -> None:
    _check(("mild", "none", "severe"), named=False, head="mlp")
