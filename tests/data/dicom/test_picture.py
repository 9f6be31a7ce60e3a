from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from medfuse.data.dicom.read import DicomImage, read_dicom
from medfuse.data.dicom.refusal import DicomError

from .synthetic import EXPLICIT, header, projection, samples, set_pixels, table, write

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def read(dataset: Dataset, folder: Path, syntax: str = EXPLICIT) -> DicomImage:
    return read_dicom(str(write(dataset, folder / "picture.dcm", syntax)))


def linear(values: NDArray[Any], center: float, width: float) -> NDArray[Any]:
    """Return PS3.3 C.11.2.1.2.1, written out as the standard does, for an output of 0 to 1."""
    out = ((values - (center - 0.5)) / (width - 1) + 0.5) * 1.0
    out[values <= center - 0.5 - (width - 1) / 2] = 0
    out[values > center - 0.5 + (width - 1) / 2] = 1
    return out


def windowed(photometric: str, flip: bool, shape: str) -> Dataset:
    pixels, center = (4095 - RAMP, 4095 - 1000.0) if flip else (RAMP, 1000.0)
    dataset = projection(pixels, 12, photometric)
    step = 1 if flip and shape == "LINEAR" else 0
    dataset.WindowCenter, dataset.WindowWidth = [center + step, 5], [800, 7]
    dataset.VOILUTFunction = shape
    return dataset


