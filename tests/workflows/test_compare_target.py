"""Adapting to a cohort without labels: every way is tried, and measured where labels exist."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from medfuse.workflows.compare import ComparisonOutcome, compare
from medfuse.workflows.compare_settings import CompareSettings
from medfuse.workflows.compare_target import PLAIN, target_section

pytestmark = pytest.mark.slow
WAYS = [PLAIN, "standardization by site", "CORAL", "AdaBN", "test-time augmentation"]


def experiment(images: Path, bank: Path) -> dict[str, Any]:
    return {
        "name": "adapted",
        "cohort": {"path": str(images), "group_pattern": r"p(\d+)_"},
        "inputs": {"image": {"modality": "XR", "size": [48, 48]}},
        "augmentation": {"views": 1},
        "sources": ["timm:test_resnet.random", "timm:test_convnext.random"],
        "fusion": "concat",
        "training": {"epochs": 2},
        "evaluation": {"bootstrap": 50},
        "bank": {"path": str(bank)},
    }


@pytest.fixture(scope="module")
def faint(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images as another scanner shows them: brighter, with less contrast."""
    folder = tmp_path_factory.mktemp("target") / "faint"
    shutil.copytree(images, folder)
    for file in folder.rglob("*.png"):
        pixels = np.asarray(Image.open(file)).astype(float)
        Image.fromarray((90 + 0.5 * pixels).astype(np.uint8)).save(file)
    return folder


SETTINGS = CompareSettings(
    folds=2, fusions=("concat",), baselines=False, members=1, workers=1, progress=False
)


def asked(images: Path, bank: Path, target: Path, out: Path) -> ComparisonOutcome:
    return compare(experiment(images, bank), out, replace(SETTINGS, target=str(target)))


@pytest.fixture(scope="module")
def outcome(
    images: Path, shared_bank: Path, faint: Path, tmp_path_factory: pytest.TempPathFactory
) -> ComparisonOutcome:
    return asked(images, shared_bank, faint, tmp_path_factory.mktemp("comparison") / "out")


def test_every_way_is_measured_and_compared_with_none(outcome: ComparisonOutcome) -> None:
    found = outcome.comparison["target"]
    assert [row["name"] for row in found["methods"]] == WAYS
    assert (found["cases"], found["labeled"], found["shared"]) == (60, 60, 0)
    assert found["methods"][0]["changed"] == 0
    assert any(row["changed"] > 0 for row in found["methods"][1:])
    for row in found["methods"][1:]:
        plain = found["methods"][0]["auroc_macro"]["value"]
        gained = row["auroc_macro"]["value"] - plain
        assert row["gain"]["difference"] == pytest.approx(gained)
        assert row["gain"]["p_adjusted"] >= row["gain"]["p_value"]
    page = outcome.report.read_text(encoding="utf-8")
    assert "Adapting to the target cohort" in page
    assert "No label of the target was used to adapt." in page


def test_without_labels_nothing_is_measured_and_it_says_the_same(
    outcome: ComparisonOutcome, images: Path, shared_bank: Path, faint: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in faint.rglob("*.png"):
        shutil.copy(file, bare / file.name)
    found = asked(images, shared_bank, bare, tmp_path / "out").comparison["target"]
    assert found["verdict"].startswith("the target has no labels")
    before = {row["name"]: row["changed"] for row in outcome.comparison["target"]["methods"]}
    for row in found["methods"]:
        assert row["changed"] == pytest.approx(before[row["name"]], abs=0.05), row["name"]


def test_a_target_that_is_compared_on_is_told(
    images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    configured = {"adaptation": {"method": "coral", "target": str(images)}}
    given = {**experiment(images, shared_bank), **configured}
    found = compare(given, tmp_path / "out", SETTINGS).comparison["target"]
    assert found["shared"] == 48, "the 12 cases of the test part are not compared on"
    assert "48 share an image with the compared cases" in target_section(found).tables[0].caption


def test_batch_norms_get_the_statistics_of_the_target_s_images() -> None:
    from medfuse.workflows.target_cases import see, with_fresh_statistics

    rng = torch.Generator().manual_seed(0)
    images = torch.rand((40, 1, 6, 6), generator=rng) * 3 + 2
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    fresh = with_fresh_statistics(network)
    see(fresh, images.numpy(), batch=40)
    values = network[0](images).detach()
    torch.testing.assert_close(fresh[1].running_mean, values.mean((0, 2, 3)))
    torch.testing.assert_close(fresh[1].running_var, values.var((0, 2, 3)))
    assert not fresh.training
    assert not fresh[1].training
    assert float(network[1].running_mean.abs().sum()) == 0, "the network itself stays as it was"
