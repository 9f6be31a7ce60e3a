"""The bundles in ``bundles/``: whole, small, and giving what they gave when they were made."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medfuse.bundle.digests import check_digests
from medfuse.bundle.verify import verify_bundle
from medfuse.serving.predict import load_bundle

NAMES = ("chest-xray", "brain-mr", "chest-ct")
LARGEST = 10_000_000


@pytest.fixture(params=NAMES)
def shipped(request: pytest.FixtureRequest, repository: Path) -> Path:
    return repository / "bundles" / f"{request.param}_classification"


def test_nothing_else_ships(repository: Path) -> None:
    found = {path.name for path in (repository / "bundles").iterdir() if path.is_dir()}
    assert found - {"__pycache__"} == {f"{name}_classification" for name in NAMES}


def test_it_is_small_and_as_it_was_made(shipped: Path) -> None:
    check_digests(shipped)
    assert sum(path.stat().st_size for path in shipped.rglob("*") if path.is_file()) <= LARGEST


def test_its_card_says_where_it_comes_from_and_how_good_it_is(shipped: Path) -> None:
    card = (shipped / "docs" / "README.md").read_text(encoding="utf-8")
    document = json.loads((shipped / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert "offered for research alone" in card
    assert "CC-BY-NC-4.0" in card
    assert any("MedMNIST" not in reference for reference in document["references"])
    assert "auroc_macro" in document["eval_metrics"]
    assert json.loads((shipped / "configs" / "inference.json").read_text())["abstention"]


def test_its_examples_get_the_answers_of_before(shipped: Path) -> None:
    with (shipped / "examples" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    images = sorted((shipped / "examples" / "images").iterdir())
    predictor = load_bundle(shipped, "cpu")
    found = predictor.predict(images)
    assert [Path(row["case"]).name for row in rows] == [image.name for image in images]
    for row, prediction in zip(rows, found, strict=True):
        assert (row["status"], row["reason_code"]) == (prediction.status, prediction.reason_code)
        for name in predictor.classes:
            expected = float(row[f"prob_{name}"])
            assert prediction.probabilities[name] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_it_passes_every_check_without_medfuse(shipped: Path, repository: Path) -> None:
    schema = repository.parent / "shared" / "schema" / "meta_schema_20240725.json"
    report = verify_bundle(shipped, schema if schema.is_file() else None)
    assert [check for check in report.checks if check.status == "failed"] == []
