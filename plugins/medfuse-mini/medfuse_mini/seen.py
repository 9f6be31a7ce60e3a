"""Tell: which real images the embedded weights have seen in their training."""

from __future__ import annotations

import gzip
from importlib import resources

SETS = {"distilled": ("pneumoniamnist",)}


def seen_images(weights: str) -> frozenset[str]:
    """Digests of the decoded pixels of every real image that these weights were trained on.

    Args:
        weights: the part of a source's name behind the dot, for example ``distilled``.

    Raises:
        KeyError: there are no such weights.
    """
    folder = resources.files("medfuse_mini") / "seen"
    digests: set[str] = set()
    for name in SETS[weights]:
        packed = (folder / f"{name}.txt.gz").read_bytes()
        digests.update(gzip.decompress(packed).decode("ascii").split())
    return frozenset(digests)
