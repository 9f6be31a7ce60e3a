import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
DEEP = (np.arange(48, dtype=np.uint16).reshape(6, 8) * 1394).astype(np.uint16)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], -1)
SIGNED = DEEP.astype(np.int32).__sub__(32768).astype(np.int16)


def _png(path, array, **more):
    Image.fromarray(array).save(path, **more)


def _tiff(path, array, **more):
    tifffile.imwrite(path, array, **more)


WRITERS = {
    "gray.png": (lambda p: _png(p, GRAY), GRAY),
    "deep.png": (lambda p: _png(p, DEEP), DEEP),
    "color.png": (lambda p: _png(p, COLOR), COLOR),
    "color.bmp": (lambda p: _png(p, COLOR), COLOR),
    "deep.tif": (lambda p: _tiff(p, DEEP), DEEP),
    "big_endian.tif": (lambda p: _tiff(p, DEEP, byteorder=">"), DEEP),
    "signed.tif": (lambda p: _tiff(p, SIGNED), SIGNED),
    "deflate.tif": (lambda p: _tiff(p, DEEP, compression="zlib"), DEEP),
    "lzw.tif": (lambda p: _png(p, DEEP, compression="tiff_lzw"), DEEP),
    "tiled.tif": (lambda p: _tiff(p, COLOR, tile=(16, 16)), COLOR),
    "planar.tif": (
        lambda p: _tiff(p, np.moveaxis(COLOR, -1, 0), planarconfig=2, photometric="rgb"),
        COLOR,
    ),
    "white_zero.tif": (lambda p: _tiff(p, DEEP, photometric="miniswhite"), 65535 - DEEP),
    "deep.npy": (lambda p: np.save(p, DEEP), DEEP),
    "big_endian.npy": (lambda p: np.save(p, DEEP.astype(">u2")), DEEP),
    "signed.npy": (lambda p: np.save(p, SIGNED), SIGNED),
    "fortran.npy": (lambda p: np.save(p, np.asfortranarray(COLOR)), COLOR),
    "channel_first.npy": (lambda p: np.save(p, np.moveaxis(COLOR, -1, 0)), COLOR),
    "channel_last.npy": (lambda p: np.save(p, GRAY[..., None]), GRAY),
    "float64.npy": (lambda p: np.save(p, GRAY / 255), (GRAY / 255).astype(np.float32)),
    "bool.npy": (lambda p: np.save(p, GRAY > 100), (GRAY > 100) * np.uint8(255)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_read_is_what_was_written(tmp_path, name):
    write, expected = WRITERS[name]
    write(tmp_path / name)
    pixels, facts = read_pixels(str(tmp_path / name))
    assert pixels.dtype == expected.dtype
    assert pixels.dtype.isnative
    np.testing.assert_array_equal(pixels, expected)
    assert facts.bits == (32 if expected.dtype.kind == "f" else expected.dtype.itemsize * 8)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(st.sampled_from([np.uint8, np.uint16]), st.tuples(*[st.integers(1, 20)] * 2)),
    st.sampled_from(["png", "tif", "npy"]),
)
def test_reading_undoes_writing(tmp_path_factory, array, suffix):
    path = tmp_path_factory.mktemp("x") / f"a.{suffix}"
    {"png": _png, "tif": _tiff, "npy": np.save}[suffix](path, array)
    np.testing.assert_array_equal(read_pixels(str(path))[0], array)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", [name for name in WRITERS if "npy" not in name or "deep" in name])
def test_a_file_cut_anywhere_is_refused_or_still_whole(tmp_path, name):
    write, expected = WRITERS[name]
    write(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    cut = tmp_path / f"cut{(tmp_path / name).suffix}"
    refused = 0
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        try:
            np.testing.assert_array_equal(read_pixels(str(cut))[0], expected)
        except ImageFileError:
            refused += 1
    assert refused > 20


def test_a_cut_jpeg_is_truncated(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    _png(tmp_path / "a.jpg", noise)
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageFileError, match=r"a\.jpg: ends before its last pixel.*TRUNCATED"):
        read_pixels(str(tmp_path / "a.jpg"))


def _jpeg_with_orientation(path, orientation):
    image = Image.fromarray(np.repeat(np.repeat(GRAY, 8, 0), 8, 1))
    exif = Image.Exif()
    exif[274] = orientation
    image.save(path, quality=100, exif=exif)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_tiff_and_jpeg_agree_on_what_upright_means(tmp_path, orientation):
    _jpeg_with_orientation(tmp_path / "a.jpg", orientation)
    plain = np.asarray(Image.open(tmp_path / "a.jpg"))
    _tiff(tmp_path / "a.tif", plain, extratags=[(274, 3, 1, orientation, True)])
    jpeg, facts = read_pixels(str(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(jpeg, read_pixels(str(tmp_path / "a.tif"))[0])
    assert facts.events[0][0] == "EXIF_ROTATED"


def test_palette_alpha_cmyk_and_one_bit_become_gray_or_rgb(tmp_path):
    image = Image.fromarray(COLOR)
    image.convert("1").save(tmp_path / "one.png")
    one, _ = read_pixels(str(tmp_path / "one.png"))
    assert set(np.unique(one)) <= {0, 255}
    image.quantize(200).save(tmp_path / "palette.png")
    pixels, facts = read_pixels(str(tmp_path / "palette.png"))
    np.testing.assert_array_equal(pixels, np.asarray(image.quantize(200).convert("RGB")))
    assert facts.events[0][0] == "PALETTE_EXPANDED"
    image.convert("CMYK").save(tmp_path / "ink.jpg", quality=100)
    pixels, facts = read_pixels(str(tmp_path / "ink.jpg"))
    assert pixels.shape == COLOR.shape
    assert facts.events == (("COLOR_CONVERTED", "CMYK to RGB"),)


def test_transparent_pixels_are_laid_on_black_and_counted(tmp_path):
    alpha = np.full_like(GRAY, 255)
    alpha[0] = 0
    _png(tmp_path / "a.png", np.dstack([COLOR, alpha]))
    pixels, facts = read_pixels(str(tmp_path / "a.png"))
    assert not pixels[0].any()
    np.testing.assert_array_equal(pixels[1:], COLOR[1:])
    assert facts.events[0][0] == "ALPHA_ON_BLACK"


def test_opaque_alpha_is_dropped_without_a_word(tmp_path):
    _png(tmp_path / "a.png", np.dstack([COLOR, np.full_like(GRAY, 255)]))
    pixels, facts = read_pixels(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(pixels, COLOR)
    assert facts.events == ()


def test_gray_stored_as_rgb_is_gray(tmp_path):
    _png(tmp_path / "a.png", np.dstack([GRAY] * 3))
    np.testing.assert_array_equal(read_pixels(str(tmp_path / "a.png"))[0], GRAY)


def test_one_image_of_an_archive(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=np.stack([GRAY, GRAY.T.reshape(6, 8)]))
    np.testing.assert_array_equal(read_pixels(f"{tmp_path}/a.npz::images::0")[0], GRAY)
    with pytest.raises(ImageFileError, match="images has 2 images, not 2.*FILE_NOT_FOUND"):
        read_pixels(f"{tmp_path}/a.npz::images::2")
    with pytest.raises(ImageFileError, match="holds no array 'x'"):
        read_pixels(f"{tmp_path}/a.npz::x::0")


def _bytes(content):
    return lambda path: path.write_bytes(content)


def _bomb(path):
    raw = bytearray(b"\x89PNG\r\n\x1a\n")
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(100))),
        (b"IEND", b""),
    ):
        raw += struct.pack(">I", len(data)) + kind + data
        raw += struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(raw)


BAD = [
    ("a.png", _bytes(b""), "EMPTY_FILE"),
    ("a.png", _bytes(b"these are words, not pixels"), "NOT_AN_IMAGE"),
    ("a.dcm", _bytes(bytes(128) + b"DICM" + bytes(64)), "DAMAGED"),
    ("a.nii.gz", _bytes(b"\x1f\x8b" + bytes(64)), "UNSUPPORTED"),
    ("a.gif", _bytes(b"GIF89a" + bytes(64)), "UNSUPPORTED"),
    ("a.png", _bomb, "TOO_LARGE"),
    ("a.tif", lambda p: _tiff(p, np.zeros((3, 8, 8, 1), np.uint8)), "UNSUPPORTED"),
    ("a.npy", lambda p: np.save(p, np.array([[0, np.nan]])), "NON_FINITE"),
    ("a.npy", lambda p: np.save(p, np.array([[0, np.inf]])), "NON_FINITE"),
    ("a.npy", lambda p: np.save(p, np.array([[1e300, 0]])), "NON_FINITE"),
    ("a.npy", lambda p: np.save(p, np.array([[None]])), "UNSUPPORTED"),
    ("a.npy", lambda p: np.save(p, np.array([["x"]])), "UNSUPPORTED"),
    ("a.npy", lambda p: np.save(p, np.zeros((4, 5, 6))), "UNSUPPORTED_SHAPE"),
    ("a.npy", lambda p: np.save(p, np.zeros((0, 5))), "UNSUPPORTED_SHAPE"),
    ("a.png", os.mkfifo, "NOT_A_FILE"),
    ("a.png", lambda p: p.mkdir(), "NOT_A_FILE"),
    ("a.png", lambda _: None, "FILE_NOT_FOUND"),
    ("a.png", lambda p: p.symlink_to(p), "FILE_NOT_FOUND"),
]


@pytest.mark.parametrize(("name", "make", "code"), BAD)
def test_what_is_no_image_is_refused_with_a_code_and_its_name(tmp_path, name, make, code):
    path = tmp_path / name
    make(path)
    with pytest.raises(ImageFileError, match=rf"{name}: .*\[{code}\]$") as caught:
        read_pixels(str(path))
    assert caught.value.code == code


def test_a_file_that_may_not_be_read_is_unreadable(tmp_path, monkeypatch):
    _png(tmp_path / "a.png", GRAY)
    (tmp_path / "a.png").chmod(0)
    if os.access(tmp_path / "a.png", os.R_OK):
        pytest.skip("promise not shown: unreadable files need a user other than root")
    with pytest.raises(ImageFileError, match="UNREADABLE"):
        read_pixels(str(tmp_path / "a.png"))


def test_a_link_to_an_image_is_read(tmp_path):
    _png(tmp_path / "a.png", GRAY)
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    np.testing.assert_array_equal(read_pixels(str(tmp_path / "b.png"))[0], GRAY)
