"""``medfuse evaluate``: what it prints where, what it writes, and its exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .conftest import Trained, shown_by

pytestmark = pytest.mark.slow


def test_metrics_are_printed_one_a_line(trained: Trained, tmp_path: Path) -> None:
    cohort = trained.folder / "cohort.csv"
    shown = shown_by("evaluate", trained.bundle, cohort, "--part", "test", "--out", tmp_path / "e")
    assert shown.code == 0, shown.err
    names = [line.split()[0] for line in shown.out.splitlines()]
    assert names[:2] == ["accuracy", "balanced_accuracy"]
    assert shown.out.splitlines()[-1].endswith(str(tmp_path / "e" / "report.html"))
    reported = json.loads((trained.folder / "metrics.json").read_text())["test"]
    found = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert found["cases"] == reported["cases"]


def test_json_is_all_there_is_on_stdout(trained: Trained, tmp_path: Path) -> None:
    shown = shown_by(
        "evaluate", trained.bundle, trained.images, "--out", tmp_path / "e", "--json",
        "--bootstrap", "0",
    )  # fmt: skip
    assert shown.code == 0
    assert json.loads(shown.out) == json.loads((tmp_path / "e" / "metrics.json").read_text())


def test_some_refused_images_are_exit_3_and_the_others_are_measured(
    trained: Trained, tmp_path: Path
) -> None:
    images = shutil.copytree(trained.images, tmp_path / "images")
    sorted(images.rglob("*.png"))[0].write_bytes(b"")
    shown = shown_by("evaluate", trained.bundle, images, "--out", tmp_path / "e", "--bootstrap", 0)
    assert shown.code == 3
    assert "1 case was refused; see predictions.csv" in shown.err
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert (metrics["refused"], metrics["cases"]) == (1, 35)
    assert metrics["events"]["EMPTY_FILE"] == 1
    assert "accuracy" in shown.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--part", "validation"], "no labeled case in part 'validation'"),
        (["--group", "patient"], "class folders have no columns"),
    ],
)
def test_mistake_is_one_line_and_exit_1(
    arguments: list[str], message: str, trained: Trained, tmp_path: Path
) -> None:
    shown = shown_by(
        "evaluate", trained.bundle, trained.images, "--out", tmp_path / "e", *arguments
    )
    assert (shown.code, shown.out) == (1, "")
    assert shown.err.splitlines()[-1].startswith("medfuse: error: ")
    assert message in shown.err
    assert not (tmp_path / "e").exists()


def test_wrong_usage_exits_with_2(trained: Trained, tmp_path: Path) -> None:
    shown = shown_by("evaluate", trained.bundle, trained.images, "--part", "tset", "--out", "x")
    assert (shown.code, shown.out) == (2, "")


def test_what_is_neither_bundle_nor_run_is_refused_before_the_cohort_is_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "run").mkdir()
    shown = shown_by("evaluate", tmp_path / "run", tmp_path / "nowhere", "--out", tmp_path / "e")
    assert shown.code == 1
    assert "run: found neither a bundle nor a run with one. Give a bundle" in shown.err
    assert not (tmp_path / "e").exists()
