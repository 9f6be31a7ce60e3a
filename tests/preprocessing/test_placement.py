"""What is found on the canonical grid lies at its own place in the file."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medfuse.config import InputConfig
from medfuse.errors import ImageError
from medfuse.preprocessing.nodes import config_nodes, instantiate
from medfuse.preprocessing.placement import placement_of


def chain(**settings):
    return instantiate(config_nodes(InputConfig(**settings)))


def run(steps, reference):
    data = {"image": str(reference)}
    for step in steps:
        data = step(data)
    return np.asarray(data["image"])


IMAGES = [
    {"size": (64, 64), "fit": "stretch"},
    {"size": (64, 64), "fit": "letterbox"},
    {"size": (300, 300), "fit": "letterbox"},
    {"size": (64, 48), "fit": "letterbox", "crop": "foreground"},
]


@pytest.mark.parametrize("settings", IMAGES)
@pytest.mark.parametrize("shape", [(80, 200), (201, 90)])
def test_a_marker_off_center_comes_back_to_its_pixels(tmp_path, settings, shape):
    pixels = np.zeros(shape, np.uint8)
    pixels[20:70, 25:85] = 90  # what a crop keeps
    row, column = 58, 70
    pixels[row - 3 : row + 4, column - 3 : column + 4] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    steps = chain(modality="XR", intensity="range", **settings)
    canonical = run(steps, tmp_path / "a.png")[0]
    place = placement_of(steps, str(tmp_path / "a.png"))
    back = place.back(np.where(canonical > 0.6, canonical, 0))
    assert back.shape == shape == place.shown.shape
    weights = back / back.sum()
    found = (weights.sum(1) @ np.arange(shape[0]), weights.sum(0) @ np.arange(shape[1]))
    scale = max(1.0, max(shape) / min(canonical.shape))
    assert np.abs(np.subtract(found, (row, column))).max() < 0.4 * scale


def test_what_a_crop_left_out_is_dark(tmp_path):
    pixels = np.zeros((80, 120), np.uint8)
    pixels[20:60, 30:90] = np.arange(60, dtype=np.uint8) + 100
    Image.fromarray(pixels).save(tmp_path / "a.png")
    steps = chain(modality="XR", intensity="range", size=(32, 32), crop="foreground")
    back = placement_of(steps, str(tmp_path / "a.png")).back(np.ones((32, 32)))
    assert back[20:60, 30:90].min() == pytest.approx(1)
    assert back[:19].max() == 0
    assert back[:, 92:].max() == 0


@pytest.mark.parametrize("spacing", ["none", (1.5, 1.5, 3.0)])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_a_marker_in_a_volume_comes_back_to_its_voxels_in_any_orientation(tmp_path, codes, spacing):
    values = np.zeros((40, 50, 30), np.float32)
    values[5:35, 5:45, 4:26] = 0.3
    values[24:29, 10:15, 18:21] = 1.0
    affine = np.diag([1.2, 0.9, 2.0, 1.0])
    image = nib.Nifti1Image(values, affine)
    turned = image.as_reoriented(
        nib.orientations.ornt_transform(
            nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(codes))
        )
    )
    nib.save(turned, tmp_path / "v.nii.gz")
    steps = chain(
        kind="volume", modality="MR", intensity="range", spacing=spacing, size=(48, 48, 32)
    )
    canonical = run(steps, tmp_path / "v.nii.gz")[0]
    place = placement_of(steps, str(tmp_path / "v.nii.gz"))
    back = place.back(np.where(canonical > 0.7 * canonical.max(), canonical, 0))
    truth = np.argwhere(turned.get_fdata() > 0.9).mean(0)
    weights = back / back.sum()
    found = [(weights.sum(tuple(b for b in range(3) if b != a)) @ np.arange(s))
             for a, s in enumerate(back.shape)]  # fmt: skip
    assert back.shape == turned.shape
    assert np.abs(np.subtract(found, truth)).max() < 0.7
    np.testing.assert_allclose(place.affine, turned.affine)


def test_a_step_that_nobody_knows_is_refused(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    steps = [*chain(intensity="range", size=(8, 8)), lambda data: data]
    with pytest.raises(ImageError, match=r"step function: .* medfuse's own"):
        placement_of(steps, str(tmp_path / "a.png"))
