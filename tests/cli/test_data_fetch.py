"""``medfuse data fetch``: what it lists, prints and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medfuse.data.public import public_sets

from .conftest import shown_by


def test_without_a_name_every_set_is_listed() -> None:
    shown = shown_by("data", "fetch")
    assert shown.code == 0
    assert {line.split()[0] for line in shown.out.splitlines()[1:]} == set(public_sets())


def test_a_local_set_is_said_with_what_comes_next(tmp_path: Path) -> None:
    arrays = {"images": np.zeros((4, 28, 28), np.uint8), "labels": np.array([[0], [1], [0], [1]])}
    np.savez(
        tmp_path / "pneumoniamnist.npz",
        **{f"{p}_{k}": v for p in ("train", "val", "test") for k, v in arrays.items()},
    )
    shown = shown_by("data", "fetch", "pneumoniamnist", "--out", tmp_path)
    assert shown.code == 0, shown.err
    cohort = tmp_path / "pneumoniamnist.json"
    assert shown.out.splitlines()[0] == f"cohort   {cohort}"
    assert "classes  normal, pneumonia" in shown.out
    assert f"medfuse data check {cohort}" in shown.out.splitlines()[-1]
    shown = shown_by("data", "fetch", "pneumoniamnist", "--out", tmp_path, "--json")
    assert json.loads(shown.out)["classes"] == ["normal", "pneumonia"]


def test_an_absent_set_is_one_line_and_exit_1(tmp_path: Path) -> None:
    shown = shown_by("data", "fetch", "mednist", "--out", tmp_path)
    assert (shown.code, shown.out) == (1, "")
    (line,) = shown.err.splitlines()
    assert line.startswith("medfuse: error: ")
    assert "--download" in line
