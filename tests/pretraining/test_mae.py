from __future__ import annotations

import pytest
import torch

from medfuse.pretraining.mae import Painting, normalized, patches_of
from medfuse.pretraining.methods import build_learner, settled
from medfuse.pretraining.network import build_trainee
from medfuse.registry import load_registry
from tests.pretraining.conftest import VISION_TRANSFORMERS, settings

CASES = [pytest.param(*case, id=str(case[0]["backbone"])) for case in VISION_TRANSFORMERS]


def learner_of(dims: int = 2, **changes: object):
    trainee = build_trainee(settings(**changes), load_registry(), dims)
    return build_learner(trainee, settled(settings(**changes, method="mae"), trainee))


def waves(count: int, size: tuple[int, ...]) -> torch.Tensor:
    """Return images ``(N, 1, 1, *size)`` whose every part tells what the rest is."""
    random = torch.Generator().manual_seed(0)
    grids = torch.meshgrid(*(torch.linspace(0, 1, side) for side in size), indexing="ij")
    phases = torch.rand(count, generator=random)
    found = [0.5 + 0.5 * torch.sin(6.3 * (sum(grids) + phase)) for phase in phases]
    return torch.stack(found)[:, None, None]


def test_patches_are_the_parts_of_an_image_row_by_row():
    image = torch.arange(2 * 4 * 6).view(1, 2, 4, 6)
    patches = patches_of(image, (2, 3))
    assert patches.shape == (1, 4, 12)
    assert torch.equal(patches[0, 1], image[0, :, :2, 3:].flatten())
    assert torch.equal(patches[0, 2], image[0, :, 2:, :3].flatten())
    volume = torch.arange(2 * 4 * 4 * 6).view(2, 1, 4, 4, 6)
    assert torch.equal(patches_of(volume, (2, 2, 3))[1, 1], volume[1, :, :2, :2, 3:].flatten())


def test_patches_are_normalized_but_the_noise_of_an_empty_one_stays_small():
    lively = torch.rand(1, 1, 256)
    found = normalized(torch.cat((lively, 0.001 * lively), 1))
    assert float(found[0, 0].std()) == pytest.approx(1, abs=0.01)
    assert float(found[0, 1].std()) < 0.1


def test_the_error_of_hidden_places_alone_is_the_loss():
    learner = learner_of(backbone="timm:test_vit", size=32)
    target, hidden = torch.randn(2, 4, 256), torch.tensor([[1.0, 0, 1, 1], [0, 1, 1, 1]])
    wrong_where_seen = target + 7 * (1 - hidden).unsqueeze(2)
    assert float(learner.loss(Painting(wrong_where_seen, target, hidden), hidden)) == 0
    wrong_at_one = target.clone()
    wrong_at_one[0, 2] += 3
    loss = float(learner.loss(Painting(wrong_at_one, target, hidden), hidden))
    assert loss == pytest.approx(9 / 6, rel=1e-5)


@pytest.mark.parametrize(("changes", "dims"), CASES)
def test_three_of_four_places_are_hidden_and_painted_from_the_fourth(changes, dims):
    learner = learner_of(dims, **changes)
    learner.eval()
    views = waves(3, (32,) * dims)
    torch.manual_seed(1)
    painting = learner(views)
    assert painting.hidden.sum(1).tolist() == [3 * 2**dims / 4] * 3
    other = views.clone()
    row = painting.hidden[0].repeat_interleave(1).view((2,) * dims)
    for axis in range(dims):
        row = row.repeat_interleave(16, axis)
    other[0, 0, 0] += row * torch.rand(row.shape)  # all that is hidden of the first image
    torch.manual_seed(1)
    torch.testing.assert_close(learner(other).patches, painting.patches)
    assert not torch.allclose(learner(other).target, painting.target)


def steps(learner, views: torch.Tensor, count: int) -> list[float]:
    optimizer, losses = torch.optim.AdamW(learner.parameters(), 5e-4), []
    learner.train()
    torch.manual_seed(0)
    for _ in range(count):
        optimizer.zero_grad()
        loss = learner.loss(learner(views), torch.empty(0))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "dims"), CASES)
def test_learning_lowers_the_loss_and_moves_every_weight(changes, dims):
    learner = learner_of(dims, **changes)
    losses = steps(learner, waves(8, (32,) * dims), 24)
    assert sum(losses[-3:]) / 3 < 0.92 * losses[0]
    still = [n for n, p in learner.named_parameters() if p.requires_grad and p.grad is None]
    assert [name for name in still if "cross_attn" not in name] == []  # unused by MONAI itself


@pytest.mark.slow
def test_what_is_hidden_is_painted_after_some_time():
    """A network that sees nothing paints means, at a loss of 0.9."""
    _, (changes, dims), _ = VISION_TRANSFORMERS
    losses = steps(learner_of(dims, **changes), waves(8, (32,) * dims), 180)
    assert sum(losses[-10:]) / 10 < 0.35
