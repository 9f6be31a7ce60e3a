"""Cases that lack inputs: each pattern is measured; a fusion that needs all inputs refuses them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfuse.errors import ConfigError
from medfuse.report.metric_tables import estimate_text
from medfuse.serving.predict import load_bundle
from medfuse.workflows.phantom_volumes import write_cases
from medfuse.workflows.train import train

PLUGIN = """
from medfuse.contract import FeatureFusionSpec, VendoredSource, hookimpl

@hookimpl
def medfuse_fusions():
    yield FeatureFusionSpec(name="plain", summary="s", factory="plain_fusion:Plain",
                            export=VendoredSource(modules=("plain_fusion",)))
"""
FUSION = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, in_dims):
        super().__init__()
        self.out_dim = sum(in_dims)

    def forward(self, features, mask):
        return torch.cat(features, 1), None
"""


def write_cohort(folder: Path, lacking: int) -> Path:
    """Write a table of 24 cases with a picture and an age; some have no age."""
    random = np.random.default_rng(0)
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case_id", "label", "image", "age"])
        for number in range(24):
            Image.fromarray(random.integers(0, 255, (48, 48), np.uint8)).save(
                folder / f"{number}.png"
            )
            age = "" if number < lacking else 40 + number
            writer.writerow([f"c{number}", "ab"[number % 2], f"{number}.png", age])
    return folder / "cases.csv"


def experiment(cohort: Path) -> dict[str, Any]:
    return {
        "cohort": {"path": str(cohort)},
        "inputs": {
            "image": {"modality": "XR", "size": [48, 48]},
            "history": {"kind": "tabular", "columns": {"age": "number"}},
        },
        "sources": [
            {"use": "timm:test_resnet.random"},
            {"use": "tabular", "input": "history"},
        ],
        "fusion": {"use": "plain"},
        "head": {"use": "linear"},
        "training": {"epochs": 2, "members": 1},
        "evaluation": {"bootstrap": 0},
    }


def test_a_cohort_with_missing_inputs_is_refused_before_any_feature_is_computed(
    install_plugin, tmp_path: Path
) -> None:
    install_plugin("plain", PLUGIN, plain_fusion=FUSION)
    cohort = write_cohort(tmp_path, lacking=3)
    with pytest.raises(ConfigError, match="fusion 'plain' cannot .* 3 of 24 cases lack one"):
        train(experiment(cohort), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "cohort.csv").exists()


@pytest.mark.slow
def test_the_bundle_refuses_a_case_that_lacks_an_input(install_plugin, tmp_path: Path) -> None:
    install_plugin("plain", PLUGIN, plain_fusion=FUSION)
    cohort = write_cohort(tmp_path, lacking=0)
    outcome = train(experiment(cohort), tmp_path / "run", progress=False)
    predictor = load_bundle(outcome.bundle)
    whole, lacking = predictor.predict(
        [
            {"image": str(tmp_path / "0.png"), "history": {"age": 50}},
            {"image": str(tmp_path / "0.png")},
        ]
    )
    assert whole.status == "ok"
    assert (lacking.status, lacking.reason_code) == ("refused", "MISSING_INPUT")
    assert "all needed" in (outcome.bundle / "docs" / "README.md").read_text()


@pytest.mark.slow
def test_the_bundle_is_verified_with_whole_cases_alone(install_plugin, tmp_path: Path) -> None:
    from medfuse.bundle.verify import verify_bundle

    install_plugin("plain", PLUGIN, plain_fusion=FUSION)
    outcome = train(experiment(write_cohort(tmp_path, 0)), tmp_path / "run", progress=False)
    assert [c for c in verify_bundle(outcome.bundle).checks if c.status == "failed"] == []


@pytest.mark.slow
def test_each_pattern_of_missing_inputs_has_a_score_in_metrics_and_report(tmp_path: Path) -> None:
    cohort = write_cases(tmp_path / "cases", patients_per_class=27)
    data = {
        "cohort": {"path": str(cohort), "split": {"test": 0.5}},
        "inputs": {
            "ct": {
                "kind": "volume",
                "modality": "CT",
                "size": [32, 32, 8],
                "windows": ["brain"],
            },
            "xray": {"modality": "XR", "size": [48, 48]},
            "clinical": {"kind": "tabular", "columns": {"age": "number", "sex": "category"}},
        },
        "sources": [
            {"use": "timm:test_resnet.random", "input": "ct"},
            {"use": "timm:test_resnet.random", "input": "xray"},
            {"use": "tabular", "input": "clinical"},
        ],
        "training": {"epochs": 2, "members": 1},
        "evaluation": {"bootstrap": 20, "minimum_cases": 2},
        "bank": {"path": str(tmp_path / "bank")},
    }
    run = train(data, tmp_path / "run", progress=False)
    groups = json.loads((run.folder / "metrics.json").read_text())["test"]["groups"]["inputs"]
    assert set(groups) == {
        "ct", "xray", "clinical", "ct + xray", "ct + clinical", "xray + clinical",
        "ct + xray + clinical",
    }  # fmt: skip
    page = run.report.read_text()
    for pattern, group in groups.items():
        score = group["overall"]["accuracy"]
        assert score["low"] <= score["value"] <= score["high"]
        cases, shown = group["cases"], estimate_text(score)
        row = f'<th scope="row">{pattern}</th><td>{cases}</td><td>{cases}</td><td>{shown}</td>'
        assert row in page
