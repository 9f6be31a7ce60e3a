"""Sources that learn in two processes: the result is that of one."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source
from medfuse.errors import TrainingError
from medfuse.fusion.concat import ConcatFusion
from medfuse.fusion.slice_attention import SliceAttention
from medfuse.fusion.stacking import StackingFusion
from medfuse.heads.linear import LinearHead
from medfuse.heads.mlp import MlpHead
from medfuse.model import DecisionClassifier, FeatureClassifier, FusedNetwork
from medfuse.processes import Shard
from medfuse.training.data import Presence, TrainingData
from medfuse.training.fit import fit
from medfuse.training.predict import predict_features, predict_logits
from medfuse.training.run import Run, Unfreeze

from .conftest import make_config, make_run

COUNT = 31
LABELS = np.arange(COUNT) ** 2 % 3
VALIDATION = 9
CLASSES = ("a", "b", "c")


class Noisy(nn.Sequential):
    """A backbone of two stages, with batch norm and, unless ``drop`` is 0, random numbers."""

    def __init__(self, drop: float = 0.2) -> None:
        super().__init__(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(drop)),
            nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout(drop)),
        )
        self.drop = drop

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        features = super().forward(x)
        if self.training and self.drop:
            kept = features.new_empty((len(x), 1, 1, 1)).bernoulli_(1 - self.drop)
            features = features * kept / (1 - self.drop)
        return features, None


def _image(case: int, view: int, number: int = 0) -> Tensor:
    numbers = torch.Generator().manual_seed(100 * case + view + 7 * number)
    return torch.rand(1, 9, 9, generator=numbers) * (0.4 + 0.3 * float(LABELS[case]))


def _network(classifier: nn.Module, trainable: Any = "all", inputs: Any = (0, 0)) -> FusedNetwork:
    torch.manual_seed(0)
    sources = [Source(Noisy(), nn.Identity(), trainable=t).eval() for t in ((), trainable)]
    return FusedNetwork(sources, classifier, inputs)


def _features() -> FeatureClassifier:
    torch.manual_seed(1)
    head = MlpHead(10, 3, hidden=6, dropout=0.3, noise=0.1)
    return FeatureClassifier((5, 5), ConcatFusion((5, 5)), head)


def _cases(network: FusedNetwork, known: int = 1, **extra: Any) -> TrainingData:
    """Return cases whose first ``known`` sources are banked."""
    with torch.no_grad():
        images = torch.stack([torch.stack([_image(c, v) for v in (0, 1)]) for c in range(COUNT)])
        found = [s(images.flatten(0, 1)).view(COUNT, 2, 5) for s in network.sources[:known]]
    features = [*found, *[None] * (2 - known)]
    loads = {"load_view": lambda case, view: (_image(case, view),), **extra}
    return TrainingData.of(features, LABELS, views=2, **loads)


def _sliced(batch_norm: str) -> tuple[FusedNetwork, TrainingData]:
    """Return a network on the three slices of volumes."""
    torch.manual_seed(0)
    source = Source(Noisy(0.0), nn.Identity(), trainable="all", batch_norm=batch_norm)
    pooling = [SliceAttention(5)]
    classifier = FeatureClassifier((5,), ConcatFusion((5,)), LinearHead(5, 3), pooling=pooling)
    network = FusedNetwork([SlicedSource(source, 3).eval()], classifier)

    def load(case: int, view: int) -> tuple[Tensor]:
        return (torch.stack([_image(case, view, number) for number in range(3)], -1),)

    return network, TrainingData.of([None], LABELS, views=2, load_view=load)


def _fitted(network: FusedNetwork, data: TrainingData, run: Run, **config: Any) -> dict[str, Any]:
    """Train on some of the cases, stop by the others, and say how it went."""
    settings = make_config(**{"epochs": 4, "batch_size": 5, "optimizer": "sgd", **config})
    rows = np.arange(COUNT)
    learned, held_out = data.select(rows[VALIDATION:]), data.select(rows[:VALIDATION])
    result = fit(network, learned, held_out, settings, run)
    live = replace(data, features=(*data.features[:-1], None))
    return {
        "history": [dict(record) for record in result.history],
        "best": result.best_epoch,
        "resumed_from": result.resumed_from,
        "logits": predict_logits(network, live, 8, run.shard),
        "features": predict_features(network, live, 8, run.shard)[-1],
        "state": {k: v.numpy() for k, v in network.state_dict().items()},
    }


def _all(run: Run) -> dict[str, Any]:
    network = _network(_features())
    settings = {"mixup": 0.4, "label_smoothing": 0.1, "clip_gradient": 0.5, "batch_size": 7}
    return _fitted(network, _cases(network), run, **settings)


def _last(run: Run) -> dict[str, Any]:
    """Parts below stay; the last of the validation batches has one case."""
    network = _network(_features(), ("1",))
    settings = {"sampler": "oversample", "class_weights": "balanced", "batch_size": 4}
    return _fitted(network, _cases(network), run, **settings)


def _tiny(run: Run) -> dict[str, Any]:
    """Some batches have one case: a process without any takes part all the same."""
    network = _network(_features())
    return _fitted(network, _cases(network), run, batch_size=1, lr=0.001)


def _later(run: Run) -> dict[str, Any]:
    network = _network(_features(), ())
    later = Unfreeze(source=1, after=2, paths=("1",), lr_scale=0.5)
    return _fitted(network, _cases(network, 2), replace(run, unfreeze=(later,)))


def _missing(run: Run) -> dict[str, Any]:
    """Half of the cases lack the second input, and more are hidden in training."""
    known = np.stack([np.ones(COUNT), np.arange(COUNT) % 4 < 2], 1).astype(bool)
    network = _network(_features(), inputs=(0, 1))

    def load(case: int, view: int) -> tuple[Tensor, Tensor]:
        second = _image(case, view, 1)
        return _image(case, view), second if known[case, 1] else torch.full_like(second, torch.nan)

    data = _cases(network, presence=Presence(known, (0, 1)), load_view=load)
    return _fitted(network, data, run, input_dropout=0.3, batch_size=3)


def _stacked(run: Run) -> dict[str, Any]:
    torch.manual_seed(1)
    heads = [LinearHead(5, 3) for _ in range(2)]
    network = _network(DecisionClassifier((5, 5), heads, StackingFusion(2, 3)))
    return _fitted(network, _cases(network), run, epochs=2)


def _slices(run: Run) -> dict[str, Any]:
    return _fitted(*_sliced("affine"), run)


def _resumed(run: Run) -> dict[str, Any]:
    """Broken off in the third epoch, in all processes."""

    def stop(engine: Any) -> None:
        if engine.state.epoch == 3:
            raise KeyboardInterrupt

    def attach(trainer: Any, given: Run) -> None:
        assert given.folder is not None, "handlers have a folder in every process"
        trainer.add_event_handler(Events.EPOCH_STARTED, stop)

    settings = {"batch_size": 6, "early_stopping": None}
    network = _network(_features())
    with pytest.raises(KeyboardInterrupt):
        _fitted(network, _cases(network), replace(run, attach_handlers=attach), **settings)
    network = _network(_features())
    found = _fitted(network, _cases(network), run, **settings)
    assert found["resumed_from"] == 2
    return found


SCENARIOS: tuple[Callable[[Run], dict[str, Any]], ...] = (
    _all, _last, _tiny, _later, _missing, _stacked, _slices, _resumed
)  # fmt: skip


def run_all(folder: Path, shard: Shard) -> dict[str, dict[str, Any]]:
    """Return what all scenarios give; only the first process keeps checkpoints."""
    torch.set_num_threads(1)
    found = {}
    for scenario in SCENARIOS:
        own = folder / scenario.__name__ if shard.first else None
        found[scenario.__name__] = scenario(make_run(classes=CLASSES, folder=own, shard=shard))
    return found


CHILD = """
    import os, pickle, sys
    from pathlib import Path
    from medfuse.processes import joined_shard
    from tests.training.test_shared_training import run_all

    with joined_shard(os.environ) as shard:
        found = run_all(Path(sys.argv[1]), shard)
    Path(sys.argv[1], f"{shard.rank}.pickle").write_bytes(pickle.dumps(found))
