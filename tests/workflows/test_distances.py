"""A run and its bundle hold the distances that tell whether a case is like the training cases."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from medfuse.bundle.runtime import load_network, open_bundle
from medfuse.config.evaluation import EvaluationConfig
from medfuse.data import read_split
from medfuse.evaluation.feature_distance import DISTANCES, load_distances
from medfuse.workflows.distances import fit_distances
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import small_experiment

pytestmark = pytest.mark.slow


def features_of(outcome: TrainingOutcome, images: list[Path]) -> list[np.ndarray]:
    """Return what the bundle's network, and its trace, give for some images."""
    with open_bundle(outcome.bundle) as parser:
        network = load_network(parser, outcome.bundle, torch.device("cpu"))
        preprocessing: Callable[..., Any] = parser.get_parsed_content("preprocessing")
        batch = torch.stack(
            [torch.as_tensor(preprocessing({"image": str(i)})["image"]) for i in images]
        )
    traced = torch.jit.load(outcome.bundle / "models" / "model.ts", map_location="cpu")
    with torch.inference_mode():
        return [n.features(batch.as_subclass(torch.Tensor)).numpy() for n in (network, traced)]


def test_run_and_bundle_hold_the_same_file(finished_run: TrainingOutcome) -> None:
    own, shipped = finished_run.folder / DISTANCES, finished_run.bundle / "models" / DISTANCES
    assert own.read_bytes() == shipped.read_bytes()
    assert own.stat().st_mode & 0o077 == 0
    known = load_distances(own)
    assert known.labels == ("timm:test_resnet.random", "timm:test_convnext.random")
    assert known.facts["acceptance"] == 0.95
    assert known.facts["limits_from"] == "folds of the cases learned from"


def test_test_cases_are_as_far_as_held_out_cases_by_the_network_and_by_its_trace(
    finished_run: TrainingOutcome, images: Path
) -> None:
    known = load_distances(finished_run.bundle / "models" / DISTANCES)
    cohort, _ = read_split(finished_run.folder / "cohort.csv")
    files = [images / case.inputs["image"] for case in cohort.part("test")]
    by_network, by_trace = (known(x) for x in features_of(finished_run, files))
    np.testing.assert_allclose(by_network, by_trace, rtol=1e-3)
    assert (by_network <= known.limits).mean() > 0.7


def test_noise_is_farther_than_the_limit(finished_run: TrainingOutcome, tmp_path: Path) -> None:
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    known = load_distances(finished_run.folder / DISTANCES)
    found = known(features_of(finished_run, [tmp_path / "noise.png"])[0])
    assert (found > known.limits).any()


def test_a_missing_input_has_no_distance(run_with_table: TrainingOutcome) -> None:
    known = load_distances(run_with_table.folder / DISTANCES)
    assert [source.position for source in known.sources] == [0, 1]
    assert np.isfinite(known.limits).all()


def test_a_calibration_part_gives_the_limits(
    images: Path, shared_bank: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cohort = {
        "path": str(images),
        "group_pattern": r"p(\d+)_",
        "split": {"calibration": 0.2, "test": 0.2},
    }
    changes = {"bank": {"path": str(shared_bank)}, "cohort": cohort, "bundle": {"graphs": False}}
    with caplog.at_level(logging.WARNING, "medfuse"):
        run = train(small_experiment(images, **changes), tmp_path / "run", progress=False)
    known = load_distances(run.folder / DISTANCES)
    assert known.facts["limits_from"] == "calibration part"
    assert known.facts["held_out"] < 19
    assert not np.isfinite(known.limits).any()
    (warning,) = [r.message for r in caplog.records if "too few for a limit" in r.message]
    cases = read_split(run.folder / "cohort.csv")[0].cases
    patients = {case.patient_id for case in cases if case.role == "calibration"}
    assert warning.startswith(f"{len(patients)} held-out patients are too few for a limit")
    assert warning.endswith("evaluation.abstain.acceptance 0.95 needs 19")


def test_a_network_that_died_is_named(caplog: pytest.LogCaptureFixture) -> None:
    rows = np.arange(40)
    held_out = SimpleNamespace(learned=rows[:20], rows=rows[20:], described="validation part")
    model = SimpleNamespace(
        held_out=held_out,
        features=[np.random.default_rng(0).normal(size=(40, 3)), np.ones((40, 2))],
    )
    cases = [SimpleNamespace(patient_id=str(row)) for row in rows]
    sources = [SimpleNamespace(label="alive"), SimpleNamespace(label="dead")]
    task = SimpleNamespace(
        experiment=SimpleNamespace(evaluation=EvaluationConfig()),
        features=SimpleNamespace(sources=sources, inputs=[0, 0]),
        prepared=SimpleNamespace(cohort=SimpleNamespace(cases=cases)),
    )
    with caplog.at_level(logging.WARNING, "medfuse"):
        found = fit_distances(cast("Any", task), cast("Any", model))
    assert [bool(np.isfinite(limit)) for limit in found.limits] == [True, False]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("dead gives all 20 cases the same features: it tells nothing.")
