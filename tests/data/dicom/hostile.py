"""Files that attack a reader, each with the outcomes that are right.

``HOSTILE[name]`` is the function that writes the attack into a folder and returns a reference to
it, and the codes it may earn; `READ` stands for the true volume of `ct_slice`.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from .encoders import rle
from .faults import FAULTS, encapsulated, everywhere, fragments, in_slice
from .synthetic import (
    BIG_ENDIAN,
    COLUMNS,
    EXPLICIT,
    IMPLICIT,
    ROOT,
    ROWS,
    STORAGE,
    Change,
    ct_slice,
    enhanced,
    header,
    projection,
    samples,
    set_pixels,
    write,
    write_series,
)

READ = "READ"
Attack = Callable[[Path], "str | Path"]
HOSTILE: dict[str, tuple[Attack, frozenset[str]]] = {}
J2K = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
_UNDEFINED = 0xFFFFFFFF


def attack(name: str, *codes: str) -> Callable[[Attack], Attack]:
    def register(function: Attack) -> Attack:
        assert name not in HOSTILE
        HOSTILE[name] = function, frozenset(codes)
        return function

    return register


def in_series(name: str, change: Change, *codes: str) -> None:
    """Register a CT series whose slices are changed before they are written."""
    attack(name, *codes)(lambda folder: write_series(folder, change=change))


def raw(name: str, tag: int, data: bytes, *codes: str) -> None:
    """Register a CT series in which one element holds ``data``, whatever its type allows."""
    for where, numbers in (("one", (2,)), ("all", range(5))):

        def function(folder: Path, numbers=numbers) -> Path:
            write_series(folder)
            for number in numbers:
                set_raw(folder / f"{number:03d}.dcm", tag, data)
            return folder

        attack(f"{name} in {where}", *codes)(function)


def set_raw(path: Path, tag: int, data: bytes) -> None:
    """Replace the value of an element with a 16-bit length in an explicit little endian file."""
    whole = path.read_bytes()
    start = whole.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF), 300)
    length = int.from_bytes(whole[start + 6 : start + 8], "little")
    data += b" " * (len(data) % 2)
    changed = whole[start : start + 6] + struct.pack("<H", len(data)) + data
    path.write_bytes(whole[:start] + changed + whole[start + 8 + length :])


def one(change: Callable[[Dataset], None] = lambda dataset: None, syntax: str = EXPLICIT) -> Attack:
    """Return the attack that is a single changed CT slice."""

    def function(folder: Path) -> Path:
        dataset = ct_slice(0)
        change(dataset)
        return write(dataset, folder / "one.dcm", syntax)

    return function


def bytes_of(folder: Path, name: str = "one.dcm") -> bytes:
    return write(ct_slice(0), folder / name).read_bytes()


def before_pixels(folder: Path, inserted: bytes) -> Path:
    """Write a slice with bytes between its header and its PixelData."""
    whole = bytes_of(folder)
    at = whole.rindex(b"\xe0\x7f\x10\x00OW")
    (folder / "one.dcm").write_bytes(whole[:at] + inserted + whole[at:])
    return folder / "one.dcm"


def with_pixels(folder: Path, element: bytes) -> Path:
    """Write a slice whose PixelData element is ``element``."""
    whole = bytes_of(folder)
    (folder / "one.dcm").write_bytes(whole[: whole.rindex(b"\xe0\x7f\x10\x00OW")] + element)
    return folder / "one.dcm"


def patched(folder: Path, old: bytes, new: bytes) -> Path:
    """Write a slice in which the first ``old`` is ``new``."""
    whole = bytes_of(folder)
    assert old in whole
    (folder / "one.dcm").write_bytes(whole.replace(old, new, 1))
    return folder / "one.dcm"


# numbers that are none

for _text in ("nan", "inf", "-inf", "1e300", "1e9999", "", "abc", "1\\2", "0x10", "1" * 200):
    _codes = ("BAD_RESCALE", "DAMAGED")
    raw(f"slope {_text[:9]!r}", 0x00281053, _text.encode(), *_codes, READ)
    raw(f"intercept {_text[:9]!r}", 0x00281052, _text.encode(), *_codes)
raw("slope zero", 0x00281053, b"0", "BAD_RESCALE")
raw("slope tiny", 0x00281053, b"1e-300", "BAD_RESCALE")
for _text in (
    *("nan\\0\\0", "0\\inf\\0", "1e308\\0\\0", "-1e308\\1e308\\0", "1\\2", "1\\2\\3\\4"),
    *("a\\b\\c", "\\\\", "0\\0\\0", "1e-320\\0\\5"),
):
    _codes = ("NO_GEOMETRY", "BAD_GEOMETRY", "DAMAGED", "IRREGULAR_SPACING")
    raw(
        f"position {_text!r}",
        0x00200032,
        _text.encode(),
        *(*_codes, "REPEATED_POSITIONS", "NOT_COLLINEAR"),
    )
for _text in (
    *("0\\0\\0\\0\\0\\0", "1\\0\\0\\1\\0\\0", "1\\0\\0\\.7\\.7\\0", "nan\\0\\0\\0\\1\\0"),
    *("1\\0\\0\\0\\1", "2\\0\\0\\0\\2\\0", "1e308\\0\\0\\0\\1e308\\0", "x"),
):
    _codes = ("BAD_GEOMETRY", "MIXED_ORIENTATION", "DAMAGED")
    raw(f"orientation {_text!r}", 0x00200037, _text.encode(), *_codes)
for _text in ("0\\0", "-1\\-1", "1e-30\\1e-30", "nan\\1", "1e308\\1", "1", "1\\1\\1", "mm\\mm"):
    _codes = ("BAD_GEOMETRY", "MIXED_SPACING", "DAMAGED")
    raw(f"spacing {_text!r}", 0x00280030, _text.encode(), *_codes)

# pixels that are not what the header says

for _name, _values, _codes in (
    ("rows more", {"Rows": ROWS + 1}, ("TRUNCATED", "MIXED_MATRIX")),
    ("rows fewer", {"Rows": ROWS - 3}, ("PIXEL_FORMAT", "MIXED_MATRIX")),
    ("columns fewer", {"Columns": COLUMNS // 2}, ("PIXEL_FORMAT", "MIXED_MATRIX")),
    ("rows zero", {"Rows": 0}, ("PIXEL_FORMAT",)),
    ("65535 x 65535", {"Rows": 65535, "Columns": 65535}, ("TOO_LARGE",)),
    (
        "16384 x 16384",
        {"Rows": 16384, "Columns": 16384},
        ("TRUNCATED", "MIXED_MATRIX", "TOO_LARGE"),
    ),
    ("a million frames", {"NumberOfFrames": 1000000}, ("TOO_LARGE", "MULTI_FRAME")),
    ("two frames", {"NumberOfFrames": 2}, ("MULTI_FRAME",)),
    ("bits 12 of 12", {"BitsAllocated": 12}, ("PIXEL_FORMAT",)),
    ("bits 1", {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, ("PIXEL_FORMAT",)),
    ("bits 64", {"BitsAllocated": 64}, ("PIXEL_FORMAT",)),
    ("bits 0", {"BitsStored": 0}, ("PIXEL_FORMAT",)),
    ("bits 65535", {"BitsStored": 65535}, ("PIXEL_FORMAT",)),
    ("high bit", {"HighBit": 15}, ("PIXEL_FORMAT",)),
    ("sign 7", {"PixelRepresentation": 7}, ("PIXEL_FORMAT",)),
    ("samples 0", {"SamplesPerPixel": 0}, ("PIXEL_FORMAT",)),
    ("samples 3", {"SamplesPerPixel": 3}, ("COLOR", "PIXEL_FORMAT")),
    ("samples 65535", {"SamplesPerPixel": 65535}, ("PIXEL_FORMAT", "TOO_LARGE")),
    ("palette", {"PhotometricInterpretation": "PALETTE COLOR"}, ("COLOR", "PHOTOMETRIC")),
    ("rgb", {"PhotometricInterpretation": "RGB"}, ("COLOR", "PHOTOMETRIC")),
    ("ybr", {"PhotometricInterpretation": "YBR_FULL_422"}, ("COLOR", "PHOTOMETRIC")),
    ("no photometric", {"PhotometricInterpretation": ""}, ("PHOTOMETRIC", "PIXEL_FORMAT")),
):
    in_series(f"{_name} in all", everywhere(**_values), *_codes)
    in_series(f"{_name} in one", in_slice(2, **_values), *_codes)


def _frames(text: bytes) -> Attack:
    def function(folder: Path) -> Path:
        dataset = ct_slice(0)
        dataset.NumberOfFrames = 1
        path = write(dataset, folder / "one.dcm")
        set_raw(path, 0x00280008, text)
        return path

    return function


for _text in ("1A", "-1", "0", "1e6", "99999999999999999999", "1\\1"):
    attack(f"frames {_text!r}", "PIXEL_FORMAT", "DAMAGED", "TOO_LARGE", "MULTI_FRAME")(
        _frames(_text.encode())
    )


@attack("pixels cut", "TRUNCATED", "DAMAGED")
def _(folder: Path) -> Path:
    path = one()(folder)
    path.write_bytes(path.read_bytes()[:-500])
    return path


@attack("pixels absent", "TRUNCATED")
def _(folder: Path) -> Path:
    return with_pixels(folder, b"")


@attack("pixels empty", "TRUNCATED")
def _(folder: Path) -> Path:
    return with_pixels(folder, b"\xe0\x7f\x10\x00OW\0\0\0\0\0\0")


@attack("pixels of odd length", "TRUNCATED", "DAMAGED")
def _(folder: Path) -> Path:
    data = bytes(ROWS * COLUMNS * 2 - 1)
    return with_pixels(folder, b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", len(data)) + data)


@attack("pixels twice as long", "PIXEL_FORMAT")
def _(folder: Path) -> Path:
    data = bytes(ROWS * COLUMNS * 4)
    return with_pixels(folder, b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", len(data)) + data)


@attack("pixels announce 4 GB", "TRUNCATED", "DAMAGED", "TOO_LARGE")
def _(folder: Path) -> Path:
    return with_pixels(folder, b"\xe0\x7f\x10\x00OW\0\0\xfe\xff\xff\xff" + bytes(100))


@attack("native pixels in fragments", "PIXEL_FORMAT", "TRUNCATED", "DAMAGED")
def _(folder: Path) -> Path:
    head = b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\xff"
    return with_pixels(folder, head + encapsulated(bytes(ROWS * COLUMNS * 2)))


# compressed pixels


@attack("deflate bomb", "DEFLATE_BOMB")
def _(folder: Path) -> str | Path:
    return FAULTS["DEFLATE_BOMB"](folder)


def _fragments(*parts: bytes, syntax: str = RLE) -> Attack:
    return lambda folder: fragments(folder, syntax, *parts)


def _rle_header(count: int, *places: int) -> bytes:
    return np.array([count, *places, *[0] * (15 - len(places))], "<u4").tobytes()


_BAD = ("DECODE_FAILED", "NO_DECODER", "PIXEL_FORMAT", "TRUNCATED")
attack("rle bomb", *_BAD)(_fragments(_rle_header(2, 64, 64) + b"\x81\x00" * 500_000))
attack("rle segments beyond", *_BAD)(_fragments(_rle_header(2, 64, 0xFFFFFFFF) + b"\x81\0" * 50))
attack("rle segments backwards", *_BAD)(_fragments(_rle_header(2, 900, 64) + b"\x81\0" * 900))
attack("rle 4 billion segments", *_BAD)(_fragments(_rle_header(0xFFFFFFFF, 64) + b"\x81\0" * 90))
attack("rle header alone", *_BAD)(_fragments(_rle_header(2, 64, 64)))
attack("rle nothing", *_BAD)(_fragments(b""))
attack("rle two fragments", *_BAD)(_fragments(rle(samples(0)), rle(samples(1))))
attack("rle a million fragments", *_BAD)(_fragments(*[b""] * 1_000_000))


@attack("rle of 16384 x 16384", *_BAD, "TOO_LARGE")
def _(folder: Path) -> Path:
    path = fragments(folder, RLE, _rle_header(2, 64, 1064) + b"\x81\0" * 1000)
    set_raw(path, 0x00280010, struct.pack("<H", 16384))
    set_raw(path, 0x00280011, struct.pack("<H", 16384))
    return path


def _j2k(rows: int, columns: int, tile: int = 64) -> bytes:
    sizes = struct.pack(
        ">HHIIIIIIIIHBBB", 41, 0, columns, rows, 0, 0, tile, tile, 0, 0, 1, 11, 1, 1
    )
    coding = struct.pack(">HBBHBBBBBB", 12, 0, 0, 1, 0, 5, 4, 4, 0, 1)
    quantities = struct.pack(">HB16B", 19, 0x40, *[8] * 16)
    return b"\xff\x4f\xff\x51" + sizes + b"\xff\x52" + coding + b"\xff\x5c" + quantities


attack("jpeg 2000 cut", *_BAD)(_fragments(_j2k(ROWS, COLUMNS), syntax=J2K))
attack("jpeg 2000 of 2 billion rows", *_BAD)(_fragments(_j2k(1 << 31, COLUMNS), syntax=J2K))
attack("jpeg 2000 of a million tiles", *_BAD)(_fragments(_j2k(ROWS, COLUMNS, 1), syntax=J2K))
attack("jpeg 2000 noise", *_BAD)(
    _fragments(_j2k(ROWS, COLUMNS) + np.random.default_rng(0).bytes(5000), syntax=J2K)
)
for _syntax in (50, 51, 57, 70, 80, 81, 91, 201, 203):
    attack(f"jpeg {_syntax} noise", *_BAD)(
        _fragments(
            b"\xff\xd8\xff\xe0" + np.random.default_rng(_syntax).bytes(5000),
            syntax=f"1.2.840.10008.1.2.4.{_syntax}",
        )
    )

# structure


@attack("200 000 nested sequences", "DAMAGED", "DECODER_CRASHED", READ)
def _(folder: Path) -> Path:
    nest = b"\x40\x00\x75\x02SQ\0\0" + struct.pack("<I", _UNDEFINED)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, _UNDEFINED)
    return before_pixels(folder, (nest + item) * 200_000)


@attack("200 000 nested sequences that are read", "DAMAGED", "DECODER_CRASHED")
def _(folder: Path) -> Path:
    nest = b"\x00\x52\x30\x92SQ\0\0" + struct.pack("<I", _UNDEFINED)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, _UNDEFINED)
    return before_pixels(folder, (nest + item) * 200_000)


@attack("sequence never closed", "DAMAGED", "TRUNCATED", "BAD_FRAMES")
def _(folder: Path) -> Path:
    return before_pixels(folder, b"\x00\x52\x30\x92SQ\0\0\xff\xff\xff\xff")


@attack("length of 0xFFFFFFFE", "DAMAGED", "TRUNCATED")
def _(folder: Path) -> Path:
    return before_pixels(folder, b"\x00\x54\x00\x01OB\0\0\xfe\xff\xff\xff" + bytes(8))


@attack("a million elements", READ, "DAMAGED", "TIMEOUT")
def _(folder: Path) -> Path:
    return before_pixels(folder, struct.pack("<HH2sH", 0x5601, 0x1010, b"LO", 0) * 1_000_000)


@attack("elements twice and out of order", READ, "DAMAGED", "PIXEL_FORMAT", "TRUNCATED")
def _(folder: Path) -> Path:
    return before_pixels(folder, struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 7))


@attack("end after the preamble", "DAMAGED", "NOT_DICOM")
def _(folder: Path) -> Path:
    (folder / "one.dcm").write_bytes(bytes(128) + b"DICM")
    return folder / "one.dcm"


@attack("empty file", "NOT_DICOM", "NO_PREAMBLE")
def _(folder: Path) -> Path:
    (folder / "one.dcm").write_bytes(b"")
    return folder / "one.dcm"


@attack("noise after the preamble", "DAMAGED")
def _(folder: Path) -> Path:
    (folder / "one.dcm").write_bytes(bytes(128) + b"DICM" + np.random.default_rng(0).bytes(50_000))
    return folder / "one.dcm"


@attack("meta header of an unknown type", "DAMAGED")
def _(folder: Path) -> Path:
    return patched(folder, b"\x02\0\x02\0UI", b"\x02\0\x02\0U\xb0")


@attack("unknown syntax", "UNSUPPORTED_SYNTAX")
def _(folder: Path) -> Path:
    return patched(folder, EXPLICIT.encode(), b"1.2.840.10008.1.2.7")


@attack("syntax with odd bytes", "UNSUPPORTED_SYNTAX", "DAMAGED")
def _(folder: Path) -> Path:
    return patched(folder, EXPLICIT.encode(), b"\x1b[31m\n\xff\xfe../../x;rm")


@attack("little endian called big", "DAMAGED", "PIXEL_FORMAT", "TRUNCATED", "MISSING_UID")
def _(folder: Path) -> Path:
    return patched(folder, EXPLICIT.encode(), BIG_ENDIAN.encode())


@attack("explicit called implicit", "DAMAGED", "TRUNCATED", "PIXEL_FORMAT", READ)
def _(folder: Path) -> Path:
    return patched(folder, EXPLICIT.encode() + b"\0", (IMPLICIT + "\0").encode().ljust(20, b"\0"))


@attack("explicit called deflated", "DAMAGED")
def _(folder: Path) -> Path:
    name = b"1.2.840.10008.1.2.1.99"
    whole = bytes_of(folder)
    start = whole.index(b"\x02\x00\x10\x00UI")
    length = int.from_bytes(whole[start + 6 : start + 8], "little")
    element = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(name)) + name
    at = whole.index(b"\x02\x00\x00\x00UL") + 8
    group = struct.unpack("<I", whole[at : at + 4])[0] + len(name) - length
    changed = whole[:start] + element + whole[start + 8 + length :]
    (folder / "one.dcm").write_bytes(changed[:at] + struct.pack("<I", group) + changed[at + 4 :])
    return folder / "one.dcm"


for _syntax in (J2K, "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.80"):

    @attack(f"native pixels called {_syntax[-4:]}", *_BAD, "DAMAGED")
    def _(folder: Path, syntax: str = _syntax) -> Path:
        return patched(folder, (EXPLICIT + "\0").encode(), syntax.encode().ljust(20, b"\0")[:22])


# what is no image


@attack("dicomdir", "NOT_DIAGNOSTIC", "NO_IMAGES")
def _(folder: Path) -> Path:
    return one(lambda d: setattr(d, "SOPClassUID", "1.2.840.10008.1.3.10"))(folder)


@attack("segmentation of 1 bit", "NOT_DIAGNOSTIC")
def _(folder: Path) -> Path:
    def change(dataset: Dataset) -> None:
        dataset.SOPClassUID, dataset.Modality = STORAGE + "66.4", "SEG"
        dataset.BitsAllocated = dataset.BitsStored = 1

    return one(change)(folder)


for _name, _head in (
    ("zip", b"PK\3\4"),
    ("nifti", b"\x5c\x01\0\0" + bytes(340) + b"n+1\0"),
    ("Mac folder", b"\0\0\0\1Bud1"),
    ("html", b"<html><script>alert(1)</script>"),
    ("program", b"\x7fELF"),
):

    @attack(f"{_name} named dcm", "NO_PREAMBLE", "NOT_DICOM")
    def _(folder: Path, head: bytes = _head) -> Path:
        (folder / "one.dcm").write_bytes(head + bytes(2000))
        return folder / "one.dcm"


@attack("pipe", "NOT_A_FILE")
def _(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.dcm")
    return folder / "pipe.dcm"


@attack("folder of pipes, links and sockets", "NO_IMAGES")
def _(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.dcm")
    (folder / "loop").symlink_to(folder)
    (folder / "passwd.dcm").symlink_to("/etc/passwd")
    (folder / "zero.dcm").symlink_to("/dev/zero")
    (folder / "dangling.dcm").symlink_to(folder / "absent")
    here = Path.cwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket.dcm")
    finally:
        os.chdir(here)
    return folder


@attack("link to a device", "NOT_A_FILE")
def _(folder: Path) -> Path:
    (folder / "zero.dcm").symlink_to("/dev/zero")
    return folder / "zero.dcm"


# what must do no harm: the volume is the true one

raw("SOP UID of a path", 0x00080018, b"../../../../etc/passwd", "UID_CONFLICT", READ)
in_series(
    "series UID of a path", everywhere(SeriesInstanceUID="../../../tmp/x; rm -rf ~\\`id`"), READ
)
in_series("series UID of 400 digits", everywhere(SeriesInstanceUID="1." + "9" * 398), READ)
raw("name with escapes", 0x00100010, b"DOE^\x1b[31mJANE\r\nroot: \x00\xff", READ)
raw("patient with a formula", 0x00100020, b"=cmd|'/c calc'!A1", READ, "MIXED_PATIENT")
raw("description with a script", 0x0008103E, b"<script>alert('DOE')</script>", READ)


@attack("unknown character set", READ, "DAMAGED")
def _(folder: Path) -> Path:
    return write_series(
        folder, change=everywhere(SpecificCharacterSet=["ISO 2022 IR 999", "\\", "nonsense"])
    )


@attack("program in the preamble", READ)
def _(folder: Path) -> Path:
    write_series(folder)
    for path in folder.iterdir():
        path.write_bytes(b"\x7fELF\2\1\1" + b"\x90" * 121 + path.read_bytes()[128:])
    return folder


@attack("names that are no text", READ)
def _(folder: Path) -> Path:
    write_series(folder)
    for number, path in enumerate(sorted(folder.iterdir())):
        name = os.fsdecode(b"\xff\x1b[31m\n$(id)" + bytes([65 + number]))
        path.rename(folder / name)
    return folder


@attack("300 folders deep", READ)
def _(folder: Path) -> Path:
    write_series(folder)
    (folder.joinpath(*["d"] * 300)).mkdir(parents=True)
    return folder


# frames


@attack("frames without items", "BAD_FRAMES", "MULTI_FRAME")
def _(folder: Path) -> Path:
    dataset = enhanced()
    dataset.PerFrameFunctionalGroupsSequence = []
    return write(dataset, folder / "one.dcm")


@attack("frames with empty items", "NO_GEOMETRY", "BAD_FRAMES")
def _(folder: Path) -> Path:
    dataset = enhanced()
    dataset.PerFrameFunctionalGroupsSequence = [Dataset() for _ in range(5)]
    return write(dataset, folder / "one.dcm")


@attack("more items than frames", "BAD_FRAMES")
def _(folder: Path) -> Path:
    dataset = enhanced()
    dataset.NumberOfFrames = 4
    return write(dataset, folder / "one.dcm")


@attack("more frames than pixels", "TRUNCATED", "BAD_FRAMES")
def _(folder: Path) -> Path:
    dataset = enhanced()
    set_pixels(dataset, np.zeros((4, ROWS, COLUMNS), np.uint16), bits=12)
    dataset.NumberOfFrames = 5
    return write(dataset, folder / "one.dcm")


@attack("frames in random order", READ)
def _(folder: Path) -> Path:
    dataset, order = enhanced(), [3, 0, 4, 1, 2]
    items = list(dataset.PerFrameFunctionalGroupsSequence)
    dataset.PerFrameFunctionalGroupsSequence = [items[i] for i in order]
    set_pixels(dataset, np.stack([samples(number) for number in order]), bits=12)
    return write(dataset, folder / "one.dcm")


@attack("two studies in a series", "MIXED_STUDY")
def _(folder: Path) -> Path:
    return write_series(folder, change=in_slice(3, StudyInstanceUID=f"{ROOT}12"))


@attack("window that is no number", "BAD_WINDOW", "DAMAGED")
def _(folder: Path) -> Path:
    dataset = projection(samples(0))
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    path = write(dataset, folder / "one.dcm")
    set_raw(path, 0x00281051, b"nan")
    return path


@attack("lookup table of nothing", "BAD_LUT", "DAMAGED")
def _(folder: Path) -> Path:
    dataset = projection(samples(0))
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [0, 0, 16])
    item.add_new("LUTData", "OW", b"")
    dataset.VOILUTSequence = [item]
    return write(dataset, folder / "one.dcm")


@attack("ultrasound that moves", "MULTI_FRAME")
def _(folder: Path) -> Path:
    dataset = header("3.1", "US")
    set_pixels(dataset, np.zeros((30, ROWS, COLUMNS), np.uint8))
    return write(dataset, folder / "one.dcm")
