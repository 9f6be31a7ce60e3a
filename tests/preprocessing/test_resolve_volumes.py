import logging
import math

import nibabel as nib
import numpy as np
import pytest
import tifffile
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from medfuse.config import InputConfig, dump_experiment, parse_experiment
from medfuse.errors import ImageError
from medfuse.preprocessing import Preprocessing, resolve_input
from medfuse.preprocessing.kind import kind_of
from medfuse.preprocessing.volume_size import (
    BUDGET,
    size_of,
    spacing_for,
    target_spacing,
    within_budget,
)

RANDOM = np.random.default_rng(0)


def _save(path, shape=(40, 30, 10), spacing=(1.0, 1.0, 4.0), low=0.0, high=900.0) -> str:
    voxels = RANDOM.uniform(low, high, shape).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([*spacing, 1.0])), path)
    return str(path)


def test_values_of_air_make_ct_with_a_window_in_each_channel(tmp_path):
    paths = [_save(tmp_path / f"{i}.nii.gz", low=-1024, high=2000) for i in range(3)]
    found, facts = resolve_input(InputConfig(), paths)
    assert (found.kind, found.modality, found.intensity) == ("volume", "CT", "window")
    assert found.windows == ("lung", "mediastinum", "bone")
    assert found.channels == 3
    assert found.fit == "letterbox"
    assert (facts["volumes"], facts["geometry"], facts["anisotropic"]) == (3, True, True)
    assert Preprocessing(found, facts).load(paths[0]).pixels.shape == (3, *found.shape)
    one, _ = resolve_input(InputConfig(channels=1), paths)
    assert (one.windows, one.channels) == (("wide",), 1)


def test_mr_gets_z_scores_of_its_foreground_and_other_volumes_percentiles(tmp_path):
    path = _save(tmp_path / "a.nii")
    mr, _ = resolve_input(InputConfig(modality="MR"), [path])
    assert (mr.intensity, mr.foreground, mr.channels) == ("zscore", True, 1)
    other, _ = resolve_input(InputConfig(), [path])
    assert (other.modality, other.intensity, other.foreground) == ("other", "percentile", False)
    kept, _ = resolve_input(InputConfig(modality="MR", foreground=False, windows=["bone"]), [path])
    assert (kept.intensity, kept.foreground, kept.bounds) == ("window", False, ((-300, 1200),))


def test_spacing_is_the_median_in_the_order_of_the_orientation(tmp_path):
    paths = [
        _save(tmp_path / f"{i}.nii", shape=(48, 40, 16), spacing=(1.0 + i, 2.0, 4.0))
        for i in range(3)
    ]
    found, facts = resolve_input(InputConfig(), paths)
    assert found.spacing == (2.0, 2.0, 4.0)
    assert found.shape == (40, 72, 16)  # 48 to 144 mm along the columns, 2 mm each
    assert facts["spacing_median"] == [2.0, 2.0, 4.0]
    assert facts["spacing_max"] == [2.0, 3.0, 4.0]
    turned, _ = resolve_input(InputConfig(orientation="SPL"), paths)
    assert turned.spacing == (4.0, 2.0, 2.0)
    assert turned.shape == (16, 40, 72)


def test_what_is_given_stays(tmp_path):
    path = _save(tmp_path / "a.nii", shape=(128, 128, 64), spacing=(2, 2, 2))
    given_spacing, _ = resolve_input(InputConfig(spacing=(4, 4, 4)), [path])
    assert (given_spacing.spacing, given_spacing.shape) == ((4, 4, 4), (64, 64, 32))
    given_size, _ = resolve_input(InputConfig(size=(64, 64, 32)), [path])
    assert (given_size.spacing, given_size.shape) == ((4, 4, 4), (64, 64, 32))
    none, _ = resolve_input(InputConfig(spacing="none", fit="stretch"), [path])
    assert (none.spacing, none.fit) == ("none", "stretch")
    assert math.prod(none.shape) <= BUDGET


