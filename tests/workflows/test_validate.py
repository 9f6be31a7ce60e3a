"""Each site held out in turn, from one bank: pooled, by site, resumed, and what cannot be."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medfuse.data import read_split
from medfuse.errors import CohortError, OutputError
from medfuse.evaluation import read_predictions
from medfuse.workflows.validate import ValidationOutcome, validate

pytestmark = pytest.mark.slow
SITES = ("north", "=east", "alone")


def experiment(images: Path, folder: Path, bank: Path) -> dict[str, Any]:
    """Two sites that can be held out, and one without which a class is lost."""
    rows = ["image,label,patient_id,site"]
    for file in sorted(images.rglob("*.png")):
        patient, label = file.stem.split("_")[0], file.parent.name
        site = "alone" if label == "nodule" else SITES[int(patient[1:]) % 2]
        rows.append(f"{file},{label},{patient},{site}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return {
        "name": "sites",
        "cohort": {"path": str(folder / "cases.csv")},
        "inputs": {"image": {"modality": "XR", "size": [48, 48]}},
        "sources": ["timm:test_resnet.random"],
        "training": {"epochs": 2, "members": 2},
        "evaluation": {"bootstrap": 20, "baselines": False},
        "bank": {"path": str(bank)},
    }


@pytest.fixture(scope="module")
def given(images: Path, shared_bank: Path, tmp_path_factory: pytest.TempPathFactory):
    return experiment(images, tmp_path_factory.mktemp("sites"), shared_bank)


@pytest.fixture(scope="module")
def outcome(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> ValidationOutcome:
    return validate(given, tmp_path_factory.mktemp("validation") / "out", progress=False)


def test_every_case_is_measured_by_a_model_that_has_not_seen_its_site(
    outcome: ValidationOutcome,
) -> None:
    for folder in (outcome.folder / "sites").iterdir():
        if (folder / "cohort.csv").is_file():
            cohort, _ = read_split(folder / "cohort.csv")
            tested = {case.site for case in cohort.cases if case.role == "test"}
            assert len(tested) == 1
            assert not tested & {c.site for c in cohort.cases if c.role != "test"}


def test_a_site_that_cannot_be_held_out_is_named_and_the_others_go_on(
    outcome: ValidationOutcome,
) -> None:
    assert list(outcome.failed) == ["alone"]
    assert "nodule" in outcome.failed["alone"]
    assert list(outcome.metrics["sites"]) == ["=east", "north"]
    page = (outcome.folder / "report.html").read_text(encoding="utf-8")
    assert "Site alone could not be held out" in page
    assert "No site has cases of every class" in page


def test_the_pooled_metrics_are_those_of_the_pooled_predictions(
    outcome: ValidationOutcome,
) -> None:
    rows, classes = read_predictions(outcome.folder / "predictions.csv")
    labels = np.array([classes.index(row.label) for row in rows])
    chances = np.array([row.probabilities for row in rows])
    assert len({row.case_id for row in rows}) == len(rows) == 40
    pooled = outcome.metrics["pooled"]
    accuracy = float((chances.argmax(1) == labels).mean())
    assert pooled["overall"]["accuracy"]["value"] == pytest.approx(accuracy)
    first = classes[0]
    area = roc_auc_score(labels == 0, chances[:, 0])
    assert pooled["per_class"][first]["auroc"]["value"] == pytest.approx(area)
    assert pooled["groups"]["site"]["north"]["cases"] == 20


def test_the_table_has_a_row_for_each_site_and_guards_formulas(
    outcome: ValidationOutcome,
) -> None:
    with (outcome.folder / "sites.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["site"] for row in rows] == ["'=east", "north", "(all)"]
    assert [row["cases"] for row in rows] == ["20", "20", "40"]
    assert [row["learned_from"] for row in rows] == ["40", "40", ""]


def test_finished_sites_are_not_trained_again(
    outcome: ValidationOutcome, given: dict[str, Any]
) -> None:
    runs = sorted((outcome.folder / "sites").glob("*/metrics.json"))
    before = [file.stat().st_mtime_ns for file in runs]
    again = validate(given, outcome.folder, progress=False)
    assert [file.stat().st_mtime_ns for file in runs] == before
    assert again.metrics == outcome.metrics


def test_one_site_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    text = Path(given["cohort"]["path"]).read_text()
    for site in SITES:
        text = text.replace(f",{site}\n", ",north\n")
    (tmp_path / "cases.csv").write_text(text)
    one = {**given, "cohort": {"path": str(tmp_path / "cases.csv")}}
    with pytest.raises(CohortError, match=r"found 1 site \(north\), expected two or more"):
        validate(one, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty and not a medfuse validation"):
        validate(given, tmp_path)
