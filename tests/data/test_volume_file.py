import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from medfuse.data.image_facts import ImageFileError
from medfuse.data.volume_file import read_volume, volume_header
from medfuse.data.volume_reader import VolumeReader

RANDOM = np.random.default_rng(0)
VOXELS = RANDOM.integers(-1000, 2000, (7, 6, 5)).astype(np.int16)
AFFINE = np.array([[-0.8, 0, 0, 90], [0, 0.9, 0, -120], [0, 0, 2.5, 33], [0, 0, 0, 1.0]])


def _nifti(path: Path, voxels=VOXELS, affine=AFFINE, **header) -> str:
    image = nib.Nifti1Image(voxels, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return str(path)


def _code(reference: str) -> str:
    with pytest.raises(ImageFileError) as caught:
        read_volume(reference)
    assert caught.value.code in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "no_suffix"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8", ">i2"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti_is_read_as_nibabel_reads_it(tmp_path, name, dtype, kind):
    voxels = (np.abs(VOXELS) % 200).astype(dtype)
    header = kind.header_class(endianness=">" if dtype[0] == ">" else "<")
    path = tmp_path / ("b.nii.gz" if name.endswith("gz") else "b.nii")
    nib.save(kind(voxels, AFFINE, header, dtype=voxels.dtype), path)
    path.rename(tmp_path / name)
    volume = read_volume(str(tmp_path / name))
    assert volume.pixels.dtype == np.float32
    np.testing.assert_array_equal(volume.pixels, voxels.astype(np.float32))
    np.testing.assert_allclose(volume.affine, AFFINE)
    header = volume_header(str(tmp_path / name))
    assert (header.shape, header.bits, header.limits) == (
        volume.pixels.shape, volume.bits, volume.header.limits
    )  # fmt: skip
    np.testing.assert_allclose(volume.header.spacing, (0.8, 0.9, 2.5))


def test_slope_and_intercept_are_applied(tmp_path):
    path = _nifti(tmp_path / "a.nii.gz")
    image = nib.load(path)
    raw = np.asanyarray(image.dataobj.get_unscaled())
    block = bytearray(image.header.binaryblock)
    header = nib.Nifti1Header(bytes(block))
    header["scl_slope"], header["scl_inter"], header["vox_offset"] = 2.5, -1024, 352
    body = header.binaryblock + b"\0" * 4 + raw.tobytes(order="F")
    (tmp_path / "b.nii").write_bytes(body)
    volume = read_volume(str(tmp_path / "b.nii"))
    np.testing.assert_array_equal(volume.pixels, VOXELS * np.float32(2.5) - 1024)
    assert volume.bits == 32
    assert volume.header.limits is None


def test_the_sform_wins_and_a_different_qform_is_said(tmp_path):
    image = nib.Nifti1Image(VOXELS, AFFINE)
    image.set_qform(np.diag([1.0, 1, 1, 1]), code=1)
    image.set_sform(AFFINE, code=2)
    nib.save(image, tmp_path / "a.nii")
    volume = read_volume(str(tmp_path / "a.nii"))
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert ("QFORM_SFORM_DIFFER", "the sform was taken") in volume.events
    image.set_sform(None, code=0)
    nib.save(image, tmp_path / "q.nii")
    np.testing.assert_allclose(read_volume(str(tmp_path / "q.nii")).affine, np.eye(4))
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "none.nii")
    assert read_volume(str(tmp_path / "none.nii")).events[0][0] == "GEOMETRY_ASSUMED"


def test_meters_become_mm(tmp_path):
    image = nib.Nifti1Image(VOXELS, AFFINE / 1000)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_volume(str(tmp_path / "a.nii")).affine[:3], AFFINE[:3], 1e-5)


def test_4d_is_refused_unless_a_volume_is_named(tmp_path):
    four = np.stack([VOXELS, VOXELS + 1, VOXELS + 2], -1)
    path = _nifti(tmp_path / "a.nii.gz", four)
    with pytest.raises(ImageFileError, match=r"holds 3 volumes, expected one.*FILE::0.*FOUR_D"):
        read_volume(path)
    np.testing.assert_array_equal(read_volume(f"{path}::2").pixels, VOXELS + 2)
    assert _code(f"{path}::3") == "FILE_NOT_FOUND"
    one = _nifti(tmp_path / "one.nii", VOXELS[..., None])
    assert read_volume(one).pixels.shape == VOXELS.shape


