from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel import orientations
from PIL import Image
from scipy.ndimage import gaussian_filter

from medfuse.data import Case, Cohort


def picture(seed: int, side: int = 96) -> np.ndarray:
    """A head-like disk with structure of its own: alike from afar, different in detail."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    disk = gaussian_filter((rows**2 + columns**2 < 0.8) * 140.0, side / 16)
    texture = gaussian_filter(rng.normal(size=(side, side)), 2.5)
    texture *= 50 / texture.std()
    return np.clip(disk + texture * (disk > 20) + 5, 0, 255).astype(np.uint8)


def volume_file(path: Path, codes: str = "RAS", dtype=np.int16) -> str:
    """Write one volume, its axes turned."""
    values = np.random.default_rng(0).integers(0, 200, (20, 24, 12)).astype(dtype)
    turn = orientations.axcodes2ornt(codes)
    affine = np.diag([0.5, 0.5, 3.0, 1]) @ orientations.inv_ornt_aff(turn, values.shape)
    image = nibabel.Nifti1Image(orientations.apply_orientation(values, turn), affine)
    nibabel.save(image, path)
    return str(path)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    def saved(name: str, pixels: np.ndarray, **options) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **options)
        return str(path)

    return saved


@pytest.fixture
def cohort_of(tmp_path: Path) -> Callable[..., Cohort]:
    """Rows are dicts: ``file``, ``label`` and further fields of `Case`."""

    def made(rows: list[dict], classes=("a", "b")) -> Cohort:
        cases = tuple(
            Case(
                case_id=row.pop("case_id", f"c{place:03d}"),
                inputs={"image": row.pop("file")},
                label=row.pop("label", place % len(classes)),
                patient_id=row.pop("patient_id", f"Doe^{place}"),
                **row,
            )
            for place, row in enumerate([dict(row) for row in rows])
        )
        return Cohort(cases, tuple(classes), tmp_path)

    return made