def test_size_holds_nine_of_ten_volumes_and_no_giant(tmp_path):
    sides = [60] * 8 + [70, 300]
    paths = [
        _save(tmp_path / f"{i}.nii", shape=(side, 40, 16), spacing=(2, 2, 4))
        for i, side in enumerate(sides)
    ]
    found, facts = resolve_input(InputConfig(), paths)
    assert (found.spacing, found.shape) == ((2, 2, 4), (40, 96, 16))  # 1.5 x 60 of 300
    assert facts["extent_max"] == [80, 600, 64]
    fewer, _ = resolve_input(InputConfig(), paths[:9])
    assert fewer.shape == (40, 72, 16)


def test_spacing_is_rounded_up_so_that_what_fits_still_fits(tmp_path):
    path = _save(tmp_path / "a.nii", shape=(300, 320, 100), spacing=(0.8594, 0.8594, 3.3))
    found, facts = resolve_input(InputConfig(), [path])
    assert math.prod(found.shape) <= BUDGET
    assert Preprocessing(found, facts).load(path).events == ()


def test_a_given_spacing_is_kept_and_large_volumes_are_warned_of(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("medfuse"), "propagate", True)
    path = _save(tmp_path / "a.nii", shape=(128, 128, 64), spacing=(2, 2, 2))
    found, _ = resolve_input(InputConfig(spacing=(1, 1, 1)), [path])
    assert (found.spacing, found.shape) == ((1, 1, 1), (256, 256, 128))
    assert "takes 256 x 256 x 128 voxels, 19.0 times what medfuse would choose" in caplog.text


def test_what_the_crop_leaves_decides_the_size(tmp_path):
    voxels = np.full((100, 100, 40), -1000, np.int16)
    voxels[20:68, 10:50, 8:32] = 40
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2, 4, 1])), tmp_path / "a.nii")
    whole, _ = resolve_input(InputConfig(), [str(tmp_path / "a.nii")])
    found, facts = resolve_input(InputConfig(crop="foreground"), [str(tmp_path / "a.nii")])
    assert (whole.spacing, whole.shape) == ((2, 2, 4), (104, 104, 40))
    assert (found.spacing, found.shape) == ((2, 2, 4), (40, 48, 24))
    assert Preprocessing(found, facts).load(str(tmp_path / "a.nii")).events == ()


def test_a_tilted_volume_fits_once_it_is_straight(tmp_path):
    affine = np.diag([1.0, 1, 5, 1])
    affine[1, 2] = 1.7
    voxels = RANDOM.uniform(0, 900, (64, 64, 24)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "a.nii")
    found, facts = resolve_input(InputConfig(), [str(tmp_path / "a.nii")])
    assert found.shape == (104, 64, 24)  # 64 mm and 23 x 1.7 mm
    assert Preprocessing(found, facts).load(str(tmp_path / "a.nii")).events == ()


def test_volumes_without_geometry_get_no_spacing(tmp_path):
    np.savez(tmp_path / "a.npz", train_images=RANDOM.integers(0, 256, (4, 28, 28, 28), np.uint8))
    references = [f"{tmp_path / 'a.npz'}::train_images::{i}" for i in range(4)]
    found, facts = resolve_input(InputConfig(), references)
    assert (found.kind, found.spacing, found.intensity) == ("volume", "none", "range")
    assert found.shape == (32, 32, 32)
    assert Preprocessing(found, facts).load(references[0]).pixels.shape == (1, 32, 32, 32)


def test_a_resolved_input_can_be_written_and_read_again(tmp_path):
    path = _save(tmp_path / "a.nii", low=-1024)
    found, facts = resolve_input(InputConfig(), [path])
    data = {"cohort": {"path": "x"}, "sources": [{"use": "mini:a"}]}
    written = dump_experiment(parse_experiment({**data, "inputs": {"image": found.model_dump()}}))
    again = parse_experiment(yaml.safe_load(written)).inputs["image"]
    assert Preprocessing(again).digest() == Preprocessing(found, facts).digest()
    assert resolve_input(again, [path])[0] == again


