"""A run from images to bundle, and the second one."""

from __future__ import annotations

import json
import logging
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

import medfuse
from medfuse.bundle import onnx_model
from medfuse.config import load_experiment
from medfuse.errors import OutputError
from medfuse.evaluation import read_predictions
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import small_experiment


def test_run_folder_holds_everything_that_is_promised(finished_run: TrainingOutcome) -> None:
    folder = finished_run.folder
    for name in ("config.yaml", "cohort.csv", "metrics.json", "predictions.csv", "report.html"):
        assert (folder / name).stat().st_size > 0, name
    for name in ("training_history.png", "confusion_matrix.png", "roc.png"):
        assert (folder / "plots" / name).stat().st_size > 0, name
    assert finished_run.bundle.name == "tiny_classification"
    assert list(folder.glob("**/events.out.tfevents.*")), "TensorBoard"


def test_resolved_configuration_repeats_the_run(finished_run: TrainingOutcome) -> None:
    again = load_experiment(finished_run.folder / "config.yaml")
    assert again.digest() == finished_run.metrics["configuration_digest"]
    text = yaml.safe_load((finished_run.folder / "config.yaml").read_text())
    assert text["training"]["optimizer"] == "adamw"


def test_predictions_cover_all_cases_and_agree_with_the_metrics(
    finished_run: TrainingOutcome,
) -> None:
    rows, classes = read_predictions(finished_run.folder / "predictions.csv")
    assert len(rows) == 60
    assert all(abs(sum(row.probabilities) - 1) < 1e-6 for row in rows)
    assert all(abs(sum(row.shares.values()) - 1) < 1e-5 for row in rows)
    test = [row for row in rows if row.role == "test"]
    accuracy = np.mean([row.label == row.predicted for row in test])
    reported = finished_run.metrics["test"]["overall"]["accuracy"]["value"]
    assert accuracy == pytest.approx(reported)
    assert classes == ("clear", "effusion", "nodule")


def test_patients_are_not_split(finished_run: TrainingOutcome, images: Path) -> None:
    from medfuse.data import read_split

    cohort, _ = read_split(finished_run.folder / "cohort.csv")
    roles: dict[str, set[str | None]] = {}
    for case in cohort.cases:
        roles.setdefault(case.patient_id, set()).add(case.role)
    assert len(roles) == 30
    assert all(len(found) == 1 for found in roles.values())
    names = {file.stem.split("_")[0] for file in images.rglob("*.png")}
    written = (finished_run.folder / "cohort.csv").read_text().splitlines()
    patient_column = written[1].split(",").index("patient_id")
    assert not names & {line.split(",")[patient_column] for line in written[2:]}


