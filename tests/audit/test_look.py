"""What is measured on one file."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel import orientations

from medfuse.audit.look import THUMBNAIL, look, thumbnail
from medfuse.config import InputConfig
from medfuse.preprocessing import Preprocessing, resolve_input
from tests.audit.conftest import picture, volume_file
from tests.data.dicom import synthetic


def test_a_volume_with_turned_axes_and_another_type_is_the_same(tmp_path: Path) -> None:
    one = look(volume_file(tmp_path / "a.nii.gz"))
    two = look(volume_file(tmp_path / "b.nii", "LPS", np.float32))
    assert two.digest == one.digest
    assert (one.bits, two.bits) == (16, 32)


def test_the_digest_of_a_volume_is_that_of_training(tmp_path: Path) -> None:
    file = volume_file(tmp_path / "a.nii.gz", "PLS")
    resolved, fingerprint = resolve_input(InputConfig(kind="volume", modality="CT"), [file])
    assert look(file).digest == Preprocessing(resolved, fingerprint).load(file).pixel_digest


def test_a_dicom_slice_has_the_bits_it_is_stored_with(tmp_path: Path) -> None:
    file = synthetic.write(synthetic.ct_slice(0), tmp_path / "slice.dcm")
    found = look(str(file))
    assert (found.bits, found.depth, found.shape) == (12, 32, (synthetic.ROWS, synthetic.COLUMNS))


def test_a_dicom_series_and_its_nifti_copy_are_the_same(tmp_path: Path) -> None:
    from medfuse.data.volume_file import read_volume

    for number in range(5):
        synthetic.write(synthetic.ct_slice(number), tmp_path / "series" / f"{number}.dcm")
    volume = read_volume(str(tmp_path / "series"))
    turn = orientations.ornt_transform(
        orientations.io_orientation(volume.affine), orientations.axcodes2ornt("RAS")
    )
    turned = orientations.apply_orientation(volume.pixels, turn)
    affine = volume.affine @ orientations.inv_ornt_aff(turn, volume.pixels.shape)
    copy = nibabel.Nifti1Image(turned.astype(np.int16), affine)
    nibabel.save(copy, tmp_path / "copy.nii.gz")
    one, two = look(str(tmp_path / "series")), look(str(tmp_path / "copy.nii.gz"))
    assert two.digest == one.digest
    assert (one.kind, two.kind) == ("DICOM", "NIFTI")


def test_the_thumbnail_of_a_volume_is_its_axial_slice(tmp_path: Path) -> None:
    values = np.zeros((40, 40, 40), np.int16)
    values[:, 20:, 20] = 100  # the anterior half of one axial slice
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "v.nii")
    shown = look(str(tmp_path / "v.nii")).thumbnail
    assert shown[: THUMBNAIL // 2 - 2].min() > 200
    assert shown[THUMBNAIL // 2 + 2 :].max() == 0


def test_the_thumbnail_is_averaged_and_square(save) -> None:
    shown = np.kron(np.indices((64, 64)).sum(0) % 2, np.ones((1, 2))).astype(np.float32)
    stripes = np.repeat(np.tile([0.0, 1.0], 64)[None], 128, 0).astype(np.float32)
    assert thumbnail(shown).shape == (THUMBNAIL, THUMBNAIL)
    assert np.unique(thumbnail(stripes)).tolist() == [128]


def test_the_outermost_frame_is_the_border(save) -> None:
    framed = np.full((100, 100), 51, np.uint8)
    framed[2:-2, 2:-2] = picture(0, 96)
    found = look(save("a.png", framed))
    assert found.border == pytest.approx((0.2, 0.0), abs=1e-6)


def test_text_in_a_corner_has_many_steps(save) -> None:
    marked = np.full((100, 100), 90, np.uint8)
    marked[:12, -12::2] = 255
    steps = look(save("a.png", marked)).corners[1::2]
    assert steps[1] > 0.5
    assert max(steps[0], *steps[2:]) == 0


def test_an_image_in_an_archive_has_no_size_of_its_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", train_images=np.stack([picture(0), picture(1)]))
    assert look(f"{tmp_path / 'set.npz'}::train_images::1").size == 0
    assert look(f"{tmp_path / 'set.npz'}::train_images::1").depth == 8
