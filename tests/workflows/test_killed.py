"""A run that is killed, again and again, ends like one that was not."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import small_experiment

KILLS = 20
_PRELOADED = ["medfuse.workflows.train", "medfuse.training.session", "monai.engines", "timm"]


def run_alone(experiment: dict[str, Any], out: str) -> None:
    """Train in this process; for a child that may be killed."""
    import torch

    from medfuse.workflows.train import train

    torch.set_num_threads(1)
    train(experiment, out, progress=False)


def experiment_for(images: Path, bank: Path) -> dict[str, Any]:
    return small_experiment(
        images,
        bank={"path": str(bank)},
        training={"epochs": 40, "members": 3, "early_stopping": None},
        evaluation={"bootstrap": 20, "baselines": False},
    )


@pytest.mark.slow
@pytest.mark.long
def test_run_killed_at_random_points_gives_the_metrics_of_an_unbroken_one(
    images: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)

    def start(name: str) -> Any:
        arguments = (experiment_for(images, tmp_path / f"bank-{name}"), str(tmp_path / name))
        child = context.Process(target=run_alone, args=arguments)
        child.start()
        return child

    idle = context.Process(target=time.sleep, args=(0,))
    idle.start()
    idle.join()  # The server has imported everything by now, so that only the run is timed.
    began = time.monotonic()
    whole = start("whole")
    whole.join()
    assert whole.exitcode == 0
    duration = time.monotonic() - began
    unbroken = (tmp_path / "whole" / "predictions.csv").read_bytes()
    shutil.rmtree(tmp_path / "bank-whole")

    delays = random.Random(0)
    killed = 0
    while killed < KILLS:
        child = start("broken")
        # Late kills need the progress of earlier ones, which is what is to be shown.
        child.join(delays.uniform(0.2, 0.6 * duration))
        if child.exitcode is None:
            child.kill()
            child.join()
            killed += 1
            continue
        assert child.exitcode == 0
        assert_same(tmp_path, unbroken)
        shutil.rmtree(tmp_path / "broken")
        if killed % 2:
            shutil.rmtree(tmp_path / "bank-broken")
    last = start("broken")
    last.join()
    assert last.exitcode == 0
    assert_same(tmp_path, unbroken)


def assert_same(folder: Path, predictions: bytes) -> None:
    metrics = [
        json.loads((folder / name / "metrics.json").read_text()) for name in ("whole", "broken")
    ]
    assert metrics[0] == metrics[1]
    assert (folder / "broken" / "predictions.csv").read_bytes() == predictions
    assert not list((folder / "broken").rglob("*.partial"))