"""


def start_two(code: str, *arguments: str) -> list[subprocess.Popen[bytes]]:
    """Start two processes that meet, each with its rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    root = str(Path(__file__).parents[2])
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    started = []
    for rank in ("0", "1"):
        own = {"RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **meeting, **own}
        command = [sys.executable, "-c", code, *arguments]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
    return started


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    """Return what each of two processes found."""
    folder = tmp_path_factory.mktemp("both")
    for process in start_two("\n".join(x[4:] for x in CHILD.splitlines()), str(folder)):
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said.decode()[-3000:]
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_processes_train_as_one(
    scenario: Callable[[Run], dict[str, Any]], both: Any, tmp_path: Path
) -> None:
    alone = scenario(make_run(classes=CLASSES, folder=tmp_path))
    first, second = (found[scenario.__name__] for found in both)
    for key, value in first["state"].items():
        np.testing.assert_array_equal(value, second["state"][key], err_msg=key)
        np.testing.assert_allclose(value, alone["state"][key], rtol=0, atol=1e-4, err_msg=key)
    assert first["history"] == second["history"]
    assert len(first["history"]) == len(alone["history"])
    for here, there in zip(first["history"], alone["history"], strict=True):
        assert here == pytest.approx(there, abs=1e-4)
    assert first["best"] == alone["best"]
    for name in ("logits", "features"):
        np.testing.assert_allclose(first[name], alone[name], rtol=0, atol=1e-4)


def test_batch_norm_of_slices_is_refused_in_several_processes() -> None:
    """It goes by slabs, whose number depends on how many volumes a process has."""
    run = make_run(classes=CLASSES, shard=Shard(0, 2))
    with pytest.raises(TrainingError, match=r"Source 1 learns with batch norm.*one process"):
        _fitted(*_sliced("train"), run)