@pytest.mark.parametrize("shape", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_twins_in_both_photometric_interpretations_are_identical(
    tmp_path: Path, shape: str
) -> None:
    two = read(windowed("MONOCHROME2", False, shape), tmp_path)
    one = read(windowed("MONOCHROME1", True, shape), tmp_path)
    np.testing.assert_allclose(one.pixels, two.pixels, atol=1e-7)
    assert ("MONOCHROME1_INVERTED", "") in one.events
    assert two.pixels[0, 0] < two.pixels[-1, -1]


def test_twins_without_a_window_are_identical_to_the_bit(tmp_path: Path) -> None:
    two = read(projection(RAMP, 12, "MONOCHROME2"), tmp_path)
    one = read(projection(4095 - RAMP, 12, "MONOCHROME1"), tmp_path)
    assert one.pixels.tobytes() == two.pixels.tobytes()
    np.testing.assert_allclose(two.pixels, RAMP / 4095, atol=1e-7)
    assert ("NO_VOI", "0 to 4095") in two.events


def test_windows_follow_the_formulas_of_the_standard(tmp_path: Path) -> None:
    values = RAMP.astype(float)
    expected = {
        "LINEAR": linear(values, 1000, 800),
        "LINEAR_EXACT": np.clip((values - 1000) / 800 + 0.5, 0, 1),
        "SIGMOID": 1 / (1 + np.exp(-4 * (values - 1000) / 800)),
    }
    for shape, shown in expected.items():
        image = read(windowed("MONOCHROME2", False, shape), tmp_path)
        np.testing.assert_allclose(image.pixels, shown, atol=1e-6)
        assert ("VOI_WINDOW", f"{shape} center 1000 width 800") in image.events


def test_a_window_applies_after_the_rescale(tmp_path: Path) -> None:
    dataset = projection(RAMP)
    dataset.RescaleSlope, dataset.RescaleIntercept = 2, -100
    dataset.WindowCenter, dataset.WindowWidth = 1000, 800
    image = read(dataset, tmp_path)
    np.testing.assert_allclose(image.pixels, linear(RAMP * 2.0 - 100, 1000, 800), atol=1e-6)


def test_a_table_goes_before_a_window(tmp_path: Path) -> None:
    dataset = projection(RAMP)
    dataset.WindowCenter, dataset.WindowWidth = 1000, 800
    entries = (np.arange(1000) ** 2 // 1000).tolist()
    dataset.VOILUTSequence = Items([table(entries, 500, 10)])
    image = read(dataset, tmp_path)
    place = np.clip(RAMP.astype(int) - 500, 0, 999)
    np.testing.assert_allclose(image.pixels, np.array(entries)[place] / 1023, atol=1e-6)
    assert ("VOI_LUT", "1000 entries") in image.events


def test_a_table_of_8_bit_entries_may_be_packed_in_words(tmp_path: Path) -> None:
    dataset = projection(RAMP)
    entries = np.arange(255, -1, -1).astype(np.uint8)
    packed = table(entries.view("<u2").tolist(), 100, 8)
    packed.LUTDescriptor = [256, 100, 8]
    dataset.VOILUTSequence = Items([packed])
    image = read(dataset, tmp_path)
    expected = entries[np.clip(RAMP.astype(int) - 100, 0, 255)] / 255
    np.testing.assert_allclose(image.pixels, expected, atol=1e-6)


def test_signed_samples_and_a_table_with_a_negative_start(tmp_path: Path) -> None:
    signed = (RAMP.astype(np.int16) - 2048).astype(np.int16)
    dataset = projection(signed)
    dataset.VOILUTSequence = Items([table(range(4096), -2048, 12)])
    for syntax in (EXPLICIT, "1.2.840.10008.1.2"):
        image = read(dataset, tmp_path, syntax)
        np.testing.assert_allclose(image.pixels, RAMP / 4095, atol=1e-6)


def test_a_modality_table_comes_first(tmp_path: Path) -> None:
    dataset = projection(RAMP)
    dataset.ModalityLUTSequence = Items([table(list(range(65535, 61439, -1)), 0, 16)])
    dataset.ModalityLUTSequence[0].ModalityLUTType = "OD"
    image = read(dataset, tmp_path)
    np.testing.assert_allclose(image.pixels, (65535 - RAMP.astype(float)) / 65535, atol=1e-6)


def test_padding_is_black_in_both_interpretations(tmp_path: Path) -> None:
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        pixels = RAMP.copy()
        pixels[:3] = 4095
        dataset = projection(pixels, 12, photometric)
        dataset.add_new("PixelPaddingValue", "US", 4095)
        image = read(dataset, tmp_path)
        assert (image.pixels[:3] == 0).all()
        assert image.pixels[3:-1].min() > 0


def test_a_contradiction_about_inversion_is_refused(tmp_path: Path) -> None:
    dataset = projection(RAMP)
    dataset.PresentationLUTShape = "INVERSE"
    with pytest.raises(DicomError, match=r"contradicts PresentationLUTShape.*PHOTOMETRIC"):
        read(dataset, tmp_path)


def test_spacing_is_the_patients_else_the_detectors(tmp_path: Path) -> None:
    dataset = projection(RAMP)
    image = read(dataset, tmp_path)
    assert image.spacing == (0.2, 0.1)
    assert ("DETECTOR_SPACING", "ImagerPixelSpacing") in image.events
    dataset.PixelSpacing = [0.15, 0.15]
    assert read(dataset, tmp_path).spacing == (0.15, 0.15)


def test_what_is_not_for_display_is_said(tmp_path: Path) -> None:
    dataset = projection(RAMP)
    dataset.PresentationIntentType = "FOR PROCESSING"
    assert ("FOR_PROCESSING", "") in read(dataset, tmp_path).events


def ultrasound(pixels: NDArray[Any], photometric: str) -> Dataset:
    dataset = header("6.1", "US")
    set_pixels(dataset, pixels, photometric=photometric)
    return dataset


def colors() -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 256, (6, 8, 3)).astype(np.uint8)


def test_rgb_by_pixel_and_by_plane_are_the_same(tmp_path: Path) -> None:
    dataset = ultrasound(colors(), "RGB")
    by_pixel = read(dataset, tmp_path)
    np.testing.assert_allclose(by_pixel.pixels, colors() / 255, atol=1e-6)
    dataset.PlanarConfiguration = 1
    dataset.PixelData = colors().transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(read(dataset, tmp_path).pixels, by_pixel.pixels)


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_ybr_becomes_rgb(tmp_path: Path, photometric: str) -> None:
    from PIL import Image

    rgb = np.repeat(colors(), 2, axis=1)
    ybr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    dataset = ultrasound(ybr, photometric)
    if photometric.endswith("422"):
        cells = [ybr[:, ::2, :1], ybr[:, 1::2, :1], ybr[:, ::2, 1:]]
        dataset.PixelData = np.concatenate(cells, axis=2).tobytes()
    image = read(dataset, tmp_path)
    assert np.abs(image.pixels * 255 - rgb).max() < 4
    assert ("COLOR_CONVERTED", photometric) in image.events


def test_a_palette_becomes_rgb_and_equal_channels_become_gray(tmp_path: Path) -> None:
    indices = np.arange(48, dtype=np.uint8).reshape(6, 8)
    dataset = ultrasound(indices, "PALETTE COLOR")
    for name, factor in (("Red", 1), ("Green", 2), ("Blue", 3)):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [64, 0, 16])
        data = (np.arange(64, dtype="<u2") * factor * 300).tobytes()
        setattr(dataset, f"{name}PaletteColorLookupTableData", data)
    image = read(dataset, tmp_path)
    expected = np.stack([indices * 300.0 * f / 65535 for f in (1, 2, 3)], axis=-1)
    np.testing.assert_allclose(image.pixels, expected, atol=1e-6)
    gray = np.repeat(colors()[..., :1], 3, axis=-1)
    assert read(ultrasound(gray, "RGB"), tmp_path).pixels.shape == (6, 8)


def test_a_folder_with_one_projection_is_that_picture(tmp_path: Path) -> None:
    write(projection(samples(1)), tmp_path / "one" / "a.dcm")
    image = read_dicom(str(tmp_path / "one"))
    np.testing.assert_allclose(image.pixels, samples(1) / 4095, atol=1e-7)
