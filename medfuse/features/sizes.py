"""Sizes as people read them."""

from __future__ import annotations


def readable(size: float) -> str:
    """Return a size such as ``9.2 MB`` (powers of 1000).

    >>> readable(9_216_000)
    '9.2 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
