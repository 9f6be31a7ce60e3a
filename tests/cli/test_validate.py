"""``medfuse validate``: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medfuse.cli.main import run

PART = {"value": 0.8, "low": 0.7, "high": 0.9}


def outcome(failed: dict[str, str]) -> Any:
    group = {"cases": 20, "overall": {"auroc_macro": PART}}
    small = {"cases": 3, "overall": None, "reason": "3 cases, at least 10 needed"}
    pooled = {"overall": {"auroc_macro": PART}, "groups": {"site": {"a": group, "b": small}}}

    return SimpleNamespace(folder=Path("out"), metrics={"pooled": pooled}, failed=failed)


@pytest.fixture
def config(tmp_path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "experiment.yaml"
    file.write_text("{cohort: {path: cases.csv}, sources: ['mini:resnet']}")
    seen: list[Any] = []

    def answer(failed: dict[str, str]) -> list[Any]:
        def validate(experiment: Any, out: str, **options: Any) -> Any:
            seen.append((experiment, out, options))
            return outcome(failed)

        monkeypatch.setattr("medfuse.workflows.validate.validate", validate)
        return seen

    return file, answer


def test_each_site_has_a_line_and_all_together(config, capsys) -> None:
    file, answer = config
    seen = answer({})
    assert run(["validate", str(file), "--out", "o", "--set", "seed=3", "--fresh"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "0.800 [0.700, 0.900] (20 cases)" in lines[0]
    assert "3 cases, at least 10 needed (3 cases)" in lines[1]
    assert lines[2].startswith("all together")
    assert seen[0][0].seed == 3
    assert seen[0][2]["fresh"] is True


def test_a_site_that_failed_is_exit_code_3(config, capsys) -> None:
    file, answer = config
    answer({"c": "why"})
    assert run(["validate", str(file), "--out", "o", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["pooled"]["overall"]["auroc_macro"] == PART


def test_a_cohort_without_sites_is_one_line(config, capsys, tmp_path) -> None:
    file, _ = config
    (tmp_path / "cases.csv").write_text("image,label\na.png,x\nb.png,y\n")
    assert run(["validate", str(file), "--out", str(tmp_path / "o")]) == 1
    error = capsys.readouterr().err
    assert "found 0 site (none), expected two or more" in error
    assert "column named site" in error
