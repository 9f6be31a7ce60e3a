"""Grades from K - 1 logits: the formulas of CORAL and CORN in NumPy, and what any logits keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from medfuse.exporters.onnx import write_traced
from medfuse.fusion.average import AverageFusion
from medfuse.fusion.concat import ConcatFusion
from medfuse.model import (
    ClassifierEnsemble,
    DecisionClassifier,
    FeatureClassifier,
    coral_log_probabilities,
    corn_log_probabilities,
)

LINKS = {"coral": coral_log_probabilities, "corn": corn_log_probabilities}


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def test_coral_takes_differences_of_the_probabilities_to_be_above() -> None:
    logits = np.sort(np.random.default_rng(0).normal(size=(20, 4)) * 3)[:, ::-1].copy()
    above = np.concatenate([np.ones((20, 1)), _sigmoid(logits), np.zeros((20, 1))], axis=1)
    found = coral_log_probabilities(torch.tensor(logits, dtype=torch.float32)).exp()
    np.testing.assert_allclose(found, above[:, :-1] - above[:, 1:], atol=1e-6)


@pytest.mark.parametrize("gap", [1e-6, 1e-4, 0.1, 1.0, 8.0, 40.0, 1e3])
def test_the_grade_between_two_thresholds_is_exact_however_near_they_are(gap: float) -> None:
    logits = torch.tensor([[gap / 2, -gap / 2]], requires_grad=True)
    found = coral_log_probabilities(logits)[0, 1]
    upper = torch.tensor(gap / 2, dtype=torch.float64)
    between = 2 * F.logsigmoid(upper) + torch.log(-torch.expm1(-2 * upper - 1e-6))
    torch.testing.assert_close(found.double(), between, atol=1e-6, rtol=1e-5)
    found.backward()
    assert torch.isfinite(logits.grad).all()


def test_corn_multiplies_the_conditional_probabilities() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 4)) * 3
    above = np.cumprod(_sigmoid(logits), axis=1)
    above = np.concatenate([np.ones((20, 1)), above, np.zeros((20, 1))], axis=1)
    found = corn_log_probabilities(torch.tensor(logits, dtype=torch.float32)).exp()
    np.testing.assert_allclose(found, above[:, :-1] - above[:, 1:], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-80, 80, width=32), min_size=1, max_size=6),
    link=st.sampled_from(sorted(LINKS)),
)
def test_any_logits_give_finite_log_probabilities_of_sum_one(
    values: list[float], link: str
) -> None:
    logits = torch.tensor([values], requires_grad=True)
    found = LINKS[link](logits)
    assert found.shape == (1, len(values) + 1)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.exp().sum(1), torch.ones(1), atol=1e-5, rtol=0)
    found.sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_coral_logits_out_of_order_leave_a_grade_next_to_nothing() -> None:
    chances = coral_log_probabilities(torch.tensor([[0.0, 2.0, -1.0]])).exp()[0]
    assert 0 < chances[1] < 1e-5
    torch.testing.assert_close(chances[0], torch.tensor(0.5))


@pytest.mark.parametrize("link", sorted(LINKS))
def test_both_topologies_and_their_ensemble_end_in_grades(link: str) -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 3)
    expected = LINKS[link](logits)
    fused = FeatureClassifier([3], ConcatFusion([3]), nn.Identity(), link)
    decided = DecisionClassifier([3], [nn.Identity()], AverageFusion(1, 4), link)
    for classifier in (fused, decided, ClassifierEnsemble([fused, decided])):
        found = classifier([logits])
        assert found.shape == (6, 4)
        torch.testing.assert_close(found.softmax(1), expected.exp(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("link", sorted(LINKS))
def test_a_traced_link_takes_other_batch_sizes(link: str) -> None:
    graph = torch.jit.trace(LINKS[link], torch.randn(2, 3))
    logits = torch.randn(9, 3)
    torch.testing.assert_close(graph(logits), LINKS[link](logits))


@pytest.mark.parametrize("link", sorted(LINKS))
def test_onnx_gives_the_same_for_logits_far_from_zero(link: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    path = tmp_path / "link.onnx"
    names = {"input_names": ["logits"], "dynamic_axes": {"logits": {0: "batch"}}}
    write_traced(_Link(link), (torch.randn(3, 3),), path, **names)
    session = runtime.InferenceSession(path)
    logits = torch.randn(50, 3) * 60
    found = session.run(None, {"logits": logits.numpy()})[0]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(np.exp(found), LINKS[link](logits).exp(), atol=1e-6)


class _Link(nn.Module):
    """A link as a module, as exporters need."""

    def __init__(self, link: str) -> None:
        super().__init__()
        self.link = link

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return LINKS[self.link](logits)
