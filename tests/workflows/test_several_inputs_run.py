"""CT, X-ray and age, a third of it missing: trained, reported by pattern, predicted, measured."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medfuse.cli.main import run as command
from medfuse.serving.predict import load_bundle
from medfuse.workflows.explain import ExplainOptions, explain
from medfuse.workflows.phantom_volumes import CLASSES, write_cases
from medfuse.workflows.train import TrainingOutcome, train

pytestmark = pytest.mark.slow

COLUMNS = {"ct": ("ct",), "xray": ("xray",), "clinic": ("age", "sex")}


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("cases"), patients_per_class=20)


@pytest.fixture(scope="module")
def several_run(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingOutcome:
    experiment = {
        "name": "three",
        "cohort": {"path": str(cohort), "split": {"test": 0.4}},
        "inputs": {
            "ct": {"kind": "volume", "modality": "CT", "size": [24, 24, 12], "windows": ["brain"]},
            "xray": {"modality": "XR", "size": [48, 48]},
            "clinic": {"kind": "tabular", "columns": {"age": "number", "sex": "category"}},
        },
        "augmentation": {"views": 1},
        "sources": [
            {"use": "mini:resnet.random", "input": "ct"},
            {"use": "timm:test_resnet.random", "input": "xray"},
            {"use": "tabular", "input": "clinic"},
        ],
        "training": {"epochs": 3, "members": 1},
        "evaluation": {"bootstrap": 10},
    }
    return train(experiment, tmp_path_factory.mktemp("run") / "run", progress=False)


@pytest.fixture(scope="module")
def patterns(cohort: Path, several_run: TrainingOutcome) -> dict[str, int]:
    """Test cases by the inputs that their row of the table fills."""
    tested = {
        row["case_id"]
        for row in rows_of(several_run.folder / "predictions.csv")
        if row["role"] == "test"
    }
    found = Counter(
        " + ".join(name for name, cells in COLUMNS.items() if any(row[c] for c in cells))
        for row in rows_of(cohort)
        if row["case_id"] in tested
    )
    return dict(found)


def test_a_third_is_missing_and_the_metrics_list_each_pattern_with_its_cases(
    several_run: TrainingOutcome, cohort: Path, patterns: dict[str, int]
) -> None:
    rows = rows_of(cohort)
    missing = sum(not row[cells[0]] for row in rows for cells in COLUMNS.values())
    assert 0.2 < missing / (3 * len(rows)) < 0.4
    found = several_run.metrics["test"]["groups"]["inputs"]
    assert {name: group["cases"] for name, group in found.items()} == patterns
    assert len(patterns) >= 4


def test_the_report_lists_each_pattern_with_its_cases(
    several_run: TrainingOutcome, patterns: dict[str, int]
) -> None:
    page = (several_run.folder / "report.html").read_text()
    table = page.split('aria-label="By the inputs that a case has')[1].split("</table>")[0]
    rows = re.findall(r'<th scope="row">([^<]*)</th>\s*<td>(\d+)</td>', table)
    assert {name: int(count) for name, count in rows} == patterns


def test_the_bundle_gives_every_case_its_reported_probabilities_whatever_it_lacks(
    several_run: TrainingOutcome, cohort: Path
) -> None:
    predictor = load_bundle(several_run.bundle)
    reported = {r["case_id"]: r for r in rows_of(several_run.folder / "predictions.csv")}
    cases = []
    for row in rows_of(cohort):
        clinic = {name: row[name] for name in COLUMNS["clinic"] if row[name]}
        files = {name: str(cohort.parent / row[name]) for name in ("ct", "xray") if row[name]}
        cases.append({"case_id": row["case_id"], **files, **({"clinic": clinic} if clinic else {})})
    assert sum(len(case) < 4 for case in cases) > 10
    for prediction in predictor.predict(cases):
        assert prediction.status == "ok"
        row = reported[prediction.case]
        expected = [float(row[f"prob_{name}"]) for name in CLASSES]
        found = [prediction.probabilities[name] for name in CLASSES]
        assert found == pytest.approx(expected, abs=1e-5)


def test_what_a_case_lacks_is_named_and_changes_its_answer(
    several_run: TrainingOutcome, cohort: Path
) -> None:
    row = next(r for r in rows_of(cohort) if r["ct"] and r["xray"] and r["age"])
    whole = {"ct": str(cohort.parent / row["ct"]), "xray": str(cohort.parent / row["xray"])}
    whole["clinic"] = {"age": row["age"], "sex": row["sex"]}
    lacking = {name: value for name, value in whole.items() if name != "ct"}
    one, other = load_bundle(several_run.bundle).predict([whole, lacking])
    assert (one.status, other.status) == ("ok", "ok")
    assert (set(one.inputs), set(other.inputs)) == ({"ct", "xray", "clinic"}, {"xray", "clinic"})
    assert dict(one.probabilities) != pytest.approx(dict(other.probabilities), abs=1e-6)


def test_evaluate_measures_the_bundle_as_the_run_did(
    several_run: TrainingOutcome, tmp_path: Path
) -> None:
    arguments = [str(several_run.bundle), str(several_run.folder / "cohort.csv"), "--part", "test"]
    assert command(["evaluate", *arguments, "--out", str(tmp_path / "e"), "--bootstrap", "0"]) == 0
    found = json.loads((tmp_path / "e" / "metrics.json").read_text())
    expected = several_run.metrics["test"]
    assert (found["refused"], found["cases"]) == (0, expected["cases"])
    for name in ("accuracy", "auroc_macro", "brier"):
        value = expected["overall"][name]["value"]
        assert found["overall"][name]["value"] == pytest.approx(value, abs=1e-5)
    counts = {name: group["cases"] for name, group in found["groups"]["inputs"].items()}
    assert counts == {n: group["cases"] for n, group in expected["groups"]["inputs"].items()}


def test_each_case_is_explained_by_the_inputs_that_it_has_each_on_the_grid_of_its_file(
    cohort: Path, several_run: TrainingOutcome, tmp_path: Path
) -> None:
    outcome = explain(several_run.folder, out=tmp_path, options=ExplainOptions(progress=False))
    given = {row["case_id"]: row for row in rows_of(cohort)}
    seen = Counter()
    for record in outcome.summary["cases"]:
        row = given[record["case"]]
        assert {one["input"] for one in record["maps"]} == {n for n in ("ct", "xray") if row[n]}
        assert len(record["effects"]) == 3
        for found in (tmp_path / "cases").glob(f"{record['key']}-ct-*.nii.gz"):
            saliency, volume = nibabel.load(found), nibabel.load(cohort.parent / row["ct"])
            assert np.allclose(saliency.affine, volume.affine)
            assert saliency.shape == volume.shape
            seen["volumes"] += 1
        seen["images"] += len(list((tmp_path / "cases").glob(f"{record['key']}-xray-*-timm*.png")))
    assert min(seen["volumes"], seen["images"]) > 3
