"""Sources that learn: from the start, or after the head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from medfuse.backbones.source import Source
from medfuse.errors import TrainingError
from medfuse.fusion.concat import ConcatFusion
from medfuse.heads.linear import LinearHead
from medfuse.model import FeatureClassifier, FusedNetwork
from medfuse.training.data import TrainingData
from medfuse.training.fit import fit
from medfuse.training.predict import predict_logits
from medfuse.training.run import Run, SourceRates, Unfreeze

from .conftest import ctrl_c_at, make_config, make_run

COUNT = 24
LABELS = np.arange(COUNT) % 2


class Pair(nn.Sequential):
    """A backbone of two stages, each with batch norm."""

    def __init__(self) -> None:
        stages = [
            nn.Sequential(nn.Conv2d(i, o, 3), nn.BatchNorm2d(o), nn.ReLU())
            for i, o in ((1, 4), (4, 5))
        ]
        super().__init__(*stages)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return super().forward(x), None


def _load(case: int, view: int) -> Tensor:
    numbers = torch.Generator().manual_seed(100 * case + view)
    return torch.rand(1, 9, 9, generator=numbers) * (0.4 + 0.3 * float(LABELS[case]))


def _load_inputs(case: int, view: int) -> tuple[Tensor]:
    return (_load(case, view),)


def _network(trainable: Any = ()) -> FusedNetwork:
    torch.manual_seed(0)
    sources = [Source(Pair(), nn.Identity(), trainable=t).eval() for t in ((), trainable)]
    fusion = ConcatFusion((5, 5))
    return FusedNetwork(sources, FeatureClassifier((5, 5), fusion, LinearHead(10, 2)))


@torch.no_grad()
def _banked(network: FusedNetwork, known: tuple[bool, bool] = (True, True)) -> TrainingData:
    images = torch.stack([torch.stack([_load(c, v) for v in range(3)]) for c in range(COUNT)])
    features = [s(images.flatten(0, 1)).view(COUNT, 3, 5) for s in network.sources]
    kept = [x if k else None for x, k in zip(features, known, strict=True)]
    return TrainingData.of(kept, LABELS, views=3, load_view=_load_inputs)


CONFIG = make_config(epochs=5, lr=0.05, early_stopping=None)
RUN: dict[str, Any] = {"classes": ("a", "b")}
LATER = Unfreeze(source=1, after=2, paths=("1",), lr_scale=0.5)


def _state(network: FusedNetwork, name: str) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in network.get_submodule(name).state_dict().items()}


def _moved(network: FusedNetwork, name: str, before: dict[str, Tensor]) -> bool:
    after = network.get_submodule(name).state_dict()
    return any(not torch.equal(after[k], v) for k, v in before.items())


def test_a_source_that_learns_moves_and_all_frozen_parts_stay() -> None:
    network = _network(("1",))
    parts = {n: _state(network, f"sources.{n}") for n in ("0", "1.backbone.0", "1.backbone.1")}
    fit(network, _banked(network, (True, False)), None, CONFIG, make_run(**RUN))
    moved = {n: _moved(network, f"sources.{n}", s) for n, s in parts.items()}
    assert moved == {"0": False, "1.backbone.0": False, "1.backbone.1": True}
    running = parts["1.backbone.1"]["1.running_mean"]
    assert not torch.equal(network.sources[1].backbone[1][1].running_mean, running)


def test_before_the_unfreezing_nothing_of_the_source_moves() -> None:
    network = _network()
    before = _state(network, "sources.1")
    states: list[bool] = []

    def attach(trainer: Any, _run: Run) -> None:
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda _: states.append(_moved(network, "sources.1", before))
        )

    run = make_run(unfreeze=(LATER,), attach_handlers=attach, **RUN)
    fit(network, _banked(network), None, CONFIG, run)
    assert states == [False, False, True, True, True]


def test_an_unfrozen_source_learns_at_its_own_rate() -> None:
    rates: list[list[float]] = []

    def attach(trainer: Any, _run: Run) -> None:
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED,
            lambda e: rates.append([g["lr"] for g in e.optimizer.param_groups]),
        )

    network = _network()
    run = make_run(unfreeze=(LATER,), attach_handlers=attach, **RUN)
    config = CONFIG.model_copy(update={"schedule": "constant"})
    fit(network, _banked(network), None, config, run)
    assert rates[1] == [0.05, 0.05]
    assert rates[2] == [0.05, 0.05, 0.025, 0.025]


def _rates_of_epochs(**run: Any) -> list[list[float]]:
    """Return the rates of all groups of parameters, epoch by epoch."""
    rates: list[list[float]] = []

    def attach(trainer: Any, _run: Run) -> None:
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED,
            lambda e: rates.append([g["lr"] for g in e.optimizer.param_groups]),
        )

    network = _network(run.pop("trainable", ()))
    data = _banked(network, (True, "unfreeze" in run))
    config = CONFIG.model_copy(update={"schedule": "constant", "lr": 1.0, "optimizer": "sgd"})
    fit(network, data, None, config, make_run(attach_handlers=attach, **run, **RUN))
    return rates


def test_all_of_a_source_can_learn_at_the_full_rate() -> None:
    rates = _rates_of_epochs(trainable="all", rates={1: SourceRates(scale=1.0)})
    assert rates[0] == [1.0, 1.0, 1.0, 1.0]


def test_each_stage_learns_slower_than_the_one_above_it() -> None:
    above = {"": 2, "0": 1, "0.0": 1, "0.1": 1, "1": 0, "1.0": 0, "1.1": 0}
    rates = _rates_of_epochs(trainable="all", rates={1: SourceRates(0.5, 0.8, above)})
    assert rates[0] == pytest.approx([1.0, 1.0, 0.4, 0.4, 0.5, 0.5])


def test_gradual_unfreezing_adds_stage_by_stage_and_keeps_earlier_rates() -> None:
    steps = (Unfreeze(1, 1, ("1",), 0.5), Unfreeze(1, 3, ("0", "1"), 0.25))
    rates = _rates_of_epochs(unfreeze=steps)
    assert rates[0] == [1.0, 1.0]
    assert rates[1] == rates[2] == [1.0, 1.0, 0.5, 0.5]
    assert rates[3] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_banked_features_and_images_give_the_same_before_the_unfreezing() -> None:
    one, other = _network(), _network()
    banked, live = _banked(one), _banked(other, (True, False))
    short = CONFIG.model_copy(update={"epochs": 2, "ema_decay": 0.0})
    fit(one, banked, banked, short, make_run(**RUN))
    fit(other, live, live, short, make_run(**RUN))
    np.testing.assert_allclose(predict_logits(one, banked), predict_logits(other, live), atol=1e-4)


@pytest.mark.parametrize("decay", ["auto", 0.5])
@pytest.mark.parametrize("stop", [2, 8, 10, 14])
def test_resuming_before_and_after_the_unfreezing_gives_the_same_bits(
    tmp_path: Path, stop: int, decay: float | str
) -> None:
    config = CONFIG.model_copy(update={"ema_decay": decay})
    at = ctrl_c_at(Events.ITERATION_STARTED(once=stop))
    whole, resumed, broken = _network(), _network(), _network()
    data = _banked(whole)
    run = make_run(unfreeze=(LATER,), **RUN)
    expected = fit(whole, data, data, config, run)
    run = replace(run, folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(broken, data, data, config, replace(run, attach_handlers=at))
    assert fit(resumed, data, data, config, run) == expected
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_early_stopping_waits_for_the_unfreezing() -> None:
    network = _network()
    data = _banked(network)
    settings = {"patience": 1, "min_delta": 100.0}
    config = make_config(epochs=9, early_stopping=settings)
    result = fit(network, data, data, config, make_run(unfreeze=(LATER,), **RUN))
    assert (len(result.history), result.stopped) == (4, "early")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, d: (n.classifier, d, ()), "Source 2 learns from images, so the whole network"),
        (lambda n, d: (n, replace(d, load_view=None), ()), "Source 2 learns .* none were given"),
        (
            lambda n, d: (n, d, (Unfreeze(source=1, after=5),)),
            "unfreeze.after is 5, but training has 5 epochs",
        ),
    ],
)
def test_what_cannot_learn_is_named(change: Callable[..., Any], message: str) -> None:
    network = _network()
    model, data, unfreeze = change(network, _banked(network, (True, False)))
    with pytest.raises(TrainingError, match=message):
        fit(model, data, None, CONFIG, make_run(unfreeze=unfreeze, **RUN))


def test_untrained_batch_norm_network_is_standardized_as_it_will_be_trained() -> None:
    """In eval mode its features hardly vary; divided by that, training-mode ones would explode."""
    torch.manual_seed(0)
    deep = nn.Sequential(*[
        nn.Sequential(nn.Conv2d(i, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        for i in (1, 8, 8, 8, 8, 8)
    ])  # fmt: skip
    source = Source(deep, nn.Identity(), trainable="all")
    classifier = FeatureClassifier((8,), ConcatFusion((8,)), LinearHead(8, 2))
    network = FusedNetwork([source], classifier)
    data = TrainingData.of([None], LABELS, load_view=_load_inputs)
    fit(network, data, None, make_config(epochs=1, lr=1e-6, batch_size=8), Run(**RUN))
    source.train()
    images = torch.stack([_load(case, 0) for case in range(8)])
    with torch.no_grad():
        assert classifier.standardize[0](source(images)).abs().max() < 20
