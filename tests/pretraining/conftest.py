"""A small pool of generated images, and how a tiny network learns from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medfuse.data.pixel_digest import pixel_digest
from medfuse.errors import ImageError
from medfuse.preprocessing import CanonicalImage
from medfuse.pretraining.pool import Pool, PoolFile, fill_pool
from medfuse.pretraining.settings import PretrainingSettings, parse_settings

_SMALL = {"num_layers": 2, "hidden_size": 48, "num_heads": 4, "mlp_dim": 64}
VISION_TRANSFORMERS: list[tuple[dict[str, Any], int]] = [
    ({"backbone": "timm:test_vit", "size": 32}, 2),
    ({"backbone": "monai:vit", "size": 32, "options": _SMALL}, 2),
    ({"backbone": "monai:vit_3d", "size": 32, "options": _SMALL}, 3),
]
"""Small networks of tokens with the axes of their images; two patches along each."""


def canonical(seed: int, side: int = 24, dims: int = 2) -> CanonicalImage:
    """Return blocks of random gray, coarse enough to be told apart after a crop."""
    blocks = np.random.default_rng(seed).random((1, *(6,) * dims), dtype=np.float32)
    for axis in range(1, dims + 1):
        blocks = blocks.repeat(side // 6, axis)
    return CanonicalImage(blocks, pixel_digest(blocks), pixel_digest(blocks), ())


def load(reference: str) -> CanonicalImage:
    if reference == "bad":
        raise ImageError("TRUNCATED", "bad: truncated")
    return canonical(int(reference))


def pool_of(*references: str, memory: float = 1e9, forbidden: tuple[str, ...] = ()) -> Pool:
    files = [PoolFile(reference, load, "set") for reference in references]
    return fill_pool(files, memory, forbidden, progress=False)


def settings(**changes: Any) -> PretrainingSettings:
    small = {"backbone": "timm:test_resnet", "size": 16, "epochs": 2, "batch_size": 8}
    return parse_settings({**small, **changes})


@pytest.fixture
def pool() -> Pool:
    return pool_of(*map(str, range(20)))
