"""The rows of ``medfuse sources list`` as text: columns for a terminal, or a table of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from medfuse.cli.source_rows import Row
from medfuse.cli.table import format_table

_HEADER = ("SOURCE", "DIMS", "WIDTH", "PARAMETERS", "MULT-ADDS", "WEIGHTS", "DOMAIN", "LICENSE")
_UNITS = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


def terminal_table(rows: Sequence[Row]) -> str:
    """Return aligned columns; families follow, since nothing but their name is known."""
    networks = [row for row in rows if row.dims != 0]
    families = [(row.source, row.summary) for row in rows if row.dims == 0]
    parts = []
    if networks:
        parts.append(format_table(_HEADER, [_cells(row) for row in networks]))
    if families:
        parts.append(format_table(["FAMILY", "WHAT"], families))
    return "\n\n".join(parts)


def markdown_table(rows: Sequence[Row]) -> str:
    """Return the networks as a table of Markdown, with the size that they were measured at."""
    header = ("source", "input", "width", "parameters", "multiply-adds", "weights", "domain")
    lines = [_line((*header, "license")), _line(["---"] * (len(header) + 1))]
    for row in rows:
        if row.dims != 0:
            source, dims, *sizes, weights, domain, license_ = _cells(row)
            shown = " x ".join(map(str, row.input_size or ())) or dims
            name = f"`{weights}`" if row.weights else weights
            lines.append(_line((f"`{source}`", shown, *sizes, name, domain, license_)))
    return "\n".join(lines)


def short_count(number: int | None) -> str:
    """Return a count with three digits and a unit: ``138M``, ``4.09G``.

    >>> short_count(138_357_544), short_count(57_003_840), short_count(None)
    ('138M', '57.0M', '-')
    """
    if number is None:
        return "-"
    for unit, letter in _UNITS:
        if number >= unit:
            digits = (
                f"{number / unit:#.3g}".rstrip(".") if number < 999.5 * unit else number // unit
            )
            return f"{digits}{letter}"
    return str(number)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.source,
        f"{row.dims}D" if row.dims else "-",
        str(row.width or "-"),
        short_count(row.parameters),
        short_count(row.macs),
        row.weights or "-",
        row.domain or "-",
        row.license or "-",
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
