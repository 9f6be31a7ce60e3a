from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medfuse.data.dicom.read import DicomImage, read_dicom
from medfuse.data.dicom.refusal import DicomError
from medfuse.data.dicom.scan import list_series

GE_STACKS = {"ADD": range(1, 15), "AXIAL": range(16, 29)}


@pytest.fixture(scope="module")
def vendor(shared_data: Path) -> Path:
    return shared_data / "dicom"


@pytest.fixture
def ge_stack(vendor: Path, tmp_path: Path) -> Path:
    """Return the 14 slices of 4 mm that stand upright behind one another at 18.5 degrees."""
    for number in GE_STACKS["ADD"]:
        shutil.copy(vendor / "ct_head_ge_tilted" / f"{number:02d}.dcm", tmp_path)
    return tmp_path


def require_header_truth(image: DicomImage, folder: Path, padding: float | None = None) -> None:
    """Pass if points of every slice lie where that file says, with the value it gives."""
    world_to_voxel = np.linalg.inv(image.affine)
    random = np.random.default_rng(0)
    paths = sorted(folder.glob("[I0-9]*"))
    assert len(paths) >= 14
    for path in paths:
        dataset = pydicom.dcmread(path)
        position, axes = (
            np.array(dataset[name].value, float)
            for name in ("ImagePositionPatient", "ImageOrientationPatient")
        )
        pixels = np.frombuffer(dataset.PixelData, "<i2").reshape(dataset.Rows, dataset.Columns)
        for j, i in random.integers(0, dataset.Rows, (64, 2)):
            place = position + axes[:3] * dataset.PixelSpacing[1] * i
            place = place + axes[3:] * dataset.PixelSpacing[0] * j
            voxel = world_to_voxel @ [-place[0], -place[1], place[2], 1]
            rounded = np.round(voxel[:3]).astype(int)
            assert np.abs((image.affine @ (voxel - [*rounded, 1]))[:3]).max() < 0.01
            stored = int(pixels[j, i])
            value = stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
            assert image.pixels[tuple(rounded)] == (-1024 if stored == padding else value)


@pytest.mark.parametrize("name", ["ct_head_philips/S2010", "ct_head_philips"])
def test_philips_axial_is_what_its_headers_say(vendor: Path, name: str) -> None:
    image = read_dicom(str(vendor / name))
    assert image.pixels.shape == (512, 512, 28)
    assert image.spacing == pytest.approx((0.451171875, 0.451171875, 5))
    require_header_truth(image, vendor / "ct_head_philips" / "S2010")


def test_a_philips_study_is_its_axial_series_and_the_rest_is_named(vendor: Path) -> None:
    listing = list_series(str(vendor / "ct_head_philips"))
    (series,) = listing.series
    assert {Path(file).parent.name for file in series.files} == {"S2010"}
    assert (series.modality, series.count) == ("CT", 28)
    found = {skipped.code: skipped.count for skipped in listing.skipped}
    assert found == {"DICOMDIR": 3, "LOCALIZER": 1, "SECONDARY_CAPTURE": 6}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ct_head_philips/S1000", "NOT_DIAGNOSTIC"),
        ("ct_head_philips/S4010", "NOT_DIAGNOSTIC"),
        ("ct_head_ge_tilted", "IRREGULAR_SPACING"),
        ("mr_epi_ge/mr_0004", "REPEATED_POSITIONS"),
        ("mr_epi_ge/mr_0007", "REPEATED_POSITIONS"),
        ("mr_epi_siemens/mr_0003", "MOSAIC"),
        ("mr_epi_siemens/mr_0006", "MOSAIC"),
        ("mr_reference", "NO_IMAGES"),
    ],
)
def test_vendor_series_that_are_no_volume_are_refused(vendor: Path, name: str, code: str) -> None:
    with pytest.raises(DicomError) as caught:
        read_dicom(str(vendor / name))
    assert caught.value.code == code


def test_a_single_mosaic_is_no_picture(vendor: Path) -> None:
    file = next((vendor / "mr_epi_siemens" / "mr_0003").glob("*.dcm"))
    with pytest.raises(DicomError, match="MOSAIC"):
        read_dicom(str(file))


@pytest.mark.slow
def test_no_text_tells_what_the_files_say_of_the_patient(vendor: Path) -> None:
    names = ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "SeriesInstanceUID")
    for folder in ("ct_head_ge_tilted", "mr_epi_ge/mr_0004", "ct_head_philips/S1000"):
        dataset = pydicom.dcmread(next((vendor / folder).glob("*[0-9]*")))
        with pytest.raises(DicomError) as caught:
            read_dicom(str(vendor / folder))
        secrets = [str(dataset.get(name, "")) for name in names]
        assert not any(secret in str(caught.value) for secret in secrets if len(secret) > 3)


