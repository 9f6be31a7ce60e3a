"""The command line of a comparison: what it prints, and what it hands on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medfuse.cli.main import run
from medfuse.workflows import compare as workflow
from medfuse.workflows.compare import ComparisonOutcome

_FOUND = {
    "verdict": "fusing A+B gains 0.031 AUROC [0.012, 0.050]; p = 0.002.",
    "remarks": ["Chosen on these cases."],
    "candidates": [
        {
            "name": name, "kind": kind, "auroc": {"value": area, "low": area, "high": area},
            "accuracy": {"value": 0.5, "low": None, "high": None},
        }
        for name, kind, area in (("f", "fusion", 0.9), ("A", "single", 0.8), ("B", "single", 0.85))
    ],
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    calls: list[Any] = []

    def compare(experiment: Any, out: str, settings: Any) -> ComparisonOutcome:
        calls.append((experiment, out, settings))
        return ComparisonOutcome(Path(out), Path(out) / "comparison.html", _FOUND)

    monkeypatch.setattr(workflow, "compare", compare)
    (tmp_path / "e.yaml").write_text("cohort: {path: images}\nsources: [a:b, c:d]\n")
    return calls


def test_table_verdict_and_page_are_printed(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", str(tmp_path / "e.yaml"), "--out", "there"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["B", "A", "f"]
    assert f"verdict  {_FOUND['verdict']}" in lines
    assert lines[-1] == "report   there/comparison.html"


def test_options_are_handed_on(asked: list[Any], tmp_path: Path) -> None:
    line = ["compare", str(tmp_path / "e.yaml"), "--out", "there", "--fusions", "gated,concat"]
    line += ["--pairs", "--no-baselines", "--folds", "4", "--members", "3", "--workers", "1"]
    assert run([*line, "--accept-overlap", "--set", "seed=3", "-q"]) == 0
    experiment, _, settings = asked[0]
    assert experiment.seed == 3
    assert settings.fusions == ("gated", "concat")
    assert (settings.pairs, settings.baselines, settings.accept_overlap) == (True, False, True)
    assert (settings.folds, settings.members, settings.workers) == (4, 3, 1)
    assert settings.progress is False


def test_json_is_the_whole_comparison(
    asked: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", str(tmp_path / "e.yaml"), "--out", "there", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == _FOUND
