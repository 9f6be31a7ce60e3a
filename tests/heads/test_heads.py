from __future__ import annotations

import pytest
import torch
from torch import nn

from medfuse.builtin import medfuse_heads
from medfuse.heads.coral import CoralHead
from medfuse.heads.corn import CornHead
from medfuse.heads.linear import LinearHead
from medfuse.heads.mlp import MlpHead, RowSafeBatchNorm
from medfuse.heads.multilabel import MultilabelHead
from medfuse.heads.prototype import PrototypeHead
from medfuse.heads.sigmoid import SigmoidHead
from medfuse.model import coral_log_probabilities

HEADS = [
    LinearHead(6, 2, noise=0.5, dropout=0.2),
    MlpHead(6, 2, hidden=5),
    SigmoidHead(6, 2, noise=0.5),
    PrototypeHead(6, 2, noise=0.5),
    PrototypeHead(6, 2, distance="euclidean", noise=0.5),
    CoralHead(6, 4, hidden=5),
    CornHead(6, 4, hidden=0),
    MultilabelHead(6, 4, hidden=5),
]


@pytest.mark.parametrize("head", HEADS, ids=lambda h: type(h).__name__)
def test_noise_and_dropout_act_in_training_only(head: nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(8, 6)
    head.train()
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))


@pytest.mark.parametrize("head", HEADS, ids=lambda h: type(h).__name__)
def test_the_traced_graph_takes_other_batch_sizes(head: nn.Module) -> None:
    graph = torch.jit.trace(head.eval(), torch.randn(2, 6))
    x = torch.randn(9, 6)
    torch.testing.assert_close(graph(x), head(x))


@pytest.mark.parametrize("spec", list(medfuse_heads()), ids=lambda s: s.name)
def test_declared_output_width_is_the_real_one(spec: object) -> None:
    made = {type(head).__name__.removesuffix("Head").lower(): type(head) for head in HEADS}
    for classes in (2,) if spec.single_logit else (2, 5):
        built = made[spec.name](6, classes).eval()
        assert built(torch.randn(3, 6)).shape == (3, spec.output_dim(classes))


def test_a_training_batch_of_one_row_is_normalized_by_the_running_statistics() -> None:
    norm = RowSafeBatchNorm(3)
    norm(torch.randn(50, 3) * 4 + 2)
    before = norm.running_mean.clone()
    row = torch.randn(1, 3)
    found = norm(row)
    assert torch.equal(norm.running_mean, before)
    torch.testing.assert_close(found, norm.eval()(row))


def test_larger_batches_are_normalized_as_torch_does() -> None:
    torch.manual_seed(0)
    ours, theirs, x = RowSafeBatchNorm(3), nn.BatchNorm1d(3), torch.randn(9, 3)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.running_var, theirs.running_var)


def test_the_mlp_in_evaluation_is_the_plain_formula() -> None:
    torch.manual_seed(0)
    head, x = MlpHead(6, 3, hidden=5).eval(), torch.randn(4, 6)
    hidden = x @ head.hidden.weight.T + head.hidden.bias
    hidden = (hidden / (1 + head.norm.eps) ** 0.5).clamp(min=0)
    torch.testing.assert_close(head(x), hidden @ head.output.weight.T + head.output.bias)


def test_the_sigmoid_head_refuses_three_classes() -> None:
    with pytest.raises(ValueError, match=r"separates 2 classes, found 3. Use linear or mlp"):
        SigmoidHead(4, 3)


def test_cosine_prototypes_are_scaled_cosines() -> None:
    head, x = PrototypeHead(6, 3, scale=7.0), torch.randn(4, 6)
    expected = 7 * torch.cosine_similarity(x[:, None], head.prototypes[None], dim=2)
    torch.testing.assert_close(head(x), expected)
    torch.testing.assert_close(head(100 * x), expected)


def test_euclidean_prototypes_are_scaled_mean_squared_distances() -> None:
    head, x = PrototypeHead(6, 3, distance="euclidean", scale=7.0), torch.randn(4, 6)
    nn.init.normal_(head.prototypes)
    expected = -7 * torch.cdist(x, head.prototypes) ** 2 / 6
    torch.testing.assert_close(head(x), expected)


def test_cosine_prototypes_say_nothing_of_features_that_are_all_zero() -> None:
    logits = PrototypeHead(6, 3)(torch.zeros(2, 6))
    assert (logits == 0).all()


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_coral_thresholds_start_evenly_around_zero_and_stay_ordered(classes: int) -> None:
    head = CoralHead(6, classes, hidden=0)
    start = head(torch.randn(1, 6))[0]
    torch.testing.assert_close(start, 2.0 * (classes - 2) - 4.0 * torch.arange(classes - 1))
    nn.init.normal_(head.thresholds, std=5.0)
    logits = head(torch.randn(9, 6))
    assert (logits.diff(dim=1) <= 0).all()


def test_every_grade_of_an_untrained_coral_head_can_be_the_most_probable() -> None:
    head = CoralHead(6, 5, hidden=0)
    scores = torch.linspace(-12, 12, 97)[:, None]
    nn.init.constant_(head.score.linear.weight, 1.0)
    chances = coral_log_probabilities(head(torch.cat([scores, torch.zeros(97, 5)], 1)))
    assert set(chances.argmax(1).tolist()) == set(range(5))


def test_all_coral_logits_share_one_score() -> None:
    head = CoralHead(6, 4, hidden=5).eval()
    logits = head(torch.randn(9, 6))
    apart = logits - logits[:, :1]
    torch.testing.assert_close(apart, apart[:1].expand_as(apart), atol=1e-5, rtol=0)


def test_the_first_step_turns_cosine_prototypes_toward_their_classes() -> None:
    torch.manual_seed(0)
    means = torch.randn(3, 50)
    labels = torch.arange(3).repeat(5)
    head = PrototypeHead(50, 3)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    torch.nn.functional.cross_entropy(head(means[labels]), labels).backward()
    optimizer.step()
    nearest = torch.cosine_similarity(head.prototypes[:, None], means[None], dim=2).argmax(1)
    assert nearest.tolist() == [0, 1, 2]
