from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfuse.data.unlabelled import read_unlabelled
from medfuse.errors import CohortError


def write(*paths: Path) -> None:
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(path)


def test_all_images_below_a_folder_are_cases_whatever_its_folders(tmp_path):
    write(tmp_path / "a.png", tmp_path / "x" / "b.png", tmp_path / "x" / "y" / "c.png")
    (tmp_path / "notes.txt").write_text("none")
    cohort = read_unlabelled(str(tmp_path))
    assert [case.case_id for case in cohort.cases] == ["a.png", "x/b.png", "x/y/c.png"]
    assert [case.label for case in cohort.cases] == [None, 0, 0]
    assert [event.code for event in cohort.events] == ["OTHER_FILE_SKIPPED"]


def test_a_folder_called_test_is_the_test_part_wherever_it_lies(tmp_path):
    write(tmp_path / "Training" / "sick" / "a.png", tmp_path / "Testing" / "sick" / "b.png",
          tmp_path / "more" / "test" / "c.png")  # fmt: skip
    roles = {case.case_id: case.role for case in read_unlabelled(str(tmp_path)).cases}
    assert roles == {
        "Training/sick/a.png": "train", "Testing/sick/b.png": "test", "more/test/c.png": "test",
    }  # fmt: skip


def test_an_archive_is_read_as_the_cohort_it_is(tmp_path):
    arrays = {
        f"{part}_{kind}": np.zeros((3, 8, 8) if kind == "images" else (3, 1), np.uint8)
        for part in ("train", "val", "test")
        for kind in ("images", "labels")
    }
    np.savez(tmp_path / "set.npz", **arrays)
    roles = [case.role for case in read_unlabelled(str(tmp_path)).cases]
    assert roles == ["train"] * 3 + ["validation"] * 3 + ["test"] * 3


def test_a_folder_without_an_image_is_refused(tmp_path):
    with pytest.raises(CohortError, match="holds no image, expected some"):
        read_unlabelled(str(tmp_path))
