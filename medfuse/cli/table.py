"""Aligned columns of text, for results on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


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


def estimate_line(entry: Mapping[str, Any]) -> str:
    """Return a metric as the report shows it, and why it is undefined, in plain characters."""
    from medfuse.report.metric_tables import estimate_text

    text = estimate_text(entry).replace("\N{NO-BREAK SPACE}", " ")
    reason = entry.get("reason") if entry["value"] is None else None
    return f"{text} ({reason})" if reason else text