@pytest.mark.slow
def test_second_run_computes_no_forward_and_gives_the_same_metrics(
    finished_run: TrainingOutcome,
    images: Path,
    shared_bank: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    experiment = small_experiment(images, bank={"path": str(shared_bank)})
    with caplog.at_level(logging.INFO, logger="medfuse"):
        again = train(experiment, tmp_path / "again", progress=False)
    assert "60 images: 60 known, 0 new; no backbone forward was needed" in caplog.text
    names = [source["use"] for source in experiment["sources"]]
    for line in (
        "training " + " + ".join(names) + " together",
        *(f"training {name} alone, to compare" for name in names),
        *("training the fused model took", "writing the bundle", "the whole run took"),
    ):
        assert line in caplog.text
    assert again.metrics == finished_run.metrics
    first = (finished_run.folder / "predictions.csv").read_bytes()
    assert (again.folder / "predictions.csv").read_bytes() == first


@pytest.mark.slow
def test_other_seed_gives_another_model(
    finished_run: TrainingOutcome, images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    experiment = small_experiment(images, bank={"path": str(shared_bank)}, seed=5)
    experiment |= {"evaluation": {"bootstrap": 0, "baselines": False}, "bundle": {"graphs": False}}
    other = train(experiment, tmp_path / "other", progress=False)
    assert other.metrics["test"]["overall"] != finished_run.metrics["test"]["overall"]
    assert other.metrics["comparison"] is None


def test_finished_run_returns_at_once(
    finished_run: TrainingOutcome, images: Path, shared_bank: Path
) -> None:
    report = finished_run.report.stat().st_mtime_ns
    experiment = small_experiment(images, bank={"path": str(shared_bank)})
    again = train(experiment, finished_run.folder, progress=False)
    assert again.metrics == finished_run.metrics
    assert finished_run.report.stat().st_mtime_ns == report


def test_folder_of_another_configuration_is_refused(
    finished_run: TrainingOutcome, images: Path
) -> None:
    with pytest.raises(OutputError, match="another configuration"):
        train(small_experiment(images, seed=9), finished_run.folder, progress=False)


def test_bundle_predicts_what_was_reported(finished_run: TrainingOutcome, images: Path) -> None:
    rows, classes = read_predictions(finished_run.folder / "predictions.csv")
    by_id = {row.case_id: row for row in rows}
    cohort = (finished_run.folder / "cohort.csv").read_text().splitlines()
    columns = cohort[1].split(",")
    files = {
        line.split(",")[columns.index("case_id")]: line.split(",")[columns.index("image")]
        for line in cohort[2:]
    }
    chosen = list(files)[::7]
    paths = [finished_run.folder / files[case] for case in chosen]
    paths = [p if p.is_file() else images / files[c] for p, c in zip(paths, chosen, strict=True)]
    for case, answer in zip(
        chosen, medfuse.load_bundle(finished_run.bundle).predict(paths), strict=True
    ):
        assert answer.status == "ok"
        found = [answer.probabilities[name] for name in classes]
        assert found == pytest.approx(list(by_id[case].probabilities), abs=1e-5)


def test_nothing_that_names_a_patient_or_a_path_is_in_the_bundle(
    finished_run: TrainingOutcome, images: Path
) -> None:
    words = [str(images).encode(), *(file.stem.encode() for file in images.rglob("*.png"))]
    for file in finished_run.bundle.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not [word for word in words if word in content], file.name


def test_a_source_alone_is_compared_on_the_cases_that_have_its_input(
    run_with_table: TrainingOutcome,
) -> None:
    from medfuse.data import read_split

    cohort, _ = read_split(run_with_table.folder / "cohort.csv")
    test = cohort.part("test")
    having = {name: sum(name in case.inputs for case in test) for name in ("image", "clinic")}
    comparison = run_with_table.metrics["comparison"]
    cases = {row["source"]: row["cases"] for row in comparison["sources"]}
    assert cases == {
        "timm:test_resnet.random": having["image"],
        "tabular:clinic": having["clinic"],
    }
    assert having["image"] < comparison["cases"] == len(test)
    assert "cases it can see" in run_with_table.report.read_text()


def test_metrics_file_is_what_is_returned(finished_run: TrainingOutcome) -> None:
    assert json.loads((finished_run.folder / "metrics.json").read_text()) == finished_run.metrics


def test_output_inside_the_cohort_is_refused(images: Path) -> None:
    with pytest.raises(OutputError, match="inside the cohort"):
        train(small_experiment(images), images / "runs" / "first", progress=False)
    assert not (images / "runs").exists()


@pytest.mark.slow
def test_bundle_that_was_deleted_is_written_again(
    finished_run: TrainingOutcome, images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(finished_run.folder, copy)
    shutil.rmtree(copy / "bundle")
    experiment = small_experiment(images, bank={"path": str(shared_bank)})
    again = train(experiment, copy, progress=False)
    assert again.bundle.is_dir()
    assert again.metrics == finished_run.metrics


def test_class_name_that_a_bundle_cannot_hold_is_refused_before_training(tmp_path: Path) -> None:
    from medfuse.errors import BundleError
    from medfuse.workflows.phantoms import write_phantoms

    cohort = write_phantoms(tmp_path / "images", 3)
    (cohort / "clear").rename(cohort / "background")
    with pytest.raises(BundleError, match="background"):
        train(small_experiment(cohort), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "members").exists()


@pytest.mark.parametrize(
    "fusion",
    [
        "concat",
        "weighted",
        "gated",
        "attention_maps",
        "low_rank",
        "mixture_of_experts",
        "average",
        "stacking",
    ],
)
@pytest.mark.slow
@pytest.mark.long
def test_every_fusion_ends_in_a_bundle_that_agrees_and_needs_no_slow_exporter(
    fusion: str, images: Path, shared_bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = onnx_model._attempt
    monkeypatch.setattr(
        onnx_model, "_attempt", lambda *to, dynamo: "slow" if dynamo else quick(*to, dynamo=False)
    )
    experiment = small_experiment(
        images,
        bank={"path": str(shared_bank)},
        fusion={"use": fusion},
        evaluation={"bootstrap": 0, "baselines": fusion == "attention_maps"},
    )
    outcome = train(experiment, tmp_path / "run", progress=False)
    assert outcome.metrics["bundle"]["difference"] < 1e-5
    can_write = all(find_spec(name) for name in ("onnx", "onnxruntime"))
    assert (outcome.bundle / "models" / "model.onnx").is_file() == can_write


@pytest.mark.parametrize(
    "source",
    [
        {"train": "all"},
        {"train": "last:1"},
        {"unfreeze": {"after": 1, "train": "last:1"}},
        {"train": "from:layer3", "lr_decay": 0.5, "batch_norm": "affine"},
    ],
    ids=["all", "last:1", "head first", "from a stage"],
)
@pytest.mark.slow
def test_sources_that_learn_end_in_a_bundle_that_agrees(
    source: dict[str, object], images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    sources = [{"use": "timm:test_resnet.random", **source}, {"use": "timm:test_convnext.random"}]
    experiment = small_experiment(
        images,
        sources=sources,
        bank={"path": str(shared_bank)},
        evaluation={"bootstrap": 0, "baselines": False},
    )
    outcome = train(experiment, tmp_path / "run", progress=False)
    assert outcome.metrics["training"]["members"] == 1
    assert outcome.metrics["bundle"]["difference"] < 1e-5
