"""What becomes of images of another bit depth than a network learned from."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from medfuse.config import InputConfig
from medfuse.errors import ConfigError, ImageError
from medfuse.preprocessing import Preprocessing, resolve_input

EIGHT = {"bits": 8}
INPUT = {"kind": "image", "size": [40, 36], "intensity": "range", "other_depths": "percentile"}


def loaded(path: Path, **changes: object) -> np.ndarray:
    config = InputConfig(**{**INPUT, **changes})
    return Preprocessing(config, EIGHT).load(str(path)).pixels[0]


@pytest.fixture
def picture(tmp_path: Path) -> np.ndarray:
    return np.tile(np.linspace(0, 255, 36).round().astype(np.uint8), (40, 1))


def test_an_x_ray_is_what_its_own_window_shows_whichever_way_it_is_stored(
    synthetic: ModuleType, picture: np.ndarray, tmp_path: Path
) -> None:
    """A window from 1024 to 2048 over 12 bits, in both photometric interpretations."""
    stored = picture.astype(np.uint16) * 4 + 1024
    shown = synthetic.projection(stored)
    shown.WindowCenter, shown.WindowWidth = 1536, 1024
    inverted = synthetic.projection(4095 - stored, photometric="MONOCHROME1")
    inverted.WindowCenter, inverted.WindowWidth = 4095 - 1536 + 1, 1024
    Image.fromarray(picture).save(tmp_path / "a.png")
    for dataset in (shown, inverted):
        file = synthetic.write(dataset, tmp_path / "a.dcm")
        np.testing.assert_allclose(loaded(file), loaded(tmp_path / "a.png"), atol=0.005)


def test_without_a_window_samples_lie_between_percentiles(
    synthetic: ModuleType, picture: np.ndarray, tmp_path: Path
) -> None:
    deep = picture.astype(np.uint16) * 4 + 1000
    dicom = synthetic.write(synthetic.projection(deep), tmp_path / "a.dcm")
    Image.fromarray(deep).save(tmp_path / "a.png")
    for path in (dicom, tmp_path / "a.png"):
        found = loaded(path, percentiles=[0, 100])
        np.testing.assert_allclose(found, picture / 255, atol=1e-5)


def test_eight_bits_of_dicom_are_those_of_a_picture(
    synthetic: ModuleType, picture: np.ndarray, tmp_path: Path
) -> None:
    dim = picture // 2
    file = synthetic.write(synthetic.projection(dim, 8), tmp_path / "a.dcm")
    np.testing.assert_allclose(loaded(file), dim / 255, atol=1e-5)


def test_ct_lies_between_the_bounds_of_the_window(synthetic: ModuleType, tmp_path: Path) -> None:
    file = synthetic.write(synthetic.ct_slice(0), tmp_path / "a.dcm")
    hounsfield = synthetic.samples(0).astype(np.float32) - 1024
    found = loaded(file, modality="CT", other_depths="lung", size=[40, 36])
    np.testing.assert_allclose(found, np.clip((hounsfield + 1350) / 1500, 0, 1), atol=1e-5)


def test_magnetic_resonance_lies_between_percentiles_whatever_window_is_named(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    file = synthetic.write(synthetic.mr_slice(0), tmp_path / "a.dcm")
    found = loaded(file, other_depths=[0, 1], percentiles=[0, 100])
    stored = synthetic.samples(0).astype(np.float32)
    expected = (stored - stored.min()) / (stored.max() - stored.min())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pictures_of_the_depth_of_training_stay_as_they_are_and_others_are_told(
    picture: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(picture // 2).save(tmp_path / "a.png")
    np.testing.assert_allclose(loaded(tmp_path / "a.png"), (picture // 2) / 255, atol=1e-6)
    Image.fromarray(picture.astype(np.uint16)).save(tmp_path / "b.png")
    config = InputConfig(**INPUT)
    events = Preprocessing(config, EIGHT).load(str(tmp_path / "b.png")).events
    assert [event.code for event in events] == ["OTHER_DEPTH"]
    assert events[0].detail == "16-bit samples, made a picture as of 8 bits"


def test_a_flat_image_is_black(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 36), 900, np.uint16)).save(tmp_path / "a.png")
    assert loaded(tmp_path / "a.png").max() == 0


def test_they_are_refused_unless_it_was_asked_for(picture: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(picture.astype(np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="found 16-bit samples, expected 8-bit"):
        loaded(tmp_path / "a.png", other_depths="refuse")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "volume"}, "other_depths says what becomes of images"),
        ({"intensity": "percentile"}, "intensity: range"),
        ({"other_depths": "lungs"}, r"'lungs' is no window.*lung"),
        ({"other_depths": [5, 2]}, "low below high"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InputConfig(**{**INPUT, **changes})


def test_images_that_are_stretched_anyway_need_no_such_setting(tmp_path: Path) -> None:
    Image.fromarray(np.arange(1440, dtype=np.uint16).reshape(40, 36)).save(tmp_path / "a.png")
    config = InputConfig(kind="image", other_depths="percentile")
    with pytest.raises(ConfigError, match="16 bits and intensity: percentile, expected range"):
        resolve_input(config, [str(tmp_path / "a.png")])
