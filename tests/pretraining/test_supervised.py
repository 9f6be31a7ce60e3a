from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from medfuse.pretraining.supervised import Supervised


def test_an_image_is_told_apart_among_the_classes_of_its_own_set():
    learner = Supervised(nn.Flatten(), 4, [2, 3])
    logits, labels = torch.tensor([[1.0, 2, 90, 90, 90], [90, 90, 0, 0, 0]]), torch.tensor([1, 2])
    exact = (math.log(1 + math.exp(-1)) + math.log(3)) / 2
    assert float(learner.loss(logits, labels)) == pytest.approx(exact, rel=1e-5)
    logits.requires_grad_()
    learner.loss(logits, labels).backward()
    assert logits.grad[0, 2:].abs().sum() == 0
    assert logits.grad[1, :2].abs().sum() == 0


def test_logits_are_of_the_one_view_of_each_image():
    learner = Supervised(nn.Flatten(), 4, [2])
    views = torch.rand(3, 1, 1, 2, 2)
    assert torch.equal(learner(views), learner.logits(views[:, 0]))