def test_pictures_and_volumes_are_told_apart_by_what_they_are(tmp_path):
    gray = RANDOM.integers(0, 256, (40, 30), np.uint8)
    Image.fromarray(gray).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "one.tif", gray)
    tifffile.imwrite(tmp_path / "many.tif", np.stack([gray] * 5), photometric="minisblack")
    np.save(tmp_path / "flat.npy", gray)
    np.save(tmp_path / "color.npy", np.stack([gray] * 3, -1))
    np.save(tmp_path / "deep.npy", np.stack([gray] * 9))
    found = {
        name: kind_of(str(tmp_path / name))
        for name in ("a.png", "one.tif", "many.tif", "flat.npy", "color.npy", "deep.npy")
    }
    assert [name for name, kind in found.items() if kind == "volume"] == ["many.tif", "deep.npy"]
    assert kind_of(_save(tmp_path / "a.nii.gz")) == "volume"
    assert kind_of(str(tmp_path)) == "volume"
    with pytest.raises(ImageError, match=r"both pictures and volumes.*MIXED_KIND"):
        resolve_input(InputConfig(), [str(tmp_path / n) for n in ("a.png", "many.tif")])


def test_no_readable_volume_is_an_error_with_the_first_reason(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(ImageError, match=r"a\.nii.*EMPTY_FILE. None of 1 volumes can be read"):
        resolve_input(InputConfig(), [str(tmp_path / "a.nii")])


_SIDES = st.tuples(*[st.floats(10, 600)] * 3)
_STEPS = st.tuples(*[st.floats(0.2, 10)] * 3)


@given(_SIDES, _STEPS)
def test_the_budget_holds_and_only_ever_coarsens(extent, spacing):
    larger = within_budget(extent, spacing)
    assert math.prod(size_of(extent, larger)) <= BUDGET
    assert all(b >= a for a, b in zip(spacing, larger, strict=True))
    if math.prod(size_of(extent, spacing)) <= BUDGET:
        assert larger == spacing


@given(_SIDES, _STEPS)
def test_what_must_fit_fits(extent, spacing):
    found = spacing_for(extent, spacing, (96, 80, 40))
    assert all(e / s <= n + 1e-6 for e, s, n in zip(extent, found, (96, 80, 40), strict=True))


def test_the_finest_axes_give_way_first():
    # A head CT: 231 x 231 x 140 mm, 0.45 x 0.45 x 5 mm.
    spacing = within_budget((231, 231, 140), (0.45, 0.45, 5.0))
    assert spacing[2] == 5.0
    assert spacing[0] == spacing[1] < 2.3


def test_one_thick_series_does_not_coarsen_all():
    many = np.array([[0.5, 0.5, 5.0]] * 6 + [[0.5, 0.5, 2.0]] * 4)
    assert target_spacing(many) == pytest.approx((0.5, 0.5, 2.0))
    even = np.array([[1.0, 1.0, 2.0]] * 5)
    assert target_spacing(even) == (1.0, 1.0, 2.0)


def test_a_dicom_series_is_a_volume_of_ct(shared_data):
    folder = str(shared_data / "dicom/ct_head_philips")
    found, facts = resolve_input(InputConfig(), [folder])
    assert (found.kind, found.modality, found.spacing[2]) == ("volume", "CT", 5.0)
    assert facts["modalities"] == {"CT": 1}
    assert math.prod(found.shape) <= BUDGET
    pixels = Preprocessing(found, facts).load(folder).pixels
    assert pixels.shape == (3, *found.shape)
    assert 0.1 < pixels.std() < 0.6


def test_a_single_slice_of_ct_is_a_picture_in_hu(shared_data):
    files = sorted((shared_data / "dicom/ct_head_philips/S2010").glob("*"))[3:6]
    found, facts = resolve_input(InputConfig(), [str(file) for file in files])
    assert (found.kind, found.modality, found.channels) == ("image", "CT", 3)
    pixels = Preprocessing(found, facts).load(str(files[0])).pixels
    assert pixels.shape == (3, 224, 224)
    assert pixels.std() > 0.1
