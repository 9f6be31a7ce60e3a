"""A 3D run, end to end: a 3D network and a sliced 2D network, NIfTI and DICOM, its bundle."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medfuse.cli.main import run as command
from medfuse.serving.predict import load_bundle
from medfuse.workflows.phantom_volumes import CLASSES, head_volume, write_nifti
from medfuse.workflows.train import TrainingOutcome, train

from .heads import write_dicom, write_heads

pytestmark = pytest.mark.slow

VENDOR = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom"


@pytest.fixture(scope="module")
def cohort(synthetic: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    vendor = VENDOR if VENDOR.is_dir() else None
    return write_heads(tmp_path_factory.mktemp("heads"), synthetic, vendor)


@pytest.fixture(scope="module")
def volume_run(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingOutcome:
    experiment = {
        "name": "heads",
        "cohort": {"path": str(cohort)},
        "inputs": {
            "image": {
                "kind": "volume", "modality": "CT", "size": [32, 32, 16], "windows": ["brain"],
            }
        },
        "augmentation": {"views": 1},
        "sources": ["monai:resnet10_3d.random", "mini:resnet.random"],
        "training": {"epochs": 2, "members": 1},
        "evaluation": {"bootstrap": 10},
    }  # fmt: skip
    return train(experiment, tmp_path_factory.mktemp("run") / "run", progress=False)


@pytest.fixture(scope="module")
def reported(volume_run: TrainingOutcome) -> dict[str, dict[str, str]]:
    """Rows of the run's ``predictions.csv`` by case."""
    with (volume_run.folder / "predictions.csv").open() as file:
        return {row["case_id"]: row for row in csv.DictReader(file)}


def chances(row: dict[str, str]) -> list[float]:
    return [float(row[f"prob_{name}"]) for name in CLASSES]


def test_both_kinds_of_source_take_part(volume_run: TrainingOutcome) -> None:
    document = json.loads((volume_run.bundle / "configs" / "metadata.json").read_text())
    sources = [source["label"] for source in document["medfuse"]["sources"]]
    assert [label.partition(":")[0] for label in sources] == ["monai", "mini"]
    assert document["network_data_format"]["inputs"]["image"]["spatial_shape"] == [32, 32, 16]
    assert (volume_run.folder / "slice_weights.csv").is_file()
    assert volume_run.metrics["test"]["cases"] >= 4


def test_the_bundle_gives_a_dicom_folder_the_reported_probabilities(
    volume_run: TrainingOutcome, cohort: Path, reported: dict[str, dict[str, str]]
) -> None:
    folders = sorted(path for path in (cohort.parent / "scans").iterdir() if path.is_dir())
    assert len(folders) >= 8
    found = load_bundle(volume_run.bundle).predict(folders)
    assert {prediction.status for prediction in found} == {"ok"}
    for folder, prediction in zip(folders, found, strict=True):
        mine = [prediction.probabilities[name] for name in CLASSES]
        assert mine == pytest.approx(chances(reported[folder.name]), abs=1e-5)


def test_series_of_vendors_are_learned_from_and_tested_on(
    shared_data: Path, volume_run: TrainingOutcome, reported: dict[str, dict[str, str]]
) -> None:
    assert shared_data.is_dir()
    assert [reported[name]["role"] for name in ("philips", "ge")] == ["train", "test"]
    events = volume_run.metrics["events"]
    assert events["GANTRY_TILT"] == 1
    assert (events["LOCALIZER"], events["SECONDARY_CAPTURE"]) == (1, 6)


@pytest.fixture
def _no_scripts_in_the_way() -> Iterator[None]:
    yield
    sys.path[:] = [path for path in sys.path if not path.endswith("_classification")]


@pytest.mark.usefixtures("_no_scripts_in_the_way")
def test_monai_gives_a_tree_of_dicom_series_the_reported_probabilities(
    volume_run: TrainingOutcome,
    cohort: Path,
    reported: dict[str, dict[str, str]],
    tmp_path: Path,
) -> None:
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=str(volume_run.bundle / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(volume_run.bundle),
        dataset_dir=str(cohort.parent / "scans"),
        output_dir=str(tmp_path),
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    with (tmp_path / "predictions.csv").open() as file:
        rows = {row["image"].removesuffix(".nii.gz"): row for row in csv.DictReader(file)}
    named = {name.replace("philips/S2010", "philips"): row for name, row in rows.items()}
    assert set(named) == set(reported)
    for name, row in named.items():
        assert chances(row) == pytest.approx(chances(reported[name]), abs=1e-5)


def test_the_same_head_as_nifti_and_as_dicom_gets_the_same_answer(
    volume_run: TrainingOutcome, synthetic: ModuleType, tmp_path: Path
) -> None:
    head = head_volume(True, np.random.default_rng(99))
    write_nifti(head, tmp_path / "head.nii.gz")
    write_dicom(head, tmp_path / "head", synthetic)
    files = [tmp_path / "head.nii.gz", tmp_path / "head"]
    one, other = load_bundle(volume_run.bundle).predict(files)
    assert (one.status, other.status) == ("ok", "ok")
    assert dict(one.probabilities) == pytest.approx(dict(other.probabilities), abs=1e-4)


def test_evaluate_measures_the_bundle_as_the_run_did(
    volume_run: TrainingOutcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(volume_run.bundle), str(volume_run.folder / "cohort.csv"), "--part", "test"]
    assert command(["evaluate", *arguments, "--out", str(tmp_path / "e"), "--bootstrap", "0"]) == 0
    assert "accuracy" in capsys.readouterr().out
    found = json.loads((tmp_path / "e" / "metrics.json").read_text())
    expected = volume_run.metrics["test"]
    assert (found["refused"], found["cases"]) == (0, expected["cases"])
    for name in ("accuracy", "auroc_macro", "brier"):
        value = expected["overall"][name]["value"]
        assert found["overall"][name]["value"] == pytest.approx(value, abs=1e-5)
