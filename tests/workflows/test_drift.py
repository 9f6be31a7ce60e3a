"""An evaluation says how the cohort differs from the training cases, with labels and without."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medfuse.config import EvaluationConfig
from medfuse.data import Case
from medfuse.errors import CohortError
from medfuse.evaluation.feature_distance import DISTANCES, load_distances
from medfuse.serving.cases import NamedCase
from medfuse.serving.predict import load_bundle
from medfuse.workflows.drift import ABSENT, drift_section, measure_drift
from medfuse.workflows.evaluate import evaluate, evaluate_drift
from medfuse.workflows.gallery import Gallery
from medfuse.workflows.train import TrainingOutcome


@pytest.fixture(scope="module")
def inverted(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the images with black and white exchanged, in one folder without classes."""
    folder = tmp_path_factory.mktemp("inverted")
    for file in sorted(images.rglob("*.png"))[::2]:
        pixels = np.asarray(Image.open(file))
        Image.fromarray(255 - pixels).save(folder / file.name)
    return folder


@pytest.mark.slow
def test_images_of_another_kind_drift_without_any_label(
    finished_run: TrainingOutcome, inverted: Path, tmp_path: Path
) -> None:
    found = evaluate_drift(finished_run.bundle, inverted, tmp_path / "out").metrics
    rows = found["drift"]["sources"]["sources"]
    assert len(rows) == 2
    assert all(row["drifts"] and row["farther"] > 0.9 for row in rows)
    assert found["drift"]["labels"] is None
    assert "overall" not in found
    assert found["cases"] == 30
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "drifts most" in page
    assert "Distance of each case from the training cases" in page
    assert (tmp_path / "out" / "plots" / "drift.png").is_file()


@pytest.mark.slow
def test_the_training_cohort_itself_does_not_drift_and_labels_are_compared(
    finished_run: TrainingOutcome, images: Path, tmp_path: Path
) -> None:
    quick = EvaluationConfig(bootstrap=20)
    found = evaluate(finished_run.bundle, images, tmp_path / "out", settings=quick).metrics
    assert not any(row["drifts"] for row in found["drift"]["sources"]["sources"])
    labels = found["drift"]["labels"]
    assert labels["cohort"] == pytest.approx({"clear": 1 / 3, "effusion": 1 / 3, "nodule": 1 / 3})
    assert labels["training"] == pytest.approx(labels["cohort"], abs=0.05)
    assert labels["p_value"] > 0.9


def test_distances_of_the_bundle_are_those_of_its_network(
    finished_run: TrainingOutcome, images: Path
) -> None:
    files = sorted(images.rglob("*.png"))[:5]
    predictor = load_bundle(finished_run.bundle)
    cases = [Case(f.name, {"image": str(f)}, None, f.name) for f in files]
    answers = list(predictor.answers(str(f) for f in files))
    drift = measure_drift(predictor, finished_run.bundle, list(zip(cases, answers, strict=True)))
    assert drift is not None
    canonical = [predictor.canonical(NamedCase(f.name, {"image": str(f)})) for f in files]
    batch = torch.stack([torch.as_tensor(c["image"]).as_subclass(torch.Tensor) for c in canonical])
    with torch.inference_mode():
        features = predictor.network.features(batch).numpy()
    known = load_distances(finished_run.folder / DISTANCES)
    np.testing.assert_allclose(drift.distances, known(features), rtol=1e-4)


def test_a_refused_image_has_no_features(
    finished_run: TrainingOutcome, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    good = str(min(images.rglob("*.png")))
    predictor = load_bundle(finished_run.bundle)
    bad, fine = predictor.answers([str(tmp_path / "bad.png"), good])
    assert bad.features is None
    assert fine.features is not None
    assert np.isfinite(fine.features).all()


def test_a_bundle_without_distances_says_so(finished_run: TrainingOutcome, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(finished_run.bundle, bare)
    (bare / "models" / DISTANCES).unlink()
    assert measure_drift(load_bundle(finished_run.bundle), bare, []) is None
    assert drift_section(None, Gallery(tmp_path)).text == ABSENT


@pytest.mark.slow
def test_classes_that_the_bundle_does_not_know_lead_to_drift_alone(
    finished_run: TrainingOutcome, images: Path, tmp_path: Path
) -> None:
    cohort = tmp_path / "images"
    shutil.copytree(images, cohort)
    (cohort / "clear").rename(cohort / "normal")
    with pytest.raises(CohortError, match="To measure drift alone, add --drift-only"):
        evaluate(finished_run.bundle, cohort, tmp_path / "out")
    found = evaluate_drift(finished_run.bundle, cohort, tmp_path / "out").metrics
    assert found["cases"] == 60
