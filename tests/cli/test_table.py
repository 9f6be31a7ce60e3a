"""Numbers on stdout."""

from __future__ import annotations

import pytest

from medfuse.cli.table import estimate_line


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"value": 0.91234, "low": 0.9, "high": 0.93}, "0.912 [0.900, 0.930]"),
        ({"value": 1.0, "low": None, "high": None}, "1.000"),
        (
            {"value": None, "low": None, "high": None, "reason": "one class"},
            "undefined (one class)",
        ),
        ({"value": None, "low": None, "high": None}, "undefined"),
    ],
)
def test_an_estimate_is_one_line_of_ascii(entry: dict, line: str) -> None:
    assert estimate_line(entry) == line
    assert line.isascii()
