from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from medfuse.pretraining.simclr import SimCLR


def test_loss_is_that_of_the_paper():
    learner = SimCLR(nn.Identity(), 4, 8, temperature=0.5)
    z = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    unit = z / z.norm(dim=1, keepdim=True)
    likeness = torch.exp(unit @ unit.T / 0.5)
    terms = [
        -math.log(likeness[i, (i + 3) % 6] / (likeness[i].sum() - likeness[i, i])) for i in range(6)
    ]
    assert float(learner.loss(z, z)) == pytest.approx(sum(terms) / 6, rel=1e-4)


def test_views_of_one_image_are_the_pairs_of_the_loss():
    learner = SimCLR(nn.Flatten(), 4, 4, 0.1)
    learner.projector = nn.Identity()
    views = torch.eye(4).view(4, 1, 1, 2, 2).repeat(1, 2, 1, 1, 1)
    assert torch.equal(learner(views), torch.eye(4).repeat(2, 1))
    assert float(learner.loss(learner(views), views)) < 0.01
