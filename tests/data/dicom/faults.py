"""One way to earn each refusal: code -> function that writes the fault and returns a reference."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from .synthetic import (
    BIG_ENDIAN,
    COLUMNS,
    DEFLATED,
    EXPLICIT,
    ROOT,
    ROWS,
    Change,
    ct_slice,
    enhanced,
    header,
    mr_slice,
    projection,
    samples,
    set_pixels,
    table,
    write,
    write_series,
)

Fault = Callable[[Path], str | Path]
FAULTS: dict[str, Fault] = {}


def fault(code: str) -> Callable[[Fault], Fault]:
    def register(function: Fault) -> Fault:
        FAULTS[code] = function
        return function

    return register


def changed(code: str, change: Change, make: Callable[[int], Dataset] = ct_slice) -> None:
    """Register a CT series with ``change`` in each slice."""
    FAULTS[code] = lambda folder: write_series(folder, change=change, make=make)


def in_slice(number: int, **values: object) -> Change:
    def change(dataset: Dataset, index: int) -> None:
        if index == number:
            for name, value in values.items():
                setattr(dataset, name, value)

    return change


def everywhere(**values: object) -> Change:
    def change(dataset: Dataset, index: int) -> None:
        for name, value in values.items():
            setattr(dataset, name, value)

    return change


changed("MIXED_PATIENT", in_slice(2, PatientID="MRN-4711-B"))
changed("MIXED_STUDY", in_slice(2, StudyInstanceUID=f"{ROOT}11"))
changed("MIXED_MODALITY", in_slice(2, Modality="PT"))
changed("MIXED_FRAME_OF_REFERENCE", in_slice(2, FrameOfReferenceUID=f"{ROOT}33"))
changed("MIXED_ORIENTATION", in_slice(2, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]))
changed("MIXED_SPACING", in_slice(2, PixelSpacing=[0.5, 0.41]))
changed("INCOMPLETE_SERIES", everywhere(NumberOfSeriesRelatedInstances="6"))
changed("NO_GEOMETRY", in_slice(2, ImagePositionPatient=None))
changed("BAD_GEOMETRY", everywhere(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
changed("REPEATED_POSITIONS", in_slice(2, ImagePositionPatient=[-20, 30, 5]))
changed("IRREGULAR_SPACING", in_slice(4, ImagePositionPatient=[-20, 30, 15]))
changed("NOT_COLLINEAR", in_slice(2, ImagePositionPatient=[-19.9, 30, 9]))
changed("MOSAIC", everywhere(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]), mr_slice)
changed("PHOTOMETRIC", everywhere(PhotometricInterpretation="MONOCHROME1"), mr_slice)
changed("BURNED_IN_ANNOTATION", in_slice(2, BurnedInAnnotation="YES"))
changed("BAD_RESCALE", in_slice(2, RescaleSlope=0))
changed("NOT_HU", everywhere(RescaleType="Z_EFF"))
changed("PIXEL_FORMAT", in_slice(2, BitsStored=20))
changed("TOO_LARGE", everywhere(Rows=65535, Columns=65535))


@fault("FILE_NOT_FOUND")
def _(folder: Path) -> Path:
    return folder / "absent"


@fault("NOT_A_FILE")
def _(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


@fault("UNREADABLE")
def _(folder: Path) -> Path:
    path = write(ct_slice(0), folder / "closed.dcm")
    path.chmod(0)
    return path


@fault("NOT_DICOM")
def _(folder: Path) -> Path:
    (folder / "DOE_JANE.txt").write_text("no image")
    return folder / "DOE_JANE.txt"


@fault("NO_PREAMBLE")
def _(folder: Path) -> Path:
    path = write(ct_slice(0), folder / "DOE_JANE.dcm")
    path.write_bytes(path.read_bytes()[132:])
    return path


@fault("DAMAGED")
def _(folder: Path) -> Path:
    path = write(ct_slice(0), folder / "damaged.dcm")
    whole = path.read_bytes()
    start = whole.index(b"\x08\x00\x16\x00")
    path.write_bytes(whole[:start] + b"\x08\x00\x16\x00ZZ" + b"\xff" * 40)
    return path


@fault("TRUNCATED")
def _(folder: Path) -> Path:
    write_series(folder)
    cut = folder / "003.dcm"
    cut.write_bytes(cut.read_bytes()[:-40])
    return folder


@fault("DEFLATE_BOMB")
def _(folder: Path) -> Path:
    """Write a file that unpacks to 300 MB of zeros after a good header."""
    path = write(ct_slice(0), folder / "bomb.dcm", DEFLATED)
    head = path.read_bytes()[:132]
    name = DEFLATED.encode()
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(name)) + name
    plain = write(ct_slice(0), folder / "plain").read_bytes()
    (folder / "plain").unlink()
    body = plain[plain.index(b"\x08\x00\x08\x00CS") : plain.rindex(b"\xe0\x7f\x10\x00OW")]
    zeros = 300 << 20
    pack = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = pack.compress(body + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, zeros))
    packed += b"".join(pack.compress(bytes(1 << 20)) for _ in range(zeros >> 20)) + pack.flush()
    path.write_bytes(head + meta + packed)
    return path


@fault("NO_IMAGES")
def _(folder: Path) -> Path:
    (folder / ".DS_Store").write_bytes(bytes(200))
    return folder


@fault("NOT_DIAGNOSTIC")
def _(folder: Path) -> Path:
    return write_series(folder, 1, everywhere(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))


@fault("AMBIGUOUS_SERIES")
def _(folder: Path) -> Path:
    write_series(folder / "a")
    return write_series(folder / "b", change=everywhere(SeriesInstanceUID=f"{ROOT}22")).parent


@fault("UNKNOWN_SERIES")
def _(folder: Path) -> str:
    return f"{write_series(folder)}::0123456789ab"


@fault("MISSING_UID")
def _(folder: Path) -> Path:
    dataset = ct_slice(0)
    del dataset.SeriesInstanceUID
    return write(dataset, folder / "one.dcm")


@fault("UID_CONFLICT")
def _(folder: Path) -> Path:
    write_series(folder)
    other = ct_slice(2)
    set_pixels(other, samples(77), bits=12)
    write(other, folder / "other.dcm")
    return folder


@fault("MIXED_MATRIX")
def _(folder: Path) -> Path:
    def change(dataset: Dataset, number: int) -> None:
        if number == 2:
            set_pixels(dataset, samples(2)[:-2], bits=12)

    return write_series(folder, change=change)


@fault("SEVERAL_STACKS")
def _(folder: Path) -> Path:
    dataset = enhanced(6)
    for item in list(dataset.PerFrameFunctionalGroupsSequence)[3:]:
        item.FrameContentSequence[0].StackID = "2"
    return write(dataset, folder / "two.dcm")


@fault("SEVERAL_IMAGES")
def _(folder: Path) -> Path:
    for number in range(2):
        dataset = projection(samples(number))
        dataset.SOPInstanceUID = f"{ROOT}5.{number}"
        write(dataset, folder / f"{number}.dcm")
    return folder


@fault("SINGLE_SLICE")
def _(folder: Path) -> Path:
    return write_series(folder, 1)


@fault("BAD_FRAMES")
def _(folder: Path) -> Path:
    dataset = enhanced(5)
    del dataset.PerFrameFunctionalGroupsSequence[3]
    return write(dataset, folder / "short.dcm")


@fault("MULTI_FRAME")
def _(folder: Path) -> Path:
    dataset = header("3.1", "US")
    set_pixels(dataset, np.zeros((3, ROWS, COLUMNS), np.uint8))
    return write(dataset, folder / "cine.dcm")


@fault("COLOR")
def _(folder: Path) -> Path:
    def change(dataset: Dataset, number: int) -> None:
        set_pixels(dataset, np.zeros((ROWS, COLUMNS, 3), np.uint8))

    return write_series(folder, change=change)


@fault("BAD_LUT")
def _(folder: Path) -> Path:
    dataset = projection(samples(0))
    dataset.VOILUTSequence = Items([table(range(100), 0, 8)])
    dataset.VOILUTSequence[0].LUTDescriptor = [300, 0, 8]
    return write(dataset, folder / "short.dcm")


@fault("BAD_WINDOW")
def _(folder: Path) -> Path:
    dataset = projection(samples(0))
    dataset.WindowCenter, dataset.WindowWidth = 100, 0
    return write(dataset, folder / "narrow.dcm")


@fault("UNSUPPORTED_SYNTAX")
def _(folder: Path) -> Path:
    path = write(ct_slice(0), folder / "private.dcm")
    relabel(path, "1.2.840.10008.1.2.9")
    return path


@fault("NO_DECODER")
def _(folder: Path) -> Path:
    return fragments(folder, "1.2.840.10008.1.2.4.70", jpeg_start(ROWS, COLUMNS))


@fault("DECODE_FAILED")
def _(folder: Path) -> Path:
    return fragments(folder, "1.2.840.10008.1.2.5", b"no run lengths here!" * 8)


def relabel(path: Path, syntax: str) -> None:
    """Write another transfer syntax, of the same length, into a file's meta header."""
    whole = path.read_bytes()
    assert len(syntax) == len(EXPLICIT) == len(BIG_ENDIAN)
    path.write_bytes(whole.replace(EXPLICIT.encode(), syntax.encode(), 1))


def fragments(folder: Path, syntax: str, *parts: bytes) -> Path:
    """Write a CT slice whose pixels are ``parts``, one fragment each."""
    dataset = ct_slice(0)
    dataset.PixelData = encapsulated(*parts)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return write(dataset, folder / "compressed.dcm", syntax)


def encapsulated(*parts: bytes) -> bytes:
    """Return fragments as items with an empty offset table."""
    item = struct.Struct("<HHI")
    body = b"".join(
        item.pack(0xFFFE, 0xE000, len(p) + len(p) % 2) + p + bytes(len(p) % 2) for p in parts
    )
    return item.pack(0xFFFE, 0xE000, 0) + body + item.pack(0xFFFE, 0xE0DD, 0)


def jpeg_start(rows: int, columns: int) -> bytes:
    """Return the first bytes of a lossless JPEG of that size."""
    frame = struct.pack(">BHHBBBB", 12, rows, columns, 1, 1, 0x11, 0)
    return b"\xff\xd8\xff\xc3" + struct.pack(">H", len(frame) + 2) + frame
