"""Independent readers agree with ours. They live in .venvs/oracles (`.ci/oracles` makes it)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from medfuse.data.dicom.read import DicomImage, read_dicom

from .synthetic import enhanced, tilted, write, write_series

ABSENT = "promise not shown: this oracle lives in .venvs/oracles (make test-slow)"


@pytest.fixture(scope="module")
def philips(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the 28 axial slices without the directory file beside them."""
    folder = tmp_path_factory.mktemp("philips")
    for path in (shared_data / "dicom" / "ct_head_philips" / "S2010").glob("I*"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def oblique(tmp_path: Path) -> Path:
    def change(dataset: object, number: int) -> None:
        dataset.ImageOrientationPatient = [0.8, 0.6, 0, -0.36, 0.48, 0.8]
        step = np.cross([0.8, 0.6, 0], [-0.36, 0.48, 0.8]) * 3 * number
        dataset.ImagePositionPatient = [round(float(x), 6) for x in step]
        dataset.RescaleSlope = 1 + number

    return write_series(tmp_path / "oblique", 6, change)


def require_same(image: DicomImage, pixels: np.ndarray, affine: np.ndarray) -> None:
    """Pass if a volume ``(X, Y, Z)`` with a RAS affine has our values in our places."""
    to_ours = np.round(np.linalg.inv(image.affine) @ affine, 3)
    corners = np.array(np.meshgrid(*[[0, n - 1] for n in pixels.shape])).reshape(3, -1)
    corners = np.vstack([corners, np.ones(8)])
    ours = np.round(np.linalg.inv(image.affine) @ affine @ corners)
    assert np.abs(image.affine @ ours - affine @ corners).max() < 0.01
    axes = np.abs(to_ours[:3, :3]).argmax(axis=0)
    moved = np.moveaxis(pixels, range(3), axes)
    flips = [a for a in range(3) if to_ours[a, list(axes).index(a)] < 0]
    assert np.abs(np.flip(moved, flips) - image.pixels).max() == 0


def with_simple_itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    sitk = pytest.importorskip("SimpleITK", reason=ABSENT)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    pixels = sitk.GetArrayFromImage(image).T.astype(np.float64)
    return pixels, np.diag([-1, -1, 1, 1]) @ affine


def with_highdicom(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    highdicom = pytest.importorskip("highdicom", reason=ABSENT)
    import pydicom

    datasets = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    volume = highdicom.get_volume_from_series(
        datasets, dtype=np.float64, apply_presentation_lut=False
    )
    affine = np.diag([-1, -1, 1, 1]) @ volume.affine
    return volume.array, affine


def with_dcm2niix(folder: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    module = pytest.importorskip("dcm2niix", reason=ABSENT)
    nibabel = pytest.importorskip("nibabel")
    out.mkdir()
    command = [module.bin, "-z", "n", "-f", "volume", "-o", str(out), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    image = nibabel.load(out / "volume.nii")
    return image.get_fdata(), image.affine


def with_dicom2nifti(folder: Path, out: Path) -> tuple[np.ndarray, np.ndarray]:
    module = pytest.importorskip("dicom2nifti", reason=ABSENT)
    nibabel = pytest.importorskip("nibabel")
    out.mkdir()
    module.dicom_series_to_nifti(str(folder), str(out / "volume.nii"), reorient_nifti=False)
    image = nibabel.load(out / "volume.nii")
    return image.get_fdata(), image.affine


@pytest.mark.slow
@pytest.mark.parametrize("oracle", ["simple_itk", "highdicom", "dcm2niix", "dicom2nifti"])
@pytest.mark.parametrize("series", ["philips", "oblique"])
def test_an_independent_reader_gives_the_same_volume(
    oracle: str, series: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(series)
    read = globals()[f"with_{oracle}"]
    out = [tmp_path / "out"] if oracle.startswith("d") else []
    pixels, affine = read(folder, *out)
    require_same(read_dicom(str(folder)), pixels, affine)


def test_highdicom_reads_the_same_multi_frame_volume(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom", reason=ABSENT)
    path = write(enhanced(6), tmp_path / "enhanced.dcm")
    image = highdicom.imread(path)
    image.pixel_array  # noqa: B018 highdicom 0.28 masks unused bits only then
    volume = image.get_volume(apply_presentation_lut=False, dtype=np.float64)
    affine = np.diag([-1, -1, 1, 1]) @ volume.affine
    require_same(read_dicom(str(path)), volume.array, affine)


def test_highdicom_refuses_the_tilt_whose_shear_we_keep(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom", reason=ABSENT)
    folder = write_series(tmp_path / "tilted", change=tilted(18.5))
    with pytest.raises(ValueError):  # noqa: PT011 its words are not ours to keep
        with_highdicom(folder)
    assert highdicom
    assert "GANTRY_TILT" in dict(read_dicom(str(folder)).events)
