"""``torchrun ... medfuse train``: one run, carried out by several processes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medfuse.backbones.weights_file import read_file
from medfuse.config import as_experiment
from medfuse.errors import ConfigError
from medfuse.processes import Shard
from medfuse.registry import load_registry
from medfuse.workflows.train import train
from medfuse.workflows.train_task import TaskOptions, training_task

from .conftest import small_experiment

# The second process fails in the second epoch; before, every epoch is kept.
BROKEN = """
    import os, sys
    from medfuse.cli import main
    from medfuse.errors import ImageError
    from medfuse.training.session import Session

    start = Session._start_epoch

    def fail(self, engine):
        if os.environ["RANK"] == "1" and engine.state.epoch == 2:
            raise ImageError("GONE", "GONE: a.png")
        start(self, engine)

    Session._start_epoch = fail
    Session._save_sometimes = lambda self, _: self.save()
    sys.exit(main.run(sys.argv[1:]))
"""


def _described(images: Path, bank: Path, **changes: Any) -> dict[str, Any]:
    learning = {"use": "timm:test_resnet.random", "train": "all"}
    settings = {"epochs": 3, "batch_size": 7, "optimizer": "sgd", "mixup": 0.2}
    return small_experiment(
        images,
        sources=[learning, {"use": "timm:test_convnext.random"}],
        training=settings,
        bank={"path": str(bank)},
        **changes,
    )


def _torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [*command, *arguments],
        env=environment,
        check=False,
        timeout=300,
        capture_output=True,
        text=True,
    )


def _history(folder: Path) -> list[dict[str, float]]:
    found: list[dict[str, float]] = read_file(folder / "checkpoints" / "last.pt")["history"]
    return found


def _probabilities(table: Path) -> np.ndarray:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(v) for k, v in r.items() if k.startswith("prob_")] for r in rows])


@dataclass(frozen=True)
class Told(Shard):
    """A process that hears what the first one said before, and waits for nobody."""

    heard: list[Any] = field(default_factory=list)

    def told(self, value: Any) -> Any:
        if self.first:
            self.heard.append(value)
        return self.heard[-1]

    def total(self, number: int) -> int:
        return number


@pytest.mark.slow
def test_processes_that_would_learn_something_else_are_refused(
    images: Path, shared_bank: Path
) -> None:
    described, heard = _described(images, shared_bank), []
    registry = load_registry()

    def begin(rank: int, **changes: Any) -> None:
        shard = Told(rank, 2, heard=heard)
        options = TaskOptions(progress=False, shard=shard)
        training_task(as_experiment({**described, **changes}), registry, options)

    begin(0)
    begin(1)
    with pytest.raises(ConfigError, match="^process 1: found another configuration than the fir"):
        begin(1, training={**described["training"], "lr": 0.1})
    cohort = {**described["cohort"], "split": {"seed": 5}}
    with pytest.raises(ConfigError, match="another configuration and other cases than the first"):
        begin(1, cohort=cohort)


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_end_together_go_on_together_and_give_what_one_gives(
    images: Path, tmp_path: Path
) -> None:
    file, out, broken = (tmp_path / n for n in ("experiment.yaml", "two", "broken.py"))
    file.write_text(yaml.safe_dump(_described(images, tmp_path / "bank")))
    broken.write_text(textwrap.dedent(BROKEN))
    command = ["train", str(file), "--out", str(out)]
    done = _torchrun(str(broken), *command)
    assert done.returncode == 1
    assert done.stderr.count("medfuse: ") == 1, done.stderr
    assert "medfuse: error: GONE: a.png" in done.stderr
    assert len(_history(out)) == 1

    done = _torchrun("-m", "medfuse", *command)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("resuming training after epoch 1 of 3") == 1
    assert done.stdout.count("bundle   ") == 1

    alone = train(_described(images, tmp_path / "own"), tmp_path / "one", progress=False)
    for part in ("", "single/0", "single/1"):
        pairs = list(zip(_history(out / part), _history(alone.folder / part), strict=True))
        assert all(here == pytest.approx(there, abs=1e-4) for here, there in pairs)
    names = [{p.name for p in f.iterdir() if p.suffix != ".lock"} for f in (out, alone.folder)]
    assert names[0] == names[1]
    found, expected = (_probabilities(f / "predictions.csv") for f in (out, alone.folder))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.long
def test_without_a_source_that_learns_others_help_with_features_and_end(
    images: Path, tmp_path: Path
) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(small_experiment(images, bank={"path": str(tmp_path / "bank")})))
    done = _torchrun("-m", "medfuse", "train", str(file), "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "30 images: 0 known, 30 new" in done.stderr
    assert done.stdout.count("bundle   ") == 1
