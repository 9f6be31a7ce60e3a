"""``medfuse demo``: what its options hand on, and what it prints. What it trains is tested below
``tests/workflows``, and in full by the quick start of the README.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medfuse.workflows import demo as workflow
from medfuse.workflows.train import TrainingOutcome

from .conftest import Trained, shown_by

pytestmark = pytest.mark.slow


@pytest.fixture
def asked(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the workflow was asked for; its answer is a run that is there already."""
    calls: list[dict[str, Any]] = []
    metrics = json.loads((trained.folder / "metrics.json").read_text())

    def fake(out: str, kind: str, **options: Any) -> TrainingOutcome:
        calls.append({"out": out, "kind": kind, **options})
        report = trained.folder / "report.html"
        return TrainingOutcome(trained.folder, trained.bundle, report, metrics)

    monkeypatch.setattr(workflow, "demo", fake)
    return calls


def test_defaults_are_a_folder_called_demo_and_images(asked: list[dict[str, Any]]) -> None:
    assert shown_by("demo").code == 0
    assert asked == [{"out": "demo", "kind": "image", "fresh": False, "progress": True}]


def test_options_are_handed_on(asked: list[dict[str, Any]]) -> None:
    assert shown_by("demo", "--out", "d", "--kind", "several", "--fresh", "--quiet").code == 0
    assert asked == [{"out": "d", "kind": "several", "fresh": True, "progress": False}]


@pytest.mark.parametrize(
    ("kind", "example"), [("image", "nodule"), ("volume", "ill"), ("several", "cases.csv")]
)
def test_results_and_the_next_command_are_printed(
    kind: str, example: str, asked: list[dict[str, Any]], trained: Trained
) -> None:
    lines = shown_by("demo", "--kind", kind).out.splitlines()
    assert [line.split()[0] for line in lines if line] == [
        "test", "alone", "alone", "verdict", "report", "bundle", "try"
    ]  # fmt: skip
    images = trained.folder.parent / "images"
    assert lines[-1].endswith(f"medfuse predict {trained.bundle} {images / example}")


def test_json_is_all_there_is_on_stdout(asked: list[dict[str, Any]], trained: Trained) -> None:
    shown = shown_by("demo", "--json")
    assert json.loads(shown.out) == json.loads((trained.folder / "metrics.json").read_text())


def test_unknown_kind_is_exit_2(asked: list[dict[str, Any]]) -> None:
    shown = shown_by("demo", "--kind", "ct")
    assert (shown.code, shown.out, asked) == (2, "", [])


def test_folder_that_cannot_be_made_is_one_line_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shown = shown_by("demo", "--out", tmp_path / "file")
    assert (shown.code, shown.out) == (1, "")
    assert "cannot be written" in shown.err.splitlines()[-1]
