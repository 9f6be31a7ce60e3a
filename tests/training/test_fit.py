from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events
from torch import nn

from medfuse.errors import ConfigError, TrainingError
from medfuse.training.batches import CaseBatches
from medfuse.training.feature_scale import feature_scale
from medfuse.training.fit import fit
from medfuse.training.predict import predict_logits, predict_shares
from medfuse.training.quick import fit_quickly
from medfuse.training.run import Run
from medfuse.training.setup import _say_full_precision, build_setup

from .conftest import ctrl_c_at, make_cases, make_classifier, make_config, make_run

DATA, HELD_OUT = make_cases(), make_cases(24, 1, seed=9)


class InterruptedRunError(Exception):
    """Stands for a kill at some iteration."""


def _stop_at(iteration: int) -> Callable[[Any, Run], None]:
    def attach(trainer: Any, _run: Run) -> None:
        @trainer.on(Events.ITERATION_STARTED)
        def _check(engine: Any) -> None:
            if engine.state.iteration == iteration:
                raise InterruptedRunError

    return attach


def _equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns_what_the_features_tell() -> None:
    model = make_classifier()
    result = fit(model, DATA, HELD_OUT, make_config(epochs=20), make_run())
    accuracy = (predict_logits(model, HELD_OUT).argmax(1) == HELD_OUT.labels.numpy()).mean()
    assert accuracy > 0.65
    assert result.history[-1]["training_loss"] < result.history[0]["training_loss"]


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not() -> None:
    models = [make_classifier() for _ in range(3)]
    results = []
    for model, seed in zip(models, (1, 1, 2), strict=True):
        torch.rand(random.randrange(9))
        results.append(fit(model, DATA, HELD_OUT, make_config(), make_run(seed=seed)))
    assert results[0] == results[1]
    assert _equal(models[0], models[1])
    assert not _equal(models[0], models[2])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_an_interrupted_run_ends_like_an_unbroken_one(
    tmp_path: Path, seed: int, schedule: str
) -> None:
    config = make_config(epochs=5, schedule=schedule, mixup=0.2, sampler="oversample")
    whole = make_classifier()
    unbroken = fit(whole, DATA, HELD_OUT, config, make_run(seed=seed))
    for _ in range(2):
        stop = random.Random(seed).randrange(2, 30)
        run = make_run(seed=seed, folder=tmp_path, attach_handlers=_stop_at(stop))
        with pytest.raises(InterruptedRunError):
            fit(make_classifier(), DATA, HELD_OUT, config, run)
    resumed = make_classifier()
    result = fit(resumed, DATA, HELD_OUT, config, make_run(seed=seed, folder=tmp_path))
    assert result == unbroken
    assert _equal(resumed, whole)
    assert result.resumed_from == (stop - 1) // 6


def test_ctrl_c_reaches_the_caller_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    at = ctrl_c_at(Events.ITERATION_COMPLETED(once=9))
    run = make_run(folder=tmp_path, attach_handlers=at)
    with pytest.raises(KeyboardInterrupt):
        fit(make_classifier(), DATA, HELD_OUT, make_config(), run)
    state = torch.load(tmp_path / "checkpoints" / "last.pt", weights_only=True)
    assert state["epoch"] == 1


def test_a_complete_run_returns_its_result_without_training(tmp_path: Path) -> None:
    first = make_classifier()
    expected = fit(first, DATA, HELD_OUT, make_config(), make_run(folder=tmp_path))
    again = make_classifier(seed=5)
    run = make_run(folder=tmp_path, attach_handlers=_stop_at(1))
    assert fit(again, DATA, HELD_OUT, make_config(), run) == expected
    assert _equal(again, first)


def test_a_complete_run_keeps_no_more_than_its_best_epoch_and_history(tmp_path: Path) -> None:
    fit(make_classifier(), DATA, HELD_OUT, make_config(), make_run(folder=tmp_path))
    folder = tmp_path / "checkpoints"
    state = torch.load(folder / "last.pt", weights_only=True)
    best = torch.load(folder / "best.pt", weights_only=True)
    assert state["optimizer"] is None
    assert state["learner"] is None
    assert best["epoch"] == state["best"]["epoch"]
    for name, values in state["best"]["state"].items():
        assert torch.equal(values, best["learner"][name])