def test_colors_and_complex_numbers_are_refused(tmp_path):
    rgb = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert _code(_nifti(tmp_path / "rgb.nii", rgb)) == "UNSUPPORTED"
    assert _code(_nifti(tmp_path / "c.nii", np.zeros((4, 4, 4), np.complex64))) == "UNSUPPORTED"


def test_values_that_are_no_numbers_are_refused(tmp_path):
    voxels = VOXELS.astype(np.float32)
    voxels[1, 2, 3] = np.nan
    assert _code(_nifti(tmp_path / "a.nii.gz", voxels)) == "NON_FINITE"
    assert _code(_nifti(tmp_path / "b.nii", np.full((2, 2, 2), 1e300))) == "NON_FINITE"


def test_a_volume_without_depth_in_space_is_refused(tmp_path):
    flat = AFFINE.copy()
    flat[:3, 2] = flat[:3, 1]
    image = nib.Nifti1Image(VOXELS, None)
    image.header.set_sform(flat, code=1)
    nib.save(image, tmp_path / "a.nii")
    assert _code(str(tmp_path / "a.nii")) == "NO_GEOMETRY"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_cut_anywhere_is_refused(tmp_path, name):
    whole = Path(_nifti(tmp_path / name)).read_bytes()
    for length in (1, 100, 347, 352, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        if length < len(whole):
            (tmp_path / "cut.nii").write_bytes(whole[:length])
            assert _code(str(tmp_path / "cut.nii")) in {"TRUNCATED", "CORRUPT", "NOT_AN_IMAGE"}


def test_a_damaged_gzip_file_is_refused(tmp_path):
    body = bytearray(Path(_nifti(tmp_path / "a.nii.gz")).read_bytes())
    body[-6] ^= 0xFF
    (tmp_path / "b.nii.gz").write_bytes(body)
    assert _code(str(tmp_path / "b.nii.gz")) == "CORRUPT"


def _header(shape, dtype=np.int16) -> nib.Nifti1Header:
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header["dim"] = [len(shape), *shape, *[1] * (7 - len(shape))]
    header["sform_code"], header["vox_offset"] = 1, 352
    header["srow_x"], header["srow_y"], header["srow_z"] = np.eye(4)[:3]
    return header


@pytest.mark.parametrize(
    ("shape", "code"),
    [
        ((30000, 30000, 30000), "TOO_LARGE"),
        ((2000, 2000, 67), "TOO_LARGE"),
        ((64, 64, 64, 32000), "TOO_LARGE"),
        ((512, 512, 600), "TOO_LARGE"),
        ((-5, 6, 7), "CORRUPT"),
        ((0, 6, 7), "CORRUPT"),
    ],
)
def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path, shape, code):
    import tracemalloc

    body = _header(shape).binaryblock + b"\0" * 4 + b"\0" * 1000
    for name, data in (("a.nii", body), ("a.nii.gz", gzip.compress(body))):
        (tmp_path / name).write_bytes(data)
        reference = f"{tmp_path / name}{'::0' if len(shape) == 4 else ''}"
        tracemalloc.start()
        assert _code(reference) == code
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6


