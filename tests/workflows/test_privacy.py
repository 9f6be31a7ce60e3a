"""What a path tells of a patient stays in the private files of the run."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from medfuse.config import CohortConfig
from medfuse.workflows.check import check
from medfuse.workflows.train import TrainingOutcome, train

from .conftest import small_experiment

NAME = "MUELLER^ANNA"


def _table_outside(images: Path, folder: Path, *, patients: bool) -> Path:
    """Copy images below folders with patients' names; list them in a table elsewhere."""
    rows = []
    for number, image in enumerate(sorted(images.rglob("*.png"))):
        file = folder / "archive" / f"{NAME}{number // 2}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, file)
        rows.append([str(file), image.parent.name, *([file.parent.name] if patients else [])])
    table = folder / "tables" / "cases.csv"
    table.parent.mkdir()
    with table.open("w", newline="") as stream:
        header = ["image", "label", *(["patient_id"] if patients else [])]
        csv.writer(stream).writerows([header, *rows])
    return table


@pytest.mark.slow
@pytest.mark.parametrize("patients", [True, False])
def test_names_in_paths_stay_in_the_private_tables_of_the_run(
    images: Path, tmp_path: Path, patients: bool
) -> None:
    table = _table_outside(images, tmp_path, patients=patients)
    experiment = small_experiment(
        images,
        cohort={"path": str(table)},
        training={"epochs": 1, "members": 1},
        evaluation={"bootstrap": 0, "baselines": False},
        bank={"path": str(tmp_path / "bank")},
    )
    run = train(experiment, tmp_path / "run", progress=False)
    files = [*run.folder.rglob("*"), *(tmp_path / "bank").rglob("*")]
    named = {f for f in files if f.is_file() and NAME.encode() in f.read_bytes()}
    told = {"cohort.csv"} if patients else {"cohort.csv", "predictions.csv", "report.html"}
    assert {f.relative_to(run.folder).as_posix() for f in named} == told
    assert all(f.stat().st_mode & 0o077 == 0 for f in named)


@pytest.mark.slow
def test_pictures_of_patients_are_readable_by_their_owner_only(
    finished_run: TrainingOutcome, images: Path, tmp_path: Path
) -> None:
    check(CohortConfig(path=str(images)), tmp_path / "check", progress=False)
    plots = [*(finished_run.folder / "plots").iterdir(), *(tmp_path / "check/plots").iterdir()]
    assert {"samples.png", "roc.png"} < {plot.name for plot in plots}
    assert [plot.name for plot in plots if plot.stat().st_mode & 0o077] == []
