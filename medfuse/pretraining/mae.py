"""Masked autoencoding: hidden places of an image are painted from the places that are seen.

He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners",
doi 10.1109/CVPR52688.2022.01553; for volumes as in Feichtenhofer et al. 2022, arXiv:2205.09113.
Deviations: the class token comes to the decoder behind the encoder's own head of it; patches are
normalized with a larger constant, since medical images have empty corners, and their noise is
nothing to learn.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from monai.networks.blocks.pos_embed_utils import build_sincos_position_embedding
from torch import Tensor, nn

from medfuse.pretraining.tokens import TokenNetwork

_HEADS = 4
_VARIANCE = 1e-4  # of pixels in [0, 1]: a standard deviation of 2.5 gray values of 256


class Painting(NamedTuple):
    """What the decoder painted.

    Attributes:
        patches: ``(N, T, P)``, normalized pixels of every place.
        target: the same of the image.
        hidden: ``(N, T)``, 1 where the encoder did not see the place.
    """

    patches: Tensor
    target: Tensor
    hidden: Tensor


class DecoderShape(NamedTuple):
    """How large the decoder is, and how much is hidden from the encoder."""

    width: int = 192
    depth: int = 2
    hidden: float = 0.75


class MaskedAutoencoder(nn.Module):
    """A network of tokens with a decoder that is thrown away after the training.

    Args:
        source: with ``adapter`` and ``backbone``.
        network: the same backbone, whose tokens can be hidden.
        patch: pixels ``(C, *sides)`` of a place in a view.
        shape: of the decoder.
    """

    def __init__(
        self, source: nn.Module, network: TokenNetwork, patch: tuple[int, ...], shape: DecoderShape
    ) -> None:
        super().__init__()
        self.source = source
        self._network = (network,)  # in a tuple: its weights are those of the source
        self._sides, self._kept = patch[1:], max(1, round(network.count * (1 - shape.hidden)))
        self.embed = nn.Linear(network.width, shape.width)
        self.embed_vector = (
            nn.Linear(network.pooled_width, shape.width) if network.pooled_width else None
        )
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, shape.width))
        self.places = _places(network.grid, shape.width)
        layer = nn.TransformerEncoderLayer(
            shape.width, _HEADS, 4 * shape.width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(shape.width)
        self.decoder = nn.TransformerEncoder(layer, shape.depth, norm, enable_nested_tensor=False)
        self.paint = nn.Linear(shape.width, int(torch.Size(patch).numel()))

    def forward(self, views: Tensor) -> Painting:
        """Return the painting of views ``(N, 1, C, *size)``; what is hidden is drawn anew."""
        images = views.flatten(0, 1)
        target = patches_of(images, self._sides)
        count = target.shape[1]
        # Drawn on the CPU: the same places whatever computes.
        order = torch.rand(len(images), count).argsort(1).to(images.device)
        kept = order[:, : self._kept]
        hidden = torch.ones(len(images), count, device=images.device).scatter(1, kept, 0)
        return Painting(self.paint(self._decoded(images, kept)), normalized(target), hidden)

    def loss(self, painting: Painting, _labels: Tensor) -> Tensor:
        """Return the mean squared error of hidden places alone, in FP32."""
        error = (painting.patches.float() - painting.target).square().mean(2)
        return (error * painting.hidden).sum() / painting.hidden.sum()

    def _decoded(self, images: Tensor, kept: Tensor) -> Tensor:
        """Return ``(N, T, width)`` of every place, hidden or not."""
        adapter: nn.Module = self.source.adapter  # type: ignore[assignment]
        tokens, vector = self._network[0].visible(adapter(images), kept)
        seen = self.embed(tokens)
        whole = self.mask_token.to(seen.dtype).repeat(len(images), self.places.shape[1], 1)
        whole = whole.scatter(1, kept.unsqueeze(2).expand(-1, -1, seen.shape[2]), seen)
        whole = whole + self.places
        if self.embed_vector is None or vector is None:
            found: Tensor = self.decoder(whole)
            return found
        first = self.embed_vector(vector).unsqueeze(1)
        return self.decoder(torch.cat((first, whole), 1))[:, 1:]  # type: ignore[no-any-return]


def _places(grid: tuple[int, ...], width: int) -> nn.Parameter:
    """Return ``(1, T, width)``, fixed: sines and cosines of the places on a grid."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")  # of MONAI's call
        found: nn.Parameter = build_sincos_position_embedding(list(grid), width, len(grid))
    return found


def patches_of(images: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Return the patches ``(N, T, C * prod(sides))`` of images ``(N, C, *spatial)``, row by row."""
    cut = images
    for axis, side in enumerate(sides):
        cut = cut.unfold(2 + axis, side, side)
    dims = len(sides)
    # (N, C, *grid, *sides) -> (N, *grid, C, *sides)
    cut = cut.movedim(1, 1 + dims)
    return cut.flatten(1 + dims).flatten(1, dims)


def normalized(patches: Tensor) -> Tensor:
    """Return patches with mean 0 and standard deviation 1 each, but for empty ones."""
    mean, variance = patches.mean(2, keepdim=True), patches.var(2, keepdim=True)
    return (patches - mean) / (variance + _VARIANCE).sqrt()
