"""Decathlon tasks that lie in a folder: `dataset.json`, images and masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medfuse.config import CohortConfig, InputConfig
from medfuse.data import read_cohort
from medfuse.data.public import FetchOptions, fetch_set
from medfuse.errors import CohortError, ConfigError

LABELS = {"0": "background", "1": "liver", "2": "cancer"}
MASKS = ({0, 1}, {0, 1, 2}, {0, 1}, {0, 1, 2})


def write_task(
    root: Path,
    task: str = "Task03_Liver",
    masks: tuple[set[int], ...] = MASKS,
    sequences: tuple[str, ...] = ("CT",),
    **changes: Any,
) -> Path:
    """Write a task whose masks hold the given values."""
    folder = root / task
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    training = []
    for number, values in enumerate(masks):
        name = f"case_{number}.nii.gz"
        shape = (6, 6, 4, len(sequences)) if len(sequences) > 1 else (6, 6, 4)
        image = np.random.default_rng(number).normal(0, 99, shape).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / "imagesTr" / name)
        mask = np.zeros((6, 6, 4), np.uint8)
        mask.flat[: len(values)] = sorted(values)
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / "labelsTr" / name)
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    content = {
        "labels": LABELS,
        "modality": {str(i): name for i, name in enumerate(sequences)},
        "training": training,
        **changes,
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_the_class_is_whether_the_last_varying_structure_is_there(tmp_path: Path) -> None:
    write_task(tmp_path)
    found = fetch_set("task03_liver", FetchOptions(tmp_path))
    cohort = read_cohort(CohortConfig(path=str(found.cohort)))
    assert found.classes == cohort.classes == ("no cancer", "cancer")
    assert [case.label for case in cohort.cases] == [0, 1, 0, 1]
    assert all(Path(case.inputs["image"]).is_file() for case in cohort.cases)


def test_each_sequence_is_an_input_of_its_own(tmp_path: Path) -> None:
    write_task(tmp_path, "Task01_BrainTumour", sequences=("FLAIR", "T1w"))
    found = fetch_set("task01_braintumour", FetchOptions(tmp_path))
    inputs = {name: InputConfig(kind="volume") for name in ("FLAIR", "T1w")}
    cohort = read_cohort(CohortConfig(path=str(found.cohort)), inputs)
    ends = {name: text.partition("::")[2] for name, text in cohort.cases[0].inputs.items()}
    assert ends == {"FLAIR": "0", "T1w": "1"}


@pytest.mark.parametrize(
    ("structure", "error", "text"),
    [
        ("liver", CohortError, "'liver' is in all cases or in none; varying: cancer"),
        ("cancre", ConfigError, "no structure 'cancre'.*Did you mean \"cancer\""),
    ],
)
def test_a_structure_that_makes_no_classes_is_refused(
    structure: str, error: type[Exception], text: str, tmp_path: Path
) -> None:
    write_task(tmp_path)
    with pytest.raises(error, match=text):
        fetch_set("task03_liver", FetchOptions(tmp_path, structure=structure))


def test_a_task_without_a_varying_structure_is_refused(tmp_path: Path) -> None:
    write_task(tmp_path, masks=({0, 1}, {0, 1}))
    with pytest.raises(CohortError, match="every case has the same structures"):
        fetch_set("task03_liver", FetchOptions(tmp_path))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"training": []}, "has no training list and labels"),
        ({"labels": ["liver"]}, "labels are no numbered names"),
        ({"training": [{"image": "x"}]}, "names no image and label"),
    ],
)
def test_a_description_that_is_none_is_refused(
    changes: dict[str, Any], text: str, tmp_path: Path
) -> None:
    write_task(tmp_path, **changes)
    with pytest.raises(CohortError, match=rf"dataset\.json.*{text}"):
        fetch_set("task03_liver", FetchOptions(tmp_path))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = write_task(tmp_path)
    (folder / "labelsTr" / "case_2.nii.gz").write_bytes(b"half")
    with pytest.raises(CohortError, match=r"case_2\.nii\.gz: cannot be read as a mask"):
        fetch_set("task03_liver", FetchOptions(tmp_path))
    (folder / "dataset.json").write_text("{")
    with pytest.raises(CohortError, match=r"dataset\.json: cannot be read as JSON"):
        fetch_set("task03_liver", FetchOptions(tmp_path))


def test_an_absent_task_is_not_fetched(tmp_path: Path) -> None:
    text = r"Task09_Spleen: there is no such folder.*Put Task09_Spleen\.tar.*--download"
    with pytest.raises(CohortError, match=text):
        fetch_set("task09_spleen", FetchOptions(tmp_path))