def test_one_time_point_of_ge_equals_the_volume_of_dcm2niix(vendor: Path, tmp_path: Path) -> None:
    """The 150 files are 10 time points of 15 slices: the first of each position is the first."""
    nibabel = pytest.importorskip("nibabel")
    seen = set()
    for file in sorted((vendor / "mr_epi_ge" / "mr_0004").glob("*.dcm")):
        place = tuple(pydicom.dcmread(file, stop_before_pixels=True).ImagePositionPatient)
        if place not in seen:
            seen.add(place)
            shutil.copy(file, tmp_path)
    image = read_dicom(str(tmp_path))
    reference = nibabel.load(vendor / "mr_reference" / "DCM2NIIX_regression_test_4.nii")
    expected = np.asarray(reference.dataobj)[..., 0]
    placed = nibabel.as_closest_canonical(nibabel.Nifti1Image(image.pixels, image.affine))
    truth = nibabel.as_closest_canonical(nibabel.Nifti1Image(expected, reference.affine))
    np.testing.assert_allclose(placed.affine, truth.affine, atol=1e-2)
    np.testing.assert_array_equal(placed.get_fdata(), truth.get_fdata())


def test_a_tilted_ge_stack_is_what_its_headers_say(ge_stack: Path) -> None:
    image = read_dicom(str(ge_stack))
    assert ("GANTRY_TILT", "18.5 degrees") in image.events
    require_header_truth(image, ge_stack, padding=-1500)


@pytest.mark.slow
def test_resampling_by_monai_undoes_the_tilt(ge_stack: Path) -> None:
    """Truth: each slice of the resampled volume, looked up in the slices by their headers."""
    monai = pytest.importorskip("monai", reason="promise not shown: needs monai")
    torch = pytest.importorskip("torch")
    scipy = pytest.importorskip("scipy.ndimage")
    image = read_dicom(str(ge_stack))
    tensor = monai.data.MetaTensor(
        torch.from_numpy(np.array(image.pixels[None])), affine=torch.from_numpy(image.affine)
    )
    upright = monai.transforms.Spacing((2.0, 2.0, 2.0), mode="bilinear")(tensor)
    affine = np.asarray(upright.affine)
    np.testing.assert_allclose(affine[:3, :3].T @ affine[:3, :3], 4 * np.eye(3), atol=1e-6)
    truth, inside = header_truth(ge_stack, affine, upright.shape[1:], scipy)
    found = upright.numpy()[0][inside]
    assert inside.sum() > 100_000
    correlation = np.corrcoef(found, truth[inside])[0, 1]
    assert correlation >= 0.99


def header_truth(folder: Path, affine: np.ndarray, shape: tuple, scipy: object) -> tuple:
    """Return values at the voxels of ``affine``, interpolated between the slices around each."""
    datasets = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    datasets.sort(key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    first = datasets[0]
    axes = np.array(first.ImageOrientationPatient, float)
    normal = np.cross(axes[:3], axes[3:])
    depths = np.array([np.array(d.ImagePositionPatient, float) @ normal for d in datasets])
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T
    places = (grid + affine[:3, 3]) * [-1, -1, 1]
    slot = np.interp(places @ normal, depths, np.arange(len(depths)), left=-1, right=-1)
    inside = slot >= 0
    below = np.clip(np.floor(slot).astype(int), 0, len(depths) - 2)
    layers = [_sampled(datasets, below + step, places, scipy) for step in (0, 1)]
    weight = slot - below
    return layers[0] * (1 - weight) + layers[1] * weight, inside


def _sampled(datasets: list, which: np.ndarray, places: np.ndarray, scipy: object) -> np.ndarray:
    values = np.full(which.shape, -1024.0)
    for number, dataset in enumerate(datasets):
        mask = which == number
        axes = np.array(dataset.ImageOrientationPatient, float)
        offset = places[mask] - np.array(dataset.ImagePositionPatient, float)
        pixels = dataset.pixel_array.astype(float)
        pixels[pixels == -1500] = -1024
        spots = [
            offset @ axes[3:] / dataset.PixelSpacing[0],
            offset @ axes[:3] / dataset.PixelSpacing[1],
        ]
        values[mask] = scipy.map_coordinates(pixels, spots, order=1, cval=-1024.0)
    return values
