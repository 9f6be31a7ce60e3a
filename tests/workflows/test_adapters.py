"""A run whose transformer learns by adapters: its bundle holds plain weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medfuse.bundle.verify import verify_bundle
from medfuse.training import session
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import small_experiment


def _experiment(images: Path, **changes: Any) -> dict[str, Any]:
    source = {
        "use": "timm:test_vit.random",
        "options": {"img_size": [48, 48]},
        "train": "all",
        "adapter": {"rank": 2},
        "lr_decay": 0.8,
    }
    return small_experiment(
        images,
        sources=[source],
        augmentation={},
        training={"epochs": 3, "batch_size": 16},
        evaluation={"bootstrap": 20, "baselines": False},
        **changes,
    )


def _state(run: TrainingOutcome) -> dict[str, torch.Tensor]:
    return torch.load(run.bundle / "models" / "model.pt", weights_only=True)


@pytest.fixture(scope="module")
def adapted_run(images: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingOutcome:
    """A run with adapters in one small transformer."""
    return train(_experiment(images), tmp_path_factory.mktemp("runs") / "adapted", progress=False)


@pytest.mark.slow
def test_the_bundle_holds_the_plain_network_and_verifies(adapted_run) -> None:
    keys = _state(adapted_run).keys()
    assert "sources.0.backbone.net.blocks.0.attn.qkv.weight" in keys
    assert not [key for key in keys if "parametrizations" in key]
    assert verify_bundle(adapted_run.bundle).ok
    assert adapted_run.metrics["bundle"]["difference"] < 1e-5


@pytest.mark.slow
def test_attention_alone_has_moved(adapted_run, images, tmp_path) -> None:
    start = train(
        _experiment(images, name="start") | {"sources": [_frozen(images)]},
        tmp_path / "start",
        progress=False,
    )
    before, after = _state(start), _state(adapted_run)
    own = [key for key in before if key.startswith("sources.0.backbone.")]
    moved = {key for key in own if not torch.equal(before[key], after[key])}
    assert moved == {f"sources.0.backbone.net.blocks.{n}.attn.{part}.weight"
                     for n in range(6) for part in ("qkv", "proj")}  # fmt: skip


def _frozen(images: Path) -> dict[str, Any]:
    source = dict(_experiment(images)["sources"][0])
    return {key: source[key] for key in ("use", "options")}


@pytest.mark.slow
def test_a_run_that_was_interrupted_ends_like_an_unbroken_one(
    adapted_run, images, tmp_path, monkeypatch
) -> None:
    class _InterruptedError(Exception):
        pass

    original = session.Session._end_epoch

    def stop_after_two(self: Any, engine: Any) -> None:
        original(self, engine)
        if engine.state.epoch == 2:
            self.save()
            raise _InterruptedError

    with monkeypatch.context() as patched, pytest.raises(_InterruptedError):
        patched.setattr(session.Session, "_end_epoch", stop_after_two)
        train(_experiment(images), tmp_path / "run", progress=False)
    resumed = train(_experiment(images), tmp_path / "run", progress=False)
    whole, again = _state(adapted_run), _state(resumed)
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    tables = [(run.folder / "predictions.csv").read_text() for run in (adapted_run, resumed)]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_the_configuration_of_the_run_names_the_adapter(adapted_run) -> None:
    text = (adapted_run.folder / "config.yaml").read_text()
    assert "adapter:" in text
    assert "rank: 2" in text
    metrics = json.loads((adapted_run.folder / "metrics.json").read_text())
    assert np.isfinite(metrics["test"]["overall"]["accuracy"]["value"])
