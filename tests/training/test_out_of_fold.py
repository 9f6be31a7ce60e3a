from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medfuse.errors import TrainingError
from medfuse.fusion.average import AverageFusion
from medfuse.fusion.stacking import StackingFusion
from medfuse.fusion.weighted_average import WeightedAverageFusion
from medfuse.training.fit import fit
from medfuse.training.minimum import to_minimum
from medfuse.training.out_of_fold import fit_combiner, grouped_folds
from medfuse.training.predict import predict_logits

from .conftest import make_cases, make_classifier, make_config, make_run


def _decisions(count: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A source that knows, and one that guesses with confidence."""
    torch.manual_seed(0)
    labels = torch.arange(count) % 3
    knows = torch.nn.functional.one_hot(labels, 3) * 2.0 + torch.randn(count, 3) * 0.5
    guesses = torch.randn(count, 3) * 2
    decisions = torch.stack([knows, guesses], 1).log_softmax(-1)
    return decisions, labels, torch.ones(count, 2)


@pytest.mark.parametrize("kind", [WeightedAverageFusion, StackingFusion])
def test_a_fitted_combiner_trusts_the_source_that_knows(kind: type) -> None:
    decisions, labels, mask = _decisions()
    combine = kind(2, 3)
    before = torch.nn.functional.nll_loss(combine(decisions, mask)[0], labels)
    fit_combiner(combine, decisions, labels, mask)
    logits, shares = combine(decisions, mask)
    assert torch.nn.functional.nll_loss(logits, labels) < before - 0.1
    if shares is not None:
        assert shares[0, 0] > 0.85


def test_without_evidence_the_combiner_stays_near_the_average() -> None:
    decisions, labels, mask = _decisions(3)
    same = decisions[:, :1].expand(-1, 2, -1)
    combine = WeightedAverageFusion(2, 3)
    fit_combiner(combine, same, labels, mask)
    torch.testing.assert_close(combine.scores, torch.zeros(2))


def test_a_combiner_is_at_the_minimum_of_its_loss() -> None:
    """Whatever finds it, and whatever the sums of single precision are here."""
    decisions, labels, mask = _decisions()
    combine = StackingFusion(2, 3)
    start = [p.detach().clone() for p in combine.parameters()]
    fit_combiner(combine, decisions, labels, mask)
    assert all(p.dtype == torch.float32 for p in combine.parameters())
    combine.double()
    moved = sum(((p - s) ** 2).sum() for p, s in zip(combine.parameters(), start, strict=True))
    logits, _ = combine(decisions.double(), mask.double())
    loss = torch.nn.functional.cross_entropy(logits, labels) + 0.01 * moved
    slopes = torch.autograd.grad(loss, list(combine.parameters()))
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-6


class _SingleInTraining(StackingFusion):
    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, None]:
        return super().forward(logits @ torch.eye(3) if self.training else logits, mask)


class _SingleWhereMissing(StackingFusion):
    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, None]:
        return super().forward(logits @ torch.eye(3) if (mask == 0).any() else logits, mask)


class _Checking(StackingFusion):
    def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, None]:
        if logits.dtype != torch.float32:
            raise TypeError(logits.dtype)
        return super().forward(logits, mask)


@pytest.mark.parametrize("kind", [_SingleInTraining, _SingleWhereMissing, _Checking])
def test_a_combiner_that_takes_single_precision_alone_is_fitted_too(kind: type) -> None:
    decisions, labels, mask = _decisions()
    mask[7, 1] = 0
    own, plain = kind(2, 3), StackingFusion(2, 3)
    for combine in (own, plain):
        fit_combiner(combine, decisions, labels, mask)
    torch.testing.assert_close(own.weight, plain.weight, rtol=0, atol=0.02)
    assert not torch.equal(own.weight, torch.eye(3).expand(2, -1, -1) / 2)
    assert (own.weight.dtype, own.training) == (torch.float32, False)


def test_a_combiner_is_fitted_in_training_mode_by_doubles_and_stays_without_a_fit() -> None:
    seen: set[tuple[bool, torch.dtype, torch.dtype]] = set()

    class Watched(StackingFusion):
        def forward(self, logits: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, None]:
            seen.add((self.training, logits.dtype, mask.dtype))
            return super().forward(logits, mask)

    decisions, labels, mask = _decisions()
    combine = Watched(2, 3).eval()
    fit_combiner(combine, decisions, labels, mask)
    assert seen == {(True, torch.float64, torch.float64)}
    assert (combine.weight.dtype, combine.training) == (torch.float32, False)
    weight = combine.weight.detach().clone()
    with pytest.raises(TrainingError, match="no finite fit. Use fusion: average"):
        fit_combiner(combine, decisions * torch.nan, labels, mask)
    assert torch.equal(combine.weight, weight)
    assert (combine.weight.dtype, combine.training) == (torch.float32, False)


@torch.no_grad()
def test_a_minimum_is_found_by_one_thread_whatever_shape_the_slopes_come_in() -> None:
    threads, asked = torch.get_num_threads(), []
    goal, moved = torch.arange(12.0).view(4, 3), torch.zeros(3, 4, requires_grad=True)

    def loss() -> torch.Tensor:
        asked.append(torch.get_num_threads())
        return ((moved.t().contiguous() - goal) ** 2).sum()

    torch.set_num_threads(2)
    try:
        assert to_minimum([moved], loss) == pytest.approx(0, abs=1e-9)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(moved, goal.t().contiguous())
    assert set(asked) == {1}


def test_parameters_end_where_the_loss_is_what_is_returned(monkeypatch) -> None:
    def stops_early(at, start, **_):
        best, value = start + 1, at(start + 1)[0]
        at(start + 9)
        return SimpleNamespace(x=best, fun=value + 7)

    monkeypatch.setattr("medfuse.training.minimum.minimize", stops_early)
    moved = torch.zeros(2, requires_grad=True)
    assert to_minimum([moved], lambda: torch.sum((moved - 3) ** 2)) == 8
    assert moved.tolist() == [1, 1]


def test_a_parameter_that_the_loss_does_not_depend_on_stays() -> None:
    moved, left = (torch.nn.Parameter(torch.full((2,), value)) for value in (1.0, 5.0))
    lowest = to_minimum([moved, left], lambda: ((moved - 3) ** 2).sum() + 0.5)
    torch.testing.assert_close(moved.detach(), torch.full((2,), 3.0))
    assert torch.equal(left, torch.full((2,), 5.0))
    assert lowest == pytest.approx(0.5)


def test_a_loss_that_is_no_number_is_no_fit() -> None:
    decisions, labels, mask = _decisions(40)
    decisions[3, 0] = torch.nan
    with pytest.raises(TrainingError, match="no finite fit"):
        fit_combiner(StackingFusion(2, 3), decisions, labels, mask)


def test_folds_keep_patients_together_and_cover_all_cases_once() -> None:
    patients = [f"p{i // 3}" for i in range(45)]
    data = make_cases(groups=patients)
    held_out = []
    for train, rest in grouped_folds(data, 5, 0):
        assert not {patients[i] for i in train} & {patients[i] for i in rest}
        held_out += rest.tolist()
    assert sorted(held_out) == list(range(45))


def test_classes_of_fewer_cases_than_folds_get_fewer_folds() -> None:
    assert len(list(grouped_folds(make_cases(9), 5, 0))) == 3


def test_one_patient_is_too_few() -> None:
    with pytest.raises(TrainingError, match="at least 2 patients. Use fusion: average"):
        list(grouped_folds(make_cases(groups=["p"] * 45), 5, 0))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [AverageFusion, WeightedAverageFusion, StackingFusion])
def test_decision_fusions_learn_and_resume(kind: type, tmp_path: Path) -> None:
    data, held_out, config = make_cases(), make_cases(24, 1, seed=9), make_config(epochs=15)
    first, second = (make_classifier(decision=kind(2, 3)) for _ in range(2))
    fit(first, data, held_out, config, make_run(folder=tmp_path))
    logits = predict_logits(first, held_out)
    assert (logits.argmax(1) == held_out.labels.numpy()).mean() > 0.7
    np.testing.assert_allclose(np.exp(logits).sum(1), 1, rtol=1e-4)
    fit(second, data, held_out, config, make_run(folder=tmp_path))
    np.testing.assert_array_equal(predict_logits(second, held_out), logits)


def test_heads_learn_as_if_each_were_alone() -> None:
    """The sum of the heads' losses has the gradient of each loss in its own head."""
    model = make_classifier(decision=AverageFusion(2, 3))
    fit(model, make_cases(), None, make_config(), make_run())
    from dataclasses import replace

    from medfuse.fusion.average import AverageFusion as Average
    from medfuse.heads.linear import LinearHead
    from medfuse.model import DecisionClassifier

    alone = DecisionClassifier((6,), [LinearHead(6, 3)], Average(1, 3))
    data = make_cases()
    fit(alone, replace(data, features=data.features[:1]), None, make_config(), make_run())
    torch.testing.assert_close(alone.heads[0].linear.weight, model.heads[0].linear.weight)
