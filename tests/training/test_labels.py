"""Several labels per case in training: loss, members, pools and combiners of decisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import expit

from medfuse.config import ComponentConfig
from medfuse.errors import ConfigError, TrainingError
from medfuse.fusion.average import AverageFusion
from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.fusion.stacking import StackingFusion
from medfuse.heads.multilabel import MultilabelHead
from medfuse.model import ClassifierEnsemble, DecisionClassifier
from medfuse.registry import load_registry
from medfuse.training import Run, TrainingData, fit, fit_temperature, predict_logits
from medfuse.training.choices import known_choices, label_folds
from medfuse.training.classifier import SourceWidth, build_classifier, check_training
from medfuse.training.label_loss import LabelLoss, positive_weights
from medfuse.training.loss import build_loss
from medfuse.training.members import fit_members, member_parts
from medfuse.training.source_heads import with_source_heads

from .conftest import make_config

_NAN = float("nan")


def _cases(count: int = 160, seed: int = 0) -> TrainingData:
    """Two labels, each told by one feature of one of two sources; a fifth of answers unknown."""
    random = np.random.default_rng(seed)
    labels = (random.random((count, 2)) < 0.4).astype(np.int64)
    sources = [random.normal(0, 1, (count, 1, 4)).astype(np.float32) for _ in range(2)]
    for index, source in enumerate(sources):
        source[:, 0, 0] += 3 * labels[:, index]
    hidden = labels.copy()
    hidden[random.random(labels.shape) < 0.2] = -1
    return TrainingData.of(sources, hidden, groups=np.arange(count) // 2)


def _built(fusion: str, hidden: int = 0):
    head = ComponentConfig(use="multilabel", hidden=hidden, dropout=0.0, noise=0.0)
    widths = [SourceWidth(4)] * 2
    return build_classifier(ComponentConfig(use=fusion), head, load_registry(), widths, 2)


def _aurocs(logits: np.ndarray, data: TrainingData) -> list[float]:
    from sklearn.metrics import roc_auc_score

    labels = data.labels.numpy()
    return [
        roc_auc_score(labels[labels[:, k] >= 0, k], logits[labels[:, k] >= 0, k]) for k in (0, 1)
    ]


def test_unknown_answers_give_neither_loss_nor_gradient() -> None:
    logits = torch.randn(6, 3, requires_grad=True)
    targets = torch.randint(0, 2, (6, 3)).float()
    targets[0, 1] = targets[4, 2] = _NAN
    known = ~targets.isnan()
    loss = LabelLoss()(logits, targets)
    expected = F.binary_cross_entropy_with_logits(logits[known], targets[known], reduction="sum")
    torch.testing.assert_close(loss, expected / 18)
    loss.backward()
    assert (logits.grad[~known] == 0).all()
    assert (logits.grad[known] != 0).all()


def test_focal_loss_of_labels_is_that_of_monai() -> None:
    from monai.losses.focal_loss import sigmoid_focal_loss

    logits, targets = torch.randn(6, 3), torch.randint(0, 2, (6, 3)).float()
    expected = sigmoid_focal_loss(logits, targets, gamma=2.0).mean()
    torch.testing.assert_close(LabelLoss(focal_gamma=2.0)(logits, targets), expected)


def test_balanced_weights_give_both_answers_of_a_label_the_same_weight() -> None:
    labels = torch.tensor([[1, 0], [0, 0], [0, -1], [0, 1], [0, 1]])
    torch.testing.assert_close(positive_weights(labels), torch.tensor([4.0, 1.0]))
    loss = build_loss(make_config(class_weights="balanced"), labels, 2, "binary_cross_entropy")
    assert isinstance(loss, LabelLoss)
    torch.testing.assert_close(loss.weights, torch.tensor([4.0, 1.0]))


def test_label_smoothing_moves_answers_to_one_half_in_training_only() -> None:
    logits, targets = torch.randn(4, 2), torch.randint(0, 2, (4, 2)).float()
    smooth = LabelLoss(smoothing=0.2)
    expected = F.binary_cross_entropy_with_logits(logits, 0.8 * targets + 0.1)
    torch.testing.assert_close(smooth.train()(logits, targets), expected)
    torch.testing.assert_close(smooth.eval()(logits, targets), LabelLoss()(logits, targets))


def test_right_answers_are_counted_among_the_known_ones() -> None:
    logits = torch.tensor([[2.0, -1.0, 1.0], [-1.0, -1.0, -1.0]])
    targets = torch.tensor([[1.0, 1.0, _NAN], [0.0, 0.0, 0.0]])
    assert LabelLoss().right(logits, targets).tolist() == [0.5, 1.0]


def test_mixup_with_an_unknown_answer_is_unknown() -> None:
    from medfuse.training.batches import Draws, EpochBatches

    data = _cases()
    batch = next(iter(EpochBatches(data, 2, 160, Draws(mixup=1.0))))
    partner = batch.targets[batch.partner]
    assert batch.targets.isnan().any()
    assert not (batch.targets.isnan() & (batch.targets == partner)).any()


def test_an_ensemble_of_labels_averages_probabilities_one_by_one() -> None:
    class Says(torch.nn.Module):
        def __init__(self, logits: torch.Tensor) -> None:
            super().__init__()
            self.said = logits

        def forward(self, *_: object) -> torch.Tensor:
            return self.said

    said = [torch.randn(5, 3) * 4 for _ in range(3)]
    found = ClassifierEnsemble([Says(x) for x in said], "sigmoid")([], None).sigmoid()
    torch.testing.assert_close(found, torch.stack([x.sigmoid() for x in said]).mean(0))


def test_average_of_decisions_is_the_mean_probability_of_the_sources_present() -> None:
    heads = [MultilabelHead(4, 3, hidden=0) for _ in range(2)]
    for head in heads:
        torch.nn.init.normal_(head.answers.linear.weight)
    model = DecisionClassifier([4, 4], heads, AverageFusion(2, 2), "sigmoid").eval()
    features, mask = [torch.randn(5, 4) for _ in range(2)], torch.ones(5, 2)
    mask[0, 1] = 0
    each = torch.stack([h(x).sigmoid() for h, x in zip(heads, features, strict=True)])
    expected = each.mean(0)
    expected[0] = each[0, 0]
    torch.testing.assert_close(model(features, mask).sigmoid(), expected)
    shares = model.shares(features, mask)
    torch.testing.assert_close(shares[:2], torch.tensor([[1.0, 0.0], [0.5, 0.5]]))


def test_a_stack_of_labels_begins_as_the_mean_of_the_log_odds() -> None:
    heads = [MultilabelHead(4, 3, hidden=0) for _ in range(2)]
    for head in heads:
        torch.nn.init.normal_(head.answers.linear.weight)
    model = DecisionClassifier([4, 4], heads, StackingFusion(2, 2), "sigmoid").eval()
    features = [torch.randn(5, 4) for _ in range(2)]
    expected = torch.stack([h(x) for h, x in zip(heads, features, strict=True)]).mean(0)
    torch.testing.assert_close(model(features), expected)


def test_a_pool_of_opinions_on_labels_adds_log_odds() -> None:
    pool = with_source_heads(_built("concat"), 2).fresh(0).eval()
    assert isinstance(pool, OpinionPool)
    for head in (pool.fused.head, *pool.heads):
        torch.nn.init.normal_(head.answers.linear.weight)
    pool.weights.copy_(torch.tensor([0.5, 0.3, 0.4]))
    features = [torch.randn(5, 4) for _ in range(2)]
    said = pool.opinions(features)
    assert said.shape == (5, 3, 2)
    expected = (said * pool.weights[:, None]).sum(1)
    torch.testing.assert_close(pool(features), expected)


def test_known_answers_become_choices_of_two() -> None:
    logits, labels = torch.randn(3, 2), torch.tensor([[1, -1], [0, 1], [-1, 0]])
    choices, chosen, mask = known_choices(logits, labels, torch.arange(3)[:, None])
    assert chosen.tolist() == [1, 0, 1, 0]
    assert mask[:, 0].tolist() == [0, 1, 1, 2]
    torch.testing.assert_close(choices.exp()[:, 1], logits.sigmoid()[[0, 1, 1, 2], [0, 0, 1, 1]])


def test_one_temperature_fits_the_known_answers_of_all_labels() -> None:
    random = np.random.default_rng(0)
    odds = random.normal(0, 2, (3000, 2))
    labels = (random.random(odds.shape) < expit(odds)).astype(int)
    labels[random.random(odds.shape) < 0.3] = -1
    assert fit_temperature(3 * odds, labels) == pytest.approx(3, rel=0.1)


def test_folds_of_labels_keep_groups_together_and_spread_both_answers() -> None:
    data = _cases()
    parts = label_folds(data, 4, 0)
    assert sorted(np.concatenate(parts)) == list(range(len(data)))
    groups = [set(data.groups.numpy()[part]) for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups))
    labels = data.labels.numpy()
    for index in range(2):
        held = [int((labels[part, index] == 1).sum()) for part in parts]
        assert max(held) - min(held) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["attention", "average", "weighted_average", "stacking"])
def test_every_topology_learns_both_labels(fusion: str) -> None:
    data, new = _cases(), _cases(seed=1)
    model = _built(fusion).fresh(0)
    run = Run(classes=("a", "b"), head_loss="binary_cross_entropy")
    result = fit(model, data, None, make_config(epochs=15, lr=0.05), run)
    assert result.history[-1]["training_accuracy"] > 0.75
    logits = predict_logits(model, new)
    assert logits.shape == (len(new), 2)
    assert min(_aurocs(logits, new)) > 0.85


@pytest.mark.slow
def test_members_of_labels_are_averaged_and_hold_out_every_case_once() -> None:
    data = _cases()
    built = with_source_heads(_built("attention"), 2)
    members = [built.fresh(i) for i in range(3)]
    run = Run(classes=("a", "b"), head_loss="binary_cross_entropy")
    ensemble = fit_members(members, data, make_config(epochs=10, lr=0.05), run)
    assert ensemble.classifier.link == "sigmoid"
    assert min(_aurocs(ensemble.held_out_logits, data)) > 0.85
    each = np.stack([expit(predict_logits(m, data)) for m in members])
    found = expit(predict_logits(ensemble.classifier, data))
    np.testing.assert_allclose(found, each.mean(0), atol=1e-5)


def test_too_many_members_are_refused_by_the_number_of_patients() -> None:
    data = _cases()
    groups = np.unique(data.groups.numpy())
    few = data.select(np.flatnonzero(np.isin(data.groups.numpy(), groups[:2])))
    with pytest.raises(TrainingError, match="is 3, but there are only 2 patients to train on"):
        member_parts(few, 3, seed=0)


def test_oversampling_is_refused_for_labels() -> None:
    head = load_registry().head("multilabel")
    check_training(head, make_config(mixup=0.2, label_smoothing=0.1))
    with pytest.raises(ConfigError, match="Set training.class_weights: balanced"):
        check_training(head, make_config(sampler="oversample"))
