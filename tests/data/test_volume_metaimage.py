"""MetaImage: made by hand here, and compared with SimpleITK where that is installed."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medfuse.data.image_facts import ImageFileError
from medfuse.data.volume_file import read_volume, volume_header
from medfuse.data.volume_metaimage import metaimage_data_file

VOXELS = np.random.default_rng(0).integers(-1000, 2000, (7, 6, 5)).astype(np.int16)
# Axes turned about z by the angle of the 3-4-5 triangle, in RAS.
TURNED = np.array([[-0.6, 0.8, 0], [-0.8, -0.6, 0], [0, 0, 1.0]])
SPACING, ORIGIN = (0.8, 0.9, 2.5), (-12.5, 30.0, 7.25)
FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "0.6 0.8 0 -0.8 0.6 0 0 0 1",
    "Offset": "12.5 -30 7.25",
    "CenterOfRotation": "0 0 0",
    "AnatomicalOrientation": "RAI",
    "ElementSpacing": "0.8 0.9 2.5",
    "DimSize": "7 6 5",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}
ORACLE = "promise not shown: needs SimpleITK (medfuse[n4])"


def header(**changes: str | None) -> bytes:
    fields = {**FIELDS, **changes}
    last = fields.pop("ElementDataFile")
    lines = [f"{key} = {value}\n" for key, value in fields.items() if value is not None]
    return "".join([*lines, f"ElementDataFile = {last}\n"]).encode()


def mha(folder: Path, data: bytes | None = None, name: str = "a.mha", **changes) -> str:
    (folder / name).write_bytes(header(**changes) + (little() if data is None else data))
    return str(folder / name)


def little() -> bytes:
    return VOXELS.astype("<i2").tobytes(order="F")


def refusal(reference: str) -> ImageFileError:
    with pytest.raises(ImageFileError) as caught:
        read_volume(reference)
    return caught.value


def test_one_file_is_read_with_its_place_in_ras(tmp_path: Path) -> None:
    volume = read_volume(mha(tmp_path))
    np.testing.assert_array_equal(volume.pixels, VOXELS)
    assert volume.pixels.dtype == np.float32
    # LPS to RAS turns the signs of the first two rows; each row of TransformMatrix is an axis.
    lps = np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]]).T * SPACING
    np.testing.assert_allclose(volume.affine[:3, :3], np.diag([-1, -1, 1]) @ lps)
    np.testing.assert_allclose(volume.affine[:3, 3], ORIGIN)
    np.testing.assert_allclose(volume.header.spacing, SPACING)
    assert (volume.bits, volume.header.limits) == (16, (-32768, 32767))
    assert volume.events == ()


def test_the_axes_are_those_of_nifti_of_the_same_volume(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = TURNED * SPACING
    affine[:3, 3] = ORIGIN
    nib.save(nib.Nifti1Image(VOXELS, affine), tmp_path / "a.nii")
    ours, theirs = read_volume(mha(tmp_path)), read_volume(str(tmp_path / "a.nii"))
    np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-6)


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_packed_voxels_are_unpacked(tmp_path: Path, pack) -> None:
    path = mha(tmp_path, pack(little()), CompressedData="True", CompressedDataSize="1")
    np.testing.assert_array_equal(read_volume(path).pixels, VOXELS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("MET_CHAR", "i1"), ("MET_UCHAR", "u1"), ("MET_USHORT", "u2"), ("MET_INT", "i4"),
     ("MET_UINT", "u4"), ("MET_LONG", "i4"), ("MET_ULONG", "u4"), ("MET_LONG_LONG", "i8"),
     ("MET_ULONG_LONG", "u8"), ("MET_FLOAT", "f4"), ("MET_DOUBLE", "f8")],
)  # fmt: skip
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_type_and_byte_order_is_read(tmp_path: Path, name: str, kind: str, order: str):
    voxels = (np.abs(VOXELS) % 100).astype(order + kind)
    msb = str(order == ">")
    path = mha(tmp_path, voxels.tobytes(order="F"), ElementType=name, BinaryDataByteOrderMSB=msb)
    np.testing.assert_array_equal(read_volume(path).pixels, voxels.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "data", "changes"),
    [
        ("a.raw", little(), {}),
        ("a.zraw", zlib.compress(little()), {"CompressedData": "True"}),
        ("a.raw", b"12345" + little(), {"HeaderSize": "5"}),
        ("a.raw", b"some header" + little(), {"HeaderSize": "-1"}),
    ],
)
def test_voxels_beside_the_header_are_read(tmp_path: Path, name, data, changes) -> None:
    (tmp_path / name).write_bytes(data)
    path = mha(tmp_path, b"", "a.mhd", ElementDataFile=name, **changes)
    np.testing.assert_array_equal(read_volume(path).pixels, VOXELS)
    assert metaimage_data_file(path) == str(tmp_path / name)


def test_the_header_alone_is_enough_for_what_is_known(tmp_path: Path) -> None:
    path = mha(tmp_path, Modality="MET_MOD_CT")
    found, whole = volume_header(path), read_volume(path).header
    np.testing.assert_array_equal(found.affine, whole.affine)
    assert (found.shape, found.bits, found.limits) == ((7, 6, 5), 16, (-32768, 32767))
    assert found.modality == whole.modality == "CT"


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_volume(mha(tmp_path, name="scan")).pixels, VOXELS)


def test_axes_that_are_not_said_are_taken_for_lps_and_noted(tmp_path: Path) -> None:
    volume = read_volume(mha(tmp_path, TransformMatrix=None))
    np.testing.assert_allclose(volume.affine[:3, :3], np.diag([-0.8, -0.9, 2.5]))
    assert volume.events[0][0] == "GEOMETRY_ASSUMED"


@pytest.mark.parametrize(
    "name", ["../a.raw", "/etc/passwd", "sub/a.raw", "..", "sub\\a.raw", "C:a.raw", "a\0.raw", ""]
)
def test_voxels_in_another_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    for place in (tmp_path / "a.raw", tmp_path / "sub" / "a.raw"):
        place.write_bytes(little())
    path = mha(tmp_path / "sub", b"", "a.mhd", ElementDataFile=name)
    assert refusal(path).code == "UNSUPPORTED"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"DimSize": "70000 60000 50000"}, "TOO_LARGE"),
        ({"DimSize": "0 6 5"}, "CORRUPT"),
        ({"DimSize": "7 6 -5"}, "UNSUPPORTED_SHAPE"),
        ({"DimSize": "7 6 5 4", "NDims": "4"}, "FOUR_D"),
        ({"DimSize": "7 30", "NDims": "2"}, "UNSUPPORTED_SHAPE"),
        ({"NDims": "2"}, "UNSUPPORTED_SHAPE"),
        ({"ElementType": "MET_SHORT_ARRAY"}, "UNSUPPORTED"),
        ({"ElementType": None}, "UNSUPPORTED"),
        ({"ElementNumberOfChannels": "3"}, "UNSUPPORTED"),
        ({"ElementToIntensityFunctionSlope": "2"}, "UNSUPPORTED"),
        ({"ElementToIntensityFunctionOffset": "-1024"}, "UNSUPPORTED"),
        ({"BinaryData": "False"}, "UNSUPPORTED"),
        ({"ObjectType": "Tube"}, "UNSUPPORTED"),
        ({"ElementDataFile": "LIST"}, "UNSUPPORTED"),
        ({"ElementDataFile": "a%03d.raw 1 5 1"}, "UNSUPPORTED"),
        ({"ElementDataFile": "absent.raw"}, "FILE_NOT_FOUND"),
        ({"ElementSpacing": None}, "NO_GEOMETRY"),
        ({"ElementSpacing": "1 1"}, "NO_GEOMETRY"),
        ({"ElementSpacing": "1 1 0"}, "NO_GEOMETRY"),
        ({"ElementSpacing": "1 1 nan"}, "NO_GEOMETRY"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "NO_GEOMETRY"),
        ({"TransformMatrix": "1 0 0 0 1 0"}, "NO_GEOMETRY"),
        ({"Offset": "a b c"}, "NO_GEOMETRY"),
        ({"CompressedData": "True"}, "CORRUPT"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_what_is_not_read_has_its_code(tmp_path: Path, changes, code: str) -> None:
    assert refusal(mha(tmp_path, **changes)).code == code


@pytest.mark.parametrize(
    ("data", "changes", "code"),
    [
        (little()[:-2], {}, "TRUNCATED"),
        (little() + bytes(2**21), {}, "CORRUPT"),
        (zlib.compress(little())[:-6], {"CompressedData": "True"}, "TRUNCATED"),
        (zlib.compress(little())[:-1] + b"x", {"CompressedData": "True"}, "CORRUPT"),
        (np.full((7, 6, 5), np.nan, "<f4").tobytes(), {"ElementType": "MET_FLOAT"}, "NON_FINITE"),
    ],
)
def test_damaged_voxels_have_their_code(tmp_path: Path, data: bytes, changes, code: str) -> None:
    assert refusal(mha(tmp_path, data, **changes)).code == code


def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_bytes(b"NDims = 3\n" * 2000)
    assert refusal(str(tmp_path / "a.mha")).code == "CORRUPT"
    (tmp_path / "b.mha").write_bytes(bytes(2000))
    assert refusal(str(tmp_path / "b.mha")).code == "CORRUPT"


@pytest.mark.parametrize("size", ["many", "-2", "1e3", "99999999999"])
def test_a_size_that_is_no_number_of_bytes_is_refused(tmp_path: Path, size: str) -> None:
    (tmp_path / "a.raw").write_bytes(little())
    path = mha(tmp_path, b"", "a.mhd", ElementDataFile="a.raw", HeaderSize=size)
    assert refusal(path).code == "CORRUPT"


def test_a_pipe_of_voxels_does_not_hang_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.raw")
    path = mha(tmp_path, b"", "a.mhd", ElementDataFile="a.raw")
    assert refusal(path).code == "NOT_A_FILE"


def test_a_bomb_is_never_unpacked(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(2**28), 9)
    path = mha(tmp_path, bomb, CompressedData="True", DimSize="512 512 512")
    small = mha(tmp_path, bomb, "b.mha", CompressedData="True")
    tracemalloc.start()
    try:
        assert refusal(path).code == "TOO_LARGE"
        assert refusal(small).code == "CORRUPT"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64e6


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, len(header()) + 40), value=st.integers(0, 255))
def test_a_changed_byte_never_breaks_the_reader(tmp_path_factory, position: int, value: int):
    folder = tmp_path_factory.mktemp("mutated")
    body = bytearray(header() + little())
    body[position] = value
    (folder / "a.mha").write_bytes(body)
    try:
        volume = read_volume(str(folder / "a.mha"))
    except ImageFileError as error:
        assert error.code
    else:
        assert np.isfinite(volume.pixels).all()


@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
@pytest.mark.parametrize("packed", [False, True])
def test_simpleitk_writes_what_we_read(tmp_path: Path, name: str, packed: bool) -> None:
    sitk = pytest.importorskip("SimpleITK", reason=ORACLE)
    image = sitk.GetImageFromArray(VOXELS.transpose(2, 1, 0))
    image.SetSpacing(SPACING)
    image.SetOrigin((1.5, -2.5, 30.25))
    image.SetDirection([0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1])
    sitk.WriteImage(image, str(tmp_path / name), packed)
    volume = read_volume(str(tmp_path / name))
    np.testing.assert_array_equal(volume.pixels, VOXELS)
    for index in [(0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4), (3, 2, 1)]:
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(volume.affine @ [*index, 1], [-x, -y, z, 1], atol=1e-6)
