from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import small_experiment


def _rebuilt(run: Path) -> str:
    return "".join(path.read_text() for path in run.rglob("configs/inference.json"))


def test_a_fused_run_pools_opinions_and_so_does_its_bundle(finished_run: TrainingOutcome) -> None:
    text = _rebuilt(finished_run.folder)
    assert text.count("scripts.fusion_opinion_pool.OpinionPool") == 2


@pytest.mark.slow
@pytest.mark.parametrize("training", [{"source_heads": False, "members": 2}, {"members": 1}])
def test_no_source_heads_where_not_wanted_or_without_held_out_cases(
    training: dict[str, Any], images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    experiment = small_experiment(
        images,
        bank={"path": str(shared_bank)},
        training={"epochs": 2, **training},
        bundle={"graphs": False},
        evaluation={"bootstrap": 0, "baselines": False},
    )
    train(experiment, tmp_path / "run", progress=False)
    text = _rebuilt(tmp_path / "run")
    assert "FeatureClassifier" in text
    assert OpinionPool.__name__ not in text
