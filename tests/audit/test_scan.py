import json

import numpy as np
import pytest

from medfuse.audit import open_picture, scan
from medfuse.audit.middle_slices import SIDE, middle_slices
from medfuse.data import Case, Cohort
from tests.audit.conftest import picture


def test_bad_files_are_counted_by_code_and_the_rest_is_read(save, cohort_of, tmp_path):
    good = save("good.png", picture(0))
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:900])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture at all, but long enough " * 20)
    names = ("cut.png", "empty.png", "text.png", "absent.png")
    rows = [{"file": good}, *({"file": str(tmp_path / name)} for name in names)]
    found = scan(cohort_of(rows), progress=False)
    assert found.codes() == {
        "EMPTY_FILE": 1, "FILE_NOT_FOUND": 1, "NOT_AN_IMAGE": 1, "TRUNCATED": 1,
    }  # fmt: skip
    assert [item.case.case_id for item in found.seen] == ["c000"]


def test_the_digest_is_that_of_training(save, cohort_of):
    from medfuse.config import InputConfig
    from medfuse.preprocessing import Preprocessing, resolve_input

    file = save("a.png", picture(0))
    resolved, fingerprint = resolve_input(InputConfig(), [file])
    trained = Preprocessing(resolved, fingerprint).load(file)
    (item,) = scan(cohort_of([{"file": file}]), progress=False).seen
    assert item.look.digest == trained.pixel_digest


def test_what_a_file_shows_is_measured(save, cohort_of):
    pixels = picture(0)
    pixels[:12] = 0
    pixels[:, :10] = 0
    (item,) = scan(cohort_of([{"file": save("a.png", pixels)}]), progress=False).seen
    look = item.look
    assert (look.shape, look.bits, look.kind, look.channels) == ((96, 96), 8, "PNG", 1)
    assert look.mean == pytest.approx(pixels.mean(), rel=1e-5)
    assert look.margins[0] == pytest.approx(12 / 96)
    assert look.margins[2] == pytest.approx(10 / 96)


def test_coarser_jpeg_tables_are_seen(save, cohort_of):
    files = [save(f"{q}.jpg", picture(0), quality=q) for q in (90, 30)]
    fine, coarse = (
        s.look for s in scan(cohort_of([{"file": f} for f in files]), progress=False).seen
    )
    assert coarse.quantization > 2 * fine.quantization > 0
    assert coarse.size < fine.size


def test_cells_of_a_table_are_no_files(save, tmp_path):
    inputs = {"image": save("a.png", picture(0)), "age": json.dumps({"age": "54"})}
    cohort = Cohort((Case("c", inputs, 0, "p"),), ("a", "b"), tmp_path)
    found = scan(cohort, progress=False)
    assert [item.input for item in found.seen] == ["image"]
    assert not found.refused


def _nifti(tmp_path, affine, name="volume.nii.gz"):
    import nibabel

    rng = np.random.default_rng(0)
    values = rng.integers(-1000, 1000, (20, 24, 12)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / name)
    return str(tmp_path / name), values


def test_a_volume_is_seen_with_its_spacing(tmp_path, cohort_of):
    file, values = _nifti(tmp_path, np.diag([0.5, 0.5, 3.0, 1]))
    (item,) = scan(cohort_of([{"file": file}]), progress=False).seen
    assert item.look.shape == (20, 24, 12)
    assert item.look.spacing == pytest.approx((0.5, 0.5, 3.0))
    assert item.look.kind == "NIFTI"
    assert open_picture(file).gray.shape == (SIDE, 3 * SIDE)
    assert np.array_equal(open_picture(file).samples, values)


def test_middle_slices_stand_upright_however_the_volume_is_stored():
    volume = np.zeros((20, 20, 20), dtype=np.float32)
    volume[:, 14:, 14:] = 1  # anterior and superior, in RAS
    ras = middle_slices(volume, np.eye(4))
    flip = np.diag([-1.0, -1.0, -1.0, 1.0])
    lpi = middle_slices(volume[::-1, ::-1, ::-1], flip)
    assert np.allclose(ras, lpi)
    coronal_from_side = ras[:, 2 * SIDE :]
    assert coronal_from_side[: SIDE // 4, : SIDE // 4].mean() > 0.9
    assert coronal_from_side[-SIDE // 4 :].mean() < 0.1


def test_one_of_several_volumes_in_an_archive(tmp_path, cohort_of):
    images = np.random.default_rng(0).integers(0, 255, (4, 28, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "set.npz", train_images=images)
    file = f"{tmp_path / 'set.npz'}::train_images::2"
    (item,) = scan(cohort_of([{"file": file}]), progress=False).seen
    assert item.look.shape == (28, 28, 28)
