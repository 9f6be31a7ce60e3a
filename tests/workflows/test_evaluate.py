"""A bundle measured on labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medfuse.config import EvaluationConfig
from medfuse.errors import CohortError, OutputError
from medfuse.serving.cases import NamedCase
from medfuse.serving.predict import Predictor
from medfuse.workflows.evaluate import evaluate
from medfuse.workflows.train import TrainingOutcome

QUICK = EvaluationConfig(bootstrap=20)


@pytest.mark.slow
def test_bundle_on_the_test_part_gives_the_reported_metrics(
    finished_run: TrainingOutcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort, read = finished_run.folder / "cohort.csv", list[str]()
    canonical = Predictor._canonical

    def count(predictor: Predictor, case: NamedCase) -> Any:
        read.append(case.name)
        return canonical(predictor, case)

    monkeypatch.setattr(Predictor, "_canonical", count)
    found = evaluate(finished_run.bundle, cohort, tmp_path / "out", part="test", settings=QUICK)
    reported = finished_run.metrics["test"]["overall"]
    for name in ("accuracy", "auroc_macro", "brier"):
        expected = pytest.approx(reported[name]["value"], abs=1e-5)
        assert found.metrics["overall"][name]["value"] == expected
    before = finished_run.metrics["test"]["uncalibrated"]["overall"]
    for name, entry in found.metrics["uncalibrated"]["overall"].items():
        if before[name]["value"] is not None:
            assert entry["value"] == pytest.approx(before[name]["value"], abs=1e-3), name
    for name in ("cases", "abstained", "beyond_limit", "held_out"):
        assert found.metrics["trust"][name] == finished_run.metrics["trust"][name]
    sets, asked = found.metrics["trust"]["sets"], finished_run.metrics["trust"]["sets"]
    assert (sets["asked"], sets["coverage"]) == (asked["asked"], asked["coverage"])
    page = (tmp_path / "out" / "report.html").read_text()
    first = page[: page.index('id="metrics"')]
    assert "calibration error" in first, "the numbers to see first stand above the sections"
    assert 'id="abstention"' in page
    assert "before calibration" in page
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == found.metrics
    assert sorted(read) == sorted(set(read)), "each image is read once, for metrics and drift"
    assert (tmp_path / "out" / "report.html").is_file()
    assert found.metrics["drift"] is not None
    again = evaluate(finished_run.bundle, cohort, tmp_path / "out", part="test", settings=QUICK)
    assert again.metrics == found.metrics


def test_folder_with_other_files_is_refused(
    finished_run: TrainingOutcome, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "image.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="not empty and not a medfuse evaluation"):
        evaluate(finished_run.bundle, images, tmp_path, settings=QUICK)
    with pytest.raises(OutputError, match="not empty"):
        evaluate(finished_run.bundle, images, finished_run.folder, settings=QUICK)
    assert [f.name for f in tmp_path.iterdir()] == ["image.png"]


def test_class_that_the_bundle_does_not_know_is_named(
    finished_run: TrainingOutcome, tmp_path: Path
) -> None:
    from medfuse.workflows.phantoms import write_phantoms

    cohort = write_phantoms(tmp_path / "images", 1)
    (cohort / "clear").rename(cohort / "normal")
    with pytest.raises(CohortError, match="normal"):
        evaluate(finished_run.bundle, cohort, tmp_path / "out", settings=QUICK)
