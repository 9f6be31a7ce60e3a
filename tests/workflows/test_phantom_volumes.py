"""Generated head volumes and cases of several inputs are what they say."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medfuse.workflows.phantom_volumes import CLASSES, head_volume, write_cases, write_volumes


def head(seed: int, bleeding: bool = False):
    return head_volume(bleeding, np.random.default_rng(seed))


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_head_is_bone_around_brain_around_ventricles_in_hounsfield_units() -> None:
    pixels = head(0).pixels
    assert pixels.dtype == np.int16
    shares = {value: np.mean(np.abs(pixels - value) < 25) for value in (-1000, 35, 900)}
    assert shares[-1000] > 0.5
    assert shares[35] > 0.1
    assert shares[900] > 0.03


@pytest.mark.parametrize("seed", range(6))
def test_the_head_lies_at_the_origin_of_the_patient_however_it_is_stored(seed: int) -> None:
    made = head(seed)
    skull = np.argwhere(made.pixels > 500)
    place = skull @ made.affine[:3, :3].T + made.affine[:3, 3]
    middle = (place.min(0) + place.max(0)) / 2
    assert np.abs(middle).max() < 10
    extent = place.max(0) - place.min(0)
    assert extent[1] > extent[0] > 120, "a head is longer than it is wide"


def test_volumes_differ_in_orientation_and_spacing() -> None:
    made = [head(seed) for seed in range(12)]
    assert len({nibabel.aff2axcodes(one.affine) for one in made}) > 2
    assert len({round(float(np.linalg.norm(one.affine[:3, 0])), 3) for one in made}) == 12


def test_a_bleed_is_denser_than_brain_and_only_in_the_ill() -> None:
    between = [np.sum((head(3, ill).pixels > 60) & (head(3, ill).pixels < 95)) for ill in (0, 1)]
    assert between[1] > between[0] + 50


def test_masks_lie_on_the_bleeds_and_on_the_grids_of_their_volumes(tmp_path: Path) -> None:
    root = write_volumes(tmp_path / "heads", 2, masks=tmp_path / "masks")
    for number in range(2):
        name = f"ill/p{number:04d}.nii.gz"
        volume, mask = (nibabel.load(folder / name) for folder in (root, tmp_path / "masks"))
        assert np.array_equal(volume.affine, mask.affine)
        inside = mask.get_fdata() > 0
        assert 60 < np.median(volume.get_fdata()[inside]) < 85
    assert not (tmp_path / "masks" / "healthy").exists()


def test_the_same_seed_gives_the_same_files_by_class(tmp_path: Path) -> None:
    one, two = (write_volumes(tmp_path / name, 1, seed=5) for name in ("one", "two"))
    for name in CLASSES:
        first, second = (nibabel.load(root / name / "p0000.nii.gz") for root in (one, two))
        assert np.array_equal(first.get_fdata(), second.get_fdata())
        assert np.array_equal(first.affine, second.affine)
        assert first.header.get_xyzt_units()[0] == "mm"


def test_a_third_of_the_inputs_is_missing_and_each_pattern_occurs(tmp_path: Path) -> None:
    rows = rows_of(write_cases(tmp_path, patients_per_class=9))
    for label in CLASSES:
        had = Counter(
            tuple(bool(row[key]) for key in ("ct", "xray", "age"))
            for row in rows
            if row["label"] == label
        )
        assert had.pop((True, True, True)) == 3
        assert sorted(had.values()) == [1] * 6
        assert (False, False, False) not in had
    missing = sum(not row[key] for row in rows for key in ("ct", "xray", "age"))
    assert missing == len(rows) * 3 / 3


def test_the_table_names_files_that_are_there(tmp_path: Path) -> None:
    table = write_cases(tmp_path, patients_per_class=3)
    named = {row[key] for row in rows_of(table) for key in ("ct", "xray")} - {""}
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*/*")}
    assert named == found
