"""Random numbers that depend on (seed, epoch) alone, so that a resumed run repeats them."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derived_seed(seed: int, *names: int | str) -> int:
    """Return a seed in [0, 2**32) derived from ``seed`` and what it is for."""
    text = ":".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators (of all devices)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generator(seed: int) -> torch.Generator:
    """Return a torch generator on the CPU with this seed."""
    return torch.Generator().manual_seed(seed)