def test_checkpoints_that_take_long_are_written_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, written = [0.0], []

    def save(path: Path, _state: dict[str, Any]) -> None:
        now[0] += 2.0
        written.append(path.name)

    monkeypatch.setattr("medfuse.training.session.save_checkpoint", save)
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("medfuse.training.session.time", clock)

    def attach(trainer: Any, _run: Run) -> None:
        @trainer.on(Events.EPOCH_STARTED)
        def _pass(_engine: Any) -> None:
            now[0] += 4.0

    run = make_run(folder=tmp_path, checkpoint_seconds=3.0, attach_handlers=attach)
    fit(make_classifier(), DATA, None, make_config(epochs=20), run)
    seconds = 2.0 * len(written)
    assert seconds < 0.25 * now[0]
    assert written.count("last.pt") == 3


def test_a_fresh_run_does_not_resume(tmp_path: Path) -> None:
    fit(make_classifier(), DATA, HELD_OUT, make_config(), make_run(folder=tmp_path))
    run = make_run(folder=tmp_path, resume=False)
    assert fit(make_classifier(), DATA, HELD_OUT, make_config(), run).resumed_from == 0


@pytest.mark.parametrize(
    "change",
    [{"configuration": {"name": "other"}}, {"seed": 7}, {"classes": ("a", "b", "c", "d")}],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    fit(make_classifier(), DATA, HELD_OUT, make_config(), make_run(folder=tmp_path))
    with pytest.raises(TrainingError, match="of another configuration or of other cases"):
        fit(make_classifier(), DATA, HELD_OUT, make_config(), make_run(folder=tmp_path, **change))


def test_a_run_goes_on_on_another_device(tmp_path: Path) -> None:
    def run(device: str) -> Run:
        configuration = {"name": "x", "training": {"device": device, "epochs": 4}}
        return make_run(folder=tmp_path, configuration=configuration)

    fit(make_classifier(), DATA, HELD_OUT, make_config(device="cpu"), run("cpu"))
    result = fit(make_classifier(), DATA, HELD_OUT, make_config(device="auto"), run("auto"))
    assert result.resumed_from == 4


def test_checkpoints_of_other_cases_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    fit(make_classifier(), DATA, None, make_config(), make_run(folder=tmp_path))
    with pytest.raises(TrainingError, match="of other cases"):
        fit(make_classifier(), make_cases(seed=4), None, make_config(), make_run(folder=tmp_path))
    file = tmp_path / "checkpoints" / "last.pt"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"last.pt: this checkpoint cannot be read"):
        fit(make_classifier(), DATA, None, make_config(), make_run(folder=tmp_path))


def test_the_epoch_of_the_smallest_validation_loss_is_kept() -> None:
    model = make_classifier()
    config = make_config(epochs=12, lr=0.2, schedule="constant", early_stopping=None)
    result = fit(model, DATA, HELD_OUT, config, make_run())
    losses = [record["validation_loss"] for record in result.history]
    assert result.best_epoch == int(np.argmin(losses)) + 1
    assert result.best_epoch < 12
    logits = torch.from_numpy(predict_logits(model, HELD_OUT))
    kept = torch.nn.functional.cross_entropy(logits, HELD_OUT.labels)
    assert float(kept) == pytest.approx(min(losses), rel=1e-5)


def test_without_validation_cases_all_epochs_run_and_the_last_is_kept() -> None:
    result = fit(make_classifier(), DATA, None, make_config(), make_run())
    assert (result.best_epoch, result.stopped, len(result.history)) == (4, "epochs", 4)
    assert "validation_loss" not in result.history[0]


def test_early_stopping_counts_epochs_that_do_not_gain_min_delta() -> None:
    settings = {"patience": 3, "min_delta": 100.0}
    result = fit(
        make_classifier(), DATA, HELD_OUT, make_config(epochs=9, early_stopping=settings),
        make_run(),
    )  # fmt: skip
    assert (len(result.history), result.stopped) == (4, "early")
    settings["min_delta"] = 0.0
    result = fit(
        make_classifier(), DATA, HELD_OUT,
        make_config(
            epochs=9, early_stopping=settings, optimizer="adamw", lr=0.001, schedule="constant"
        ),
        make_run(),
    )  # fmt: skip
    assert (len(result.history), result.stopped) == (9, "epochs")


def test_features_are_standardized_by_the_clean_views_of_the_training_cases() -> None:
    model = make_classifier()
    fit(model, DATA, HELD_OUT, make_config(), make_run())
    clean = DATA.features[0][:, 0].numpy()
    np.testing.assert_allclose(model.standardize[0].mean, clean.mean(0), rtol=1e-5)
    scale = feature_scale(DATA.features[0][:, 0])
    np.testing.assert_allclose(model.standardize[0].std, scale, rtol=1e-5)


