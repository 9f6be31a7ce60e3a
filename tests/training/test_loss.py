from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medfuse.errors import ConfigError
from medfuse.model import coral_log_probabilities, corn_log_probabilities
from medfuse.training.loss import ClassLoss, build_loss

from .conftest import make_config

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 0])


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(8, 3), F.one_hot(LABELS, 3).float()


def test_without_options_it_is_cross_entropy() -> None:
    logits, targets = _batch()
    torch.testing.assert_close(ClassLoss()(logits, targets), F.cross_entropy(logits, LABELS))


def test_focal_loss_with_gamma_0_is_cross_entropy() -> None:
    logits, targets = _batch()
    found = ClassLoss(focal_gamma=0.0)(logits, targets)
    torch.testing.assert_close(found, F.cross_entropy(logits, LABELS))


def test_focal_loss_is_the_papers_formula() -> None:
    logits, targets = _batch()
    p = logits.softmax(1)[torch.arange(8), LABELS]
    found = ClassLoss(focal_gamma=2.0)(logits, targets)
    torch.testing.assert_close(found, (-((1 - p) ** 2) * p.log()).mean())


@pytest.mark.parametrize("gamma", [None, 2.0])
def test_class_weights_scale_each_case(gamma: float | None) -> None:
    logits, targets = _batch()
    weights = torch.tensor([0.5, 1.0, 4.0])
    single = [ClassLoss(focal_gamma=gamma)(logits[i : i + 1], targets[i : i + 1]) for i in range(8)]
    expected = (torch.stack(single) * weights[LABELS]).mean()
    torch.testing.assert_close(ClassLoss(weights, focal_gamma=gamma)(logits, targets), expected)


def test_balanced_weights_give_every_class_the_same_total_and_a_mean_of_one() -> None:
    weights = build_loss(make_config(class_weights="balanced"), LABELS, 3, "auto").weights
    per_case = weights[LABELS]
    assert per_case.mean() == pytest.approx(1)
    totals = [float(per_case[k == LABELS].sum()) for k in range(3)]
    assert totals == pytest.approx([8 / 3] * 3)


def test_a_class_without_cases_weighs_nothing() -> None:
    weights = build_loss(make_config(class_weights="balanced"), LABELS, 4, "auto").weights
    assert weights[3] == 0
    assert weights[LABELS].mean() == pytest.approx(1)


def test_smoothing_is_torchs_and_acts_in_training_only() -> None:
    logits, targets = _batch()
    loss = ClassLoss(smoothing=0.2)
    expected = F.cross_entropy(logits, LABELS, label_smoothing=0.2)
    torch.testing.assert_close(loss(logits, targets), expected)
    torch.testing.assert_close(loss.eval()(logits, targets), F.cross_entropy(logits, LABELS))


def test_losses_of_several_heads_are_added_up() -> None:
    logits, targets = _batch()
    both = torch.stack([logits, -logits], dim=1)
    expected = F.cross_entropy(logits, LABELS) + F.cross_entropy(-logits, LABELS)
    torch.testing.assert_close(ClassLoss()(both, targets), expected)


def test_auto_takes_the_heads_own_loss() -> None:
    assert build_loss(make_config(), LABELS, 3, "focal").focal_gamma == 2.0
    assert build_loss(make_config(loss="cross_entropy"), LABELS, 3, "focal").focal_gamma is None


def test_a_wrong_number_of_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="class_weights has 2 numbers, expected 3"):
        build_loss(make_config(class_weights=[1.0, 2.0]), LABELS, 3, "auto")


def test_the_coral_loss_is_that_of_the_binary_questions_of_the_paper() -> None:
    torch.manual_seed(0)
    logits = (torch.randn(8, 3) * 2).sort(1, descending=True).values.requires_grad_()
    grades = torch.tensor([0, 1, 2, 3, 3, 0, 2, 1])
    levels = (grades[:, None] > torch.arange(3)).float()
    expected = F.binary_cross_entropy_with_logits(logits, levels, reduction="sum") / 8
    found = ClassLoss(graded=True)(coral_log_probabilities(logits), F.one_hot(grades, 4).float())
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(loss, logits)[0] for loss in (found, expected)]
    torch.testing.assert_close(*slopes, atol=1e-5, rtol=1e-4)


def test_the_corn_loss_is_that_of_the_conditional_questions_of_the_paper() -> None:
    torch.manual_seed(0)
    logits = torch.randn(8, 3) * 2
    grades = torch.tensor([0, 1, 2, 3, 3, 0, 2, 1])
    total = 0.0
    for step in range(3):
        asked = grades > step - 1
        above = (grades[asked] > step).float()
        total += F.binary_cross_entropy_with_logits(logits[asked, step], above, reduction="sum")
    found = build_loss(make_config(), grades, 4, "corn")
    targets = F.one_hot(grades, 4).float()
    torch.testing.assert_close(found(corn_log_probabilities(logits), targets), total / 8)


def test_class_weights_scale_each_case_of_the_coral_loss() -> None:
    logits, targets = _batch()
    weights = torch.tensor([0.5, 1.0, 4.0])
    single = [ClassLoss(graded=True)(logits[i : i + 1], targets[i : i + 1]) for i in range(8)]
    expected = (torch.stack(single) * weights[LABELS]).mean()
    torch.testing.assert_close(ClassLoss(weights, graded=True)(logits, targets), expected)


def test_without_smoothing_the_loss_keeps_all_else() -> None:
    loss = ClassLoss(torch.ones(3), 0.2, None, graded=True).unsmoothed()
    assert (loss.smoothing, loss.graded) == (0.0, True)
    assert torch.equal(loss.weights, torch.ones(3))


@pytest.mark.parametrize(("name", "graded"), [("coral", True), ("corn", False), ("focal", False)])
def test_a_heads_own_loss_is_taken(name: str, graded: bool) -> None:
    loss = build_loss(make_config(), LABELS, 3, name)
    assert loss.graded is graded
    assert (loss.focal_gamma is not None) is (name == "focal")
