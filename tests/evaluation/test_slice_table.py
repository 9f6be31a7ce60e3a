"""How much each slice counted, as a table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from medfuse.evaluation.slice_table import write_slice_weights

WEIGHTS = np.array([[0.25, 0.75], [np.nan, np.nan], [1 / 3, 2 / 3]])


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_row_per_case_source_and_slice_without_cases_that_lack_the_input(tmp_path: Path) -> None:
    table = tmp_path / "weights.csv"
    write_slice_weights(table, ["a", "b", "c"], {"one": WEIGHTS, "two": WEIGHTS[::-1]})
    header, *found = rows(table)
    assert header == ["case_id", "source", "slice", "weight"]
    assert [row[:3] for row in found] == [
        [case, source, slice_]
        for source in ("one", "two")
        for case in ("a", "c")
        for slice_ in ("0", "1")
    ]
    weights = np.array([row[3] for row in found[:4]], float)
    assert np.allclose(weights, WEIGHTS[[0, 2]].ravel(), rtol=1e-8)


def test_a_case_id_that_is_a_formula_is_guarded(tmp_path: Path) -> None:
    write_slice_weights(tmp_path / "weights.csv", ["=1+1"], {"one": WEIGHTS[:1]})
    assert rows(tmp_path / "weights.csv")[1][0] == "'=1+1"


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    write_slice_weights(tmp_path / "weights.csv", [], {})
    assert (tmp_path / "weights.csv").stat().st_mode & 0o077 == 0
    assert len(rows(tmp_path / "weights.csv")) == 1