def test_a_loss_that_is_not_finite_ends_training_with_advice() -> None:
    config = make_config(optimizer="sgd", lr=1e30)
    with pytest.raises(TrainingError, match=r"loss is not finite in epoch .* Lower training.lr"):
        fit(make_classifier(), DATA, HELD_OUT, config, make_run())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_small_clipped_gradient_moves_little(optimizer: str) -> None:
    moved = {}
    for clip in (1e-9, None):
        model, start = make_classifier(), make_classifier()
        config = make_config(
            epochs=1, optimizer=optimizer, clip_gradient=clip, weight_decay=0, momentum=0
        )
        fit(model, DATA, None, config, make_run())
        change = model.head.output.weight - start.head.output.weight
        moved[clip] = float(change.detach().abs().max())
    assert moved[1e-9] < 0.7 * moved[None]


def test_plugin_handlers_see_the_losses_of_the_epoch() -> None:
    seen: list[dict[str, float]] = []

    def attach(trainer: Any, run: Run) -> None:
        assert run.classes == ("a", "b", "c")
        trainer.add_event_handler(
            Events.EPOCH_COMPLETED, lambda e: seen.append(dict(e.state.metrics))
        )

    result = fit(make_classifier(), DATA, HELD_OUT, make_config(), make_run(attach_handlers=attach))
    assert [s["validation_loss"] for s in seen] == [r["validation_loss"] for r in result.history]


def test_tensorboard_events_hold_every_epoch_once_after_a_resume(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = make_run(folder=tmp_path, attach_handlers=_stop_at(15))
    with pytest.raises(InterruptedRunError):
        fit(make_classifier(), DATA, HELD_OUT, make_config(), run)
    result = fit(make_classifier(), DATA, HELD_OUT, make_config(), make_run(folder=tmp_path))
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = events.Scalars("loss/validation")
    assert [e.step for e in found] == [1, 2, 3, 4]
    expected = [r["validation_loss"] for r in result.history]
    assert [e.value for e in found] == pytest.approx(expected)


def test_checkpoints_are_private_and_hold_no_pickled_code(tmp_path: Path) -> None:
    fit(make_classifier(), DATA, HELD_OUT, make_config(), make_run(folder=tmp_path))
    for name in ("last.pt", "best.pt"):
        file = tmp_path / "checkpoints" / name
        assert file.stat().st_mode & 0o777 == 0o600
        torch.load(file, weights_only=True)


def test_one_case_in_the_last_batch_does_not_stop_training() -> None:
    result = fit(make_classifier(), make_cases(17), None, make_config(batch_size=16), make_run())
    assert len(result.history) == 4
    fit(make_classifier(), make_cases(3).select([0]), None, make_config(), make_run())


def test_shares_are_given_where_the_fusion_has_them(average: Callable[[], nn.Module]) -> None:
    assert predict_shares(make_classifier(), HELD_OUT) is None
    shares = predict_shares(make_classifier(decision=average()), HELD_OUT)
    np.testing.assert_allclose(shares, 0.5)


def test_wrong_labels_and_sources_are_named() -> None:
    with pytest.raises(TrainingError, match="class index 2, expected at most 1"):
        fit(make_classifier(), DATA, None, make_config(), make_run(classes=("a", "b")))
    with pytest.raises(TrainingError, match="network has 2 sources, but the cases have 1"):
        one = make_cases()
        from dataclasses import replace

        fit(
            make_classifier(), replace(one, features=one.features[:1]), None, make_config(),
            make_run(),
        )  # fmt: skip


@pytest.mark.parametrize("learn", [fit, fit_quickly])
def test_a_classifier_without_weights_is_named(learn: Callable[..., Any]) -> None:
    fixed = make_classifier().requires_grad_(False)
    with pytest.raises(TrainingError, match="no weights that could be trained"):
        learn(fixed, make_cases(), None, make_config(), make_run())


def test_a_device_that_is_absent_is_named() -> None:
    with pytest.raises(ConfigError, match="training.device: found 'toaster', expected auto, cpu"):
        fit(make_classifier(), DATA, None, make_config(device="toaster"), make_run())


def test_mixed_precision_without_a_gpu_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    _say_full_precision.cache_clear()
    with caplog.at_level("WARNING"):
        for _ in range(2):
            build_setup(DATA, None, make_config(mixed_precision=True), make_run())
    assert caplog.text.count("mixed_precision has no effect on cpu") == 1


def test_validation_batches_cover_all_cases() -> None:
    assert sum(len(b.targets) for b in CaseBatches(HELD_OUT, 3, 7)) == 24
