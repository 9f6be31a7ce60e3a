"""Aligned columns of text, for results on stdout."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table with two spaces between its left-aligned columns.

    >>> print(format_table(["NAME", "SIZE"], [["a", 1], ["long", 23]]))
    NAME  SIZE
    a     1
    long  23
    """
    lines = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(padded)
