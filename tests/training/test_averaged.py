"""What is validated and kept is the mean over the epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from medfuse.training.averaged import AveragedWeights
from medfuse.training.fit import fit
from medfuse.training.members import fit_members
from medfuse.training.predict import predict_logits
from medfuse.training.quick import fit_quickly
from medfuse.training.run import Run

from .conftest import ctrl_c_at, make_cases, make_classifier, make_config, make_run

DATA, HELD_OUT = make_cases(), make_cases(24, 1, seed=9)
WEIGHT = "head.output.weight"


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def _become(module: nn.Module, value: float) -> None:
    for x in module.state_dict().values():
        x.copy_(torch.full_like(x, value))


def _averaged(network: nn.Module, decay: float, values: list[float]) -> AveragedWeights:
    """Return the mean of a network whose numbers were all these, one after the other."""
    average = AveragedWeights(network, decay)
    for value in values:
        _become(network, value)
        average.add()
    return average


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_each_epoch_counts_decay_times_as_much_as_the_one_after_it(decay: float) -> None:
    network, values = _network(), [3.0, 5.0, -2.0, 8.0]
    average = _averaged(network, decay, values)
    weights = [decay**3, decay**2, decay, 1.0]
    expected = float(np.dot(weights, values) / sum(weights))
    with average.in_place():
        found = {name: x.clone() for name, x in network.state_dict().items()}
    counted = found.pop("1.num_batches_tracked")
    assert counted == 8
    assert {"1.running_mean", "1.running_var", "0.weight"} <= set(found)
    for x in found.values():
        torch.testing.assert_close(x, torch.full_like(x, expected))


def test_a_module_is_what_it_was_after_it_was_the_mean_and_keeps_its_parameters() -> None:
    network = _network()
    parameters = list(network.parameters())
    average = _averaged(network, 0.5, [1.0, 4.0])

    def look() -> None:
        with average.in_place():
            assert parameters[0].unique() == torch.tensor([3.0])
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            look()
    assert all(float(x.unique()) == 4.0 for x in network.state_dict().values())
    assert all(a is b for a, b in zip(parameters, network.parameters(), strict=True))


def test_what_has_two_names_is_averaged_once() -> None:
    network = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    network["b"].weight = network["a"].weight
    average = _averaged(network, 0.5, [1.0, 4.0])
    with average.in_place():
        assert all(float(x.unique()) == 3.0 for x in network.state_dict().values())
    assert all(float(x.unique()) == 4.0 for x in network.state_dict().values())


def test_without_decay_nothing_is_kept_and_the_module_is_its_own_mean() -> None:
    network = _network()
    average = _averaged(network, 0.0, [1.0, 4.0])
    with average.in_place():
        assert all(float(x.unique()) == 4.0 for x in network.state_dict().values())
    assert average.state_dict() is None
    assert not average._mean
    average.load_state_dict(None)
    with average.in_place():
        assert all(float(x.unique()) == 4.0 for x in network.state_dict().values())


def test_infinite_numbers_that_stay_are_not_made_undefined_and_complex_ones_are_averaged() -> None:
    network = nn.Module()
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    network.register_buffer("wave", torch.tensor([1j]))
    average = AveragedWeights(network, 0.5)
    for value in (1j, 4j):
        network.wave.fill_(value)
        average.add()
    with average.in_place():
        assert torch.equal(network.mask, torch.tensor([0.0, -torch.inf]))
        torch.testing.assert_close(network.wave, torch.tensor([3j]))


def test_members_of_an_ensemble_are_no_means_by_themselves() -> None:
    logits = []
    for decay in ("auto", 0.0, 0.5):
        models = [make_classifier(seed) for seed in range(3)]
        config = make_config(ema_decay=decay, early_stopping=None)
        logits.append(fit_members(models, DATA, config, make_run(), fit_quickly).held_out_logits)
    np.testing.assert_array_equal(logits[0], logits[1])
    assert np.abs(logits[0] - logits[2]).max() > 1e-3


def test_a_network_alone_is_a_mean_by_itself() -> None:
    logits = []
    for decay in ("auto", 0.0, 0.5):
        model = make_classifier()
        config = make_config(ema_decay=decay, early_stopping=None)
        fit_quickly(model, DATA, HELD_OUT, config, make_run())
        logits.append(predict_logits(model, HELD_OUT))
    np.testing.assert_array_equal(logits[0], logits[2])
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_a_mean_goes_on_from_what_was_saved() -> None:
    one, other = _network(), _network()
    average, begun = _averaged(one, 0.5, [1.0, 4.0]), AveragedWeights(other, 0.5)
    saved = average.state_dict()
    begun.load_state_dict(saved)
    for network, mean in ((one, average), (other, begun)):
        _become(network, 9.0)
        mean.add()
    assert saved is not None
    torch.testing.assert_close(saved["mean"]["0.bias"], torch.full((2,), 3.0))
    with average.in_place(), begun.in_place():
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def _ends_of_epochs(model: nn.Module, **changes: Any) -> list[Tensor]:
    """Train ``model`` and return one of its weights as it was at the end of each epoch."""
    seen: list[Tensor] = []

    def attach(trainer: Any, _run: Run) -> None:
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda _: seen.append(model.state_dict()[WEIGHT].clone())
        )

    fit(model, DATA, None, make_config(**changes), make_run(attach_handlers=attach))
    return seen


def test_training_keeps_the_mean_and_learns_from_the_network_itself() -> None:
    model, plain = make_classifier(), make_classifier()
    means = _ends_of_epochs(model, ema_decay=0.5)
    without = _ends_of_epochs(plain, ema_decay=0.0)
    assert all(torch.equal(a, b) for a, b in zip(means, without, strict=True))
    expected = sum(w * x for w, x in zip((1, 2, 4, 8), means, strict=True)) / 15
    torch.testing.assert_close(model.state_dict()[WEIGHT], expected)
    assert torch.equal(plain.state_dict()[WEIGHT], without[-1])


def test_the_validation_loss_is_that_of_the_mean() -> None:
    config = make_config(ema_decay=0.9, epochs=3, early_stopping=None)
    model = make_classifier()
    result = fit(model, DATA, HELD_OUT, config, make_run())
    logits = torch.from_numpy(predict_logits(model, HELD_OUT))
    loss = float(nn.functional.cross_entropy(logits, HELD_OUT.labels))
    best = result.history[result.best_epoch - 1]
    assert best["validation_loss"] == pytest.approx(loss, rel=1e-5)
    alone = fit(make_classifier(), DATA, HELD_OUT, make_config(epochs=3, ema_decay=0.0), make_run())
    assert alone.history[0]["validation_loss"] == result.history[0]["validation_loss"]
    assert alone.history[2]["validation_loss"] != result.history[2]["validation_loss"]
    assert alone.history[2]["training_loss"] == result.history[2]["training_loss"]


def test_a_checkpoint_holds_the_mean_until_training_is_complete(tmp_path: Path) -> None:
    run = make_run(folder=tmp_path, attach_handlers=ctrl_c_at(Events.EPOCH_STARTED(once=3)))
    with pytest.raises(KeyboardInterrupt):
        fit(make_classifier(), DATA, HELD_OUT, make_config(), run)
    last = tmp_path / "checkpoints" / "last.pt"
    held = torch.load(last, weights_only=True)["average"]
    assert held["epochs"] == 2
    assert f"classifier.{WEIGHT}" in held["mean"]
    fit(make_classifier(), DATA, HELD_OUT, make_config(), make_run(folder=tmp_path))
    assert torch.load(last, weights_only=True)["average"] is None
