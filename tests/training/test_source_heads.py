from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medfuse.config import ComponentConfig
from medfuse.errors import TrainingError
from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.heads.linear import LinearHead
from medfuse.model import DecisionClassifier, FeatureClassifier
from medfuse.registry.registry import load_registry
from medfuse.training.classifier import BuiltClassifier, SourceWidth, build_classifier
from medfuse.training.fit import fit
from medfuse.training.members import fit_members
from medfuse.training.opinions import fit_weights
from medfuse.training.predict import predict_logits
from medfuse.training.source_heads import with_source_heads

from .conftest import CLASSES, DIMS, make_cases, make_classifier, make_config, make_run


def _pool(seed: int = 0) -> OpinionPool:
    fused = make_classifier(seed)
    torch.manual_seed(seed)
    return OpinionPool(fused, [LinearHead(dim, len(CLASSES)) for dim in DIMS])


def _built(fusion: str, dims: tuple[int, ...] = DIMS) -> BuiltClassifier:
    use = [ComponentConfig(use=name) for name in (fusion, "linear")]
    return build_classifier(*use, load_registry(), [SourceWidth(d) for d in dims], len(CLASSES))


def test_a_fused_classifier_gets_a_head_per_source_and_a_recipe() -> None:
    built = with_source_heads(_built("attention"), len(CLASSES))
    assert isinstance(built.module, OpinionPool)
    assert built.node["fused"]["_target_"] == "scripts.model.FeatureClassifier"
    assert [head["in_dim"] for head in built.node["heads"]] == list(DIMS)
    assert built.vendored[-1] == "medfuse.fusion.opinion_pool"
    one, same = built.fresh(3), built.fresh(3)
    torch.testing.assert_close(one.state_dict(), same.state_dict())


@pytest.mark.parametrize(
    ("fusion", "dims", "kind"),
    [("concat", (6,), FeatureClassifier), ("average", DIMS, DecisionClassifier)],
)
def test_a_single_source_and_decisions_stay_as_they_are(
    fusion: str, dims: tuple[int, ...], kind: type
) -> None:
    built = _built(fusion, dims)
    assert with_source_heads(built, len(CLASSES)) is built
    assert isinstance(built.module, kind)


def test_the_heads_learn_as_if_each_were_alone() -> None:
    pool, data = _pool(), make_cases()
    alone = FeatureClassifier(DIMS[1:], torch.nn.Identity(), LinearHead(DIMS[1], len(CLASSES)))
    alone.fusion.forward = lambda features, mask: (features[0], None)  # type: ignore[method-assign]
    alone.head.load_state_dict(pool.heads[1].state_dict())
    before = pool.fused.head.hidden.weight.clone()
    fit(pool, data, None, make_config(), make_run())
    fit(alone, replace(data, features=data.features[1:]), None, make_config(), make_run())
    torch.testing.assert_close(pool.heads[1].linear.weight, alone.head.linear.weight)
    assert not torch.equal(pool.fused.head.hidden.weight, before)


def test_weights_follow_who_knows() -> None:
    torch.manual_seed(0)
    labels = torch.arange(400) % 3
    knows = torch.nn.functional.one_hot(labels, 3) * 2.0 + torch.randn(400, 3) * 0.5
    guesses = torch.randn(2, 400, 3) * 2
    opinions = torch.stack([knows, *guesses], 1).log_softmax(-1)
    weights = fit_weights(opinions, labels)
    assert weights[0] > 0.8
    assert (weights[1:] < 0.2 * weights[0]).all()


def test_an_opinion_that_is_no_number_is_told() -> None:
    opinions = torch.zeros(6, 3, 2).log_softmax(-1)
    opinions[2, 1] = torch.nan
    with pytest.raises(TrainingError, match=r"no finite weights\. Set training\.source_heads"):
        fit_weights(opinions, torch.arange(6) % 2)


def test_weights_of_a_few_cases_stay_near_equal() -> None:
    """That one opinion was right five times and the others guessed says little."""
    torch.manual_seed(0)
    labels = torch.arange(500) % 2
    knows = torch.nn.functional.one_hot(labels, 2) * 4.0
    opinions = torch.stack([knows, *torch.randn(2, 500, 2)], 1).log_softmax(-1)
    few, many = fit_weights(opinions[:5], labels[:5]), fit_weights(opinions, labels)
    assert 0.2 < few[0] < 0.7
    assert many[0] > 2 * few[0]


def test_weights_stay_equal_without_evidence() -> None:
    opinions = torch.zeros(6, 3, 2).log_softmax(-1)
    weights = fit_weights(opinions, torch.arange(6) % 2)
    torch.testing.assert_close(weights, torch.full((3,), 1 / 3), atol=1e-4, rtol=0)


def test_a_source_of_noise_hurts_the_pool_less_than_concatenation() -> None:
    numbers = np.random.default_rng(0)
    data, test = make_cases(60, 1), make_cases(300, 1, seed=5)
    noisy = [
        replace(d, features=(d.features[0], torch.as_tensor(noise)))
        for d in (data, test)
        for noise in [numbers.normal(size=(len(d), 1, DIMS[1])).astype(np.float32)]
    ]
    config, run = make_config(epochs=15), make_run()
    pools = fit_members([_pool(i) for i in range(3)], noisy[0], config, run)
    weights = pools.classifier.members[0].weights
    assert weights[2] < 0.5 * weights[1]
    fused = fit_members([make_classifier(i) for i in range(3)], noisy[0], config, run)
    likely = [
        torch.nn.functional.cross_entropy(
            torch.as_tensor(predict_logits(e.classifier, noisy[1])), test.labels
        )
        for e in (pools, fused)
    ]
    assert likely[0] < likely[1]


def test_members_share_weights_and_held_out_logits_use_them() -> None:
    data, members = make_cases(), [_pool(i) for i in range(3)]
    found = fit_members(members, data, make_config(), make_run())
    first, *others = (member.weights for member in members)
    assert not torch.equal(first, torch.full((3,), 1 / 3))
    assert all(torch.equal(first, other) for other in others)
    left_out = [predict_logits(member, data) for member in members]
    for row, logits in zip(found.held_out_logits, zip(*left_out, strict=True), strict=True):
        assert min(np.abs(row - each).max() for each in logits) < 1e-5


def test_a_finished_ensemble_is_read_back_with_its_weights(tmp_path: Path) -> None:
    data, run = make_cases(), make_run(folder=tmp_path)
    one = fit_members([_pool(i) for i in range(3)], data, make_config(), run)
    two = fit_members([_pool(i) for i in range(3)], data, make_config(), run)
    torch.testing.assert_close(one.classifier.state_dict(), two.classifier.state_dict())
    np.testing.assert_array_equal(one.held_out_logits, two.held_out_logits)


def test_the_history_tells_the_mean_loss_of_the_heads() -> None:
    pool, data = _pool(), make_cases()
    for head in pool.heads:
        torch.nn.init.zeros_(head.linear.weight)
        torch.nn.init.zeros_(head.linear.bias)
    torch.nn.init.zeros_(pool.fused.head.output.weight)
    torch.nn.init.zeros_(pool.fused.head.output.bias)
    result = fit(pool, data, data, make_config(epochs=1, lr=1e-9), make_run())
    assert result.history[0]["training_loss"] == pytest.approx(np.log(3), rel=1e-4)
    assert result.history[0]["validation_loss"] == pytest.approx(np.log(3), rel=1e-4)