@pytest.mark.slow
def test_a_gzip_bomb_is_refused_without_unpacking_it(tmp_path):
    import tracemalloc

    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = _header((8, 8, 8)).binaryblock + b"\0" * (4 + 1024)
    chunks = [packer.compress(body), *(packer.compress(bytes(2**24)) for _ in range(64))]
    (tmp_path / "bomb.nii.gz").write_bytes(b"".join([*chunks, packer.flush()]))
    tracemalloc.start()
    assert _code(str(tmp_path / "bomb.nii.gz")) == "CORRUPT"
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 351), st.integers(0, 255))
def test_a_header_with_one_wrong_byte_gives_a_volume_or_a_named_refusal(
    tmp_path_factory, position, value
):
    folder = tmp_path_factory.mktemp("mutated")
    body = bytearray(Path(_nifti(folder / "a.nii")).read_bytes())
    body[position] = value
    (folder / "b.nii").write_bytes(body)
    try:
        volume = read_volume(str(folder / "b.nii"))
    except ImageFileError as error:
        assert error.code
    else:
        assert np.isfinite(volume.pixels).all()


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd_is_turned_from_its_space_to_ras(tmp_path, encoding):
    text = (
        "NRRD0004\n# made by hand\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        "sizes: 7 6 5\nspace directions: (0.8,0,0) (0,-0.9,0) (0,0,2.5)\nendian: big\n"
        f"encoding: {encoding}\nspace origin: (-90,120,33)\nunknown:=value\n\n"
    )
    data = VOXELS.astype(">i2").tobytes(order="F")
    body = text.encode() + (gzip.compress(data) if encoding == "gzip" else data)
    (tmp_path / "a.nrrd").write_bytes(body)
    volume = read_volume(str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(volume.pixels, VOXELS)
    np.testing.assert_allclose(volume.affine, AFFINE)
    (tmp_path / "b.nrrd").write_bytes(body[:-20])
    assert _code(str(tmp_path / "b.nrrd")) == "TRUNCATED"
    for old, new in (
        ("sizes: 7 6 5", "sizes: 70000 60000 50000"),
        ("encoding:", "data file: x.raw\nencoding:"),
        ("dimension: 3", "dimension: 4"),
        ("type: short", "type: block"),
        ("(0,0,2.5)", "(0,0,nan)"),
        ("space: left", "space: up"),
    ):
        (tmp_path / "c.nrrd").write_bytes(body.replace(old.encode(), new.encode()))
        assert _code(str(tmp_path / "c.nrrd")) in {
            "TOO_LARGE", "UNSUPPORTED", "UNSUPPORTED_SHAPE", "NO_GEOMETRY"
        }  # fmt: skip


def test_arrays_and_tiff_pages_come_slices_first(tmp_path):
    stack = np.moveaxis(VOXELS, -1, 0)
    np.save(tmp_path / "a.npy", stack)
    np.savez(tmp_path / "a.npz", images=np.stack([stack, stack + 1]))
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    for reference in ("a.npy", "a.tif", "a.npz::images::0"):
        volume = read_volume(str(tmp_path / reference))
        np.testing.assert_array_equal(volume.pixels, VOXELS)
        assert volume.affine is None
        assert volume.header.limits == (-32768, 32767)
    assert _code(f"{tmp_path / 'a.npz'}::images::2") == "FILE_NOT_FOUND"
    np.save(tmp_path / "b.npy", VOXELS[..., 0])
    assert _code(str(tmp_path / "b.npy")) == "UNSUPPORTED_SHAPE"
    tifffile.imwrite(tmp_path / "b.tif", VOXELS[..., 0])
    assert _code(str(tmp_path / "b.tif")) == "UNSUPPORTED_SHAPE"


def test_other_files_are_named(tmp_path):
    for name, body, code in (
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(400), "UNSUPPORTED"),
        ("a.mha", b"ObjectType = Image\n" + bytes(400), "CORRUPT"),
        ("a.pdf", b"%PDF-1.7" + bytes(400), "UNSUPPORTED"),
        ("a.nii.gz", b"", "EMPTY_FILE"),
        ("a.bin", bytes(600), "NOT_AN_IMAGE"),
    ):
        (tmp_path / name).write_bytes(body)
        assert _code(str(tmp_path / name)) == code
    assert _code(str(tmp_path / "absent.nii")) == "FILE_NOT_FOUND"


def test_a_pipe_does_not_hang_the_reader(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.nii")
    assert _code(str(tmp_path / "a.nii")) == "NOT_A_FILE"


def test_monais_door_gives_volume_affine_and_unit_range(tmp_path):
    path = _nifti(tmp_path / "a.nii", np.abs(VOXELS).astype(np.uint8))
    pixels, meta = VolumeReader("dtype").get_data(path)
    np.testing.assert_allclose(pixels * 255, np.abs(VOXELS).astype(np.uint8), atol=1e-4)
    np.testing.assert_allclose(meta["affine"], AFFINE)
    np.save(tmp_path / "a.npy", VOXELS)
    affine = VolumeReader(orientation="PLS").get_data(str(tmp_path / "a.npy"))[1]["affine"]
    assert nib.aff2axcodes(affine) == ("P", "L", "S")
    with pytest.raises(ImageFileError, match="NO_GEOMETRY"):
        VolumeReader(geometry=True).get_data(str(tmp_path / "a.npy"))
    floats = _nifti(tmp_path / "f.nii", VOXELS.astype(np.float32))
    with pytest.raises(ImageFileError, match="OUT_OF_RANGE"):
        VolumeReader("dtype").get_data(floats)
