"""Small files that claim or unpack to far more than they are, by name."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import tifffile

BOMBS: dict[str, tuple[str, Callable[[Path], object]]] = {}
GIGABYTES = 3


def bomb(name: str, inside: str = "") -> Callable[[Callable[[Path], object]], None]:
    """Register the writer of a file; ``inside`` follows its path in a reference."""

    def keep(write: Callable[[Path], object]) -> None:
        BOMBS[name] = (inside, write)

    return keep


def zeros_packed(wbits: int) -> bytes:
    """Return gigabytes of zeros, deflated: one block, again and again, without a checksum."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first, again = (
        packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return first + again * (GIGABYTES * 64)


def png(path: Path, side: int, data: bytes, extra: bytes = b"") -> None:
    raw = bytearray(b"\x89PNG\r\n\x1a\n")
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", data), (b"IEND", b"")]
    if extra:
        chunks.insert(1, (b"zTXt", b"Comment\0\0" + extra))
    for kind, content in chunks:
        raw += struct.pack(">I", len(content)) + kind + content
        raw += struct.pack(">I", zlib.crc32(kind + content))
    path.write_bytes(raw)


@bomb("huge.png")
def _(path: Path) -> None:
    png(path, 60000, zlib.compress(bytes(100)))


@bomb("more behind.png")
def _(path: Path) -> None:
    png(path, 16, zeros_packed(15))


@bomb("text.png")
def _(path: Path) -> None:
    png(path, 16, zlib.compress(bytes(16 * 17)), zeros_packed(15))


@bomb("huge.jpg")
def _(path: Path) -> None:
    frame = struct.pack(">BHHBBBB", 8, 65500, 65500, 1, 1, 0x11, 0)
    path.write_bytes(b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + bytes(64))


def tiff_of(path: Path, rows: int, columns: int, strip: bytes) -> None:
    """Write a TIFF file of one deflated strip."""
    tags = [
        *((256, 4, columns), (257, 4, rows), (258, 3, 8), (259, 3, 8), (262, 3, 1)),
        *((273, 4, 8), (277, 3, 1), (278, 4, rows), (279, 4, len(strip))),
    ]
    place = 8 + len(strip) + len(strip) % 2
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", place) + strip + bytes(len(strip) % 2)
    path.write_bytes(head + struct.pack("<H", len(tags)) + entries + bytes(4))


@bomb("huge.tif")
def _(path: Path) -> None:
    tiff_of(path, 60000, 60000, zlib.compress(bytes(100)))


@bomb("more behind.tif")
def _(path: Path) -> None:
    tiff_of(path, 16, 16, zeros_packed(15))


@bomb("many pages.tif")
def _(path: Path) -> None:
    with tifffile.TiffWriter(path) as tiff:
        for _ in range(5000):
            tiff.write(np.zeros((2, 2), np.uint8), photometric="minisblack", metadata=None)


@bomb("pages in a circle.tif")
def _(path: Path) -> None:
    tiff_of(path, 16, 16, zlib.compress(bytes(256)))
    data = bytearray(path.read_bytes())
    data[-4:] = data[4:8]
    path.write_bytes(data)


def npy_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


@bomb("huge.npy")
def _(path: Path) -> None:
    path.write_bytes(npy_header((200000, 200000)) + bytes(100))


@bomb("packed.npz", "::images::0")
def _(path: Path) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w", force_zip64=True) as file,
    ):
        file.write(npy_header((GIGABYTES * 16, 8192, 8192)))
        for _ in range(GIGABYTES * 64):
            file.write(bytes(1 << 24))


@bomb("claims.npz", "::images::0")
def _(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy_header((20000, 1000, 1000)) + bytes(100))


def nifti_header(shape: tuple[int, ...]) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header["dim"][: len(shape) + 1] = [len(shape), *shape]
    header["pixdim"][1:4] = 1
    header["vox_offset"] = 352
    return header.binaryblock + bytes(4)


@bomb("huge.nii")
def _(path: Path) -> None:
    path.write_bytes(nifti_header((30000, 30000, 30000)) + bytes(100))


@bomb("more behind.nii.gz")
def _(path: Path) -> None:
    path.write_bytes(gzip.compress(nifti_header((8, 8, 8))) + zeros_packed(31))


@bomb("within limits.nii.gz")
def _(path: Path) -> None:
    path.write_bytes(gzip.compress(nifti_header((512, 512, 1000)) + bytes(512 * 512 * 1000), 9))


def nrrd(path: Path, side: int, data: bytes) -> None:
    text = (
        f"NRRD0004\ntype: uchar\ndimension: 3\nspace: LPS\nsizes: {side} {side} {side}\n"
        "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: gzip\nspace origin: (0,0,0)\n\n"
    )
    path.write_bytes(text.encode() + data)


@bomb("huge.nrrd")
def _(path: Path) -> None:
    nrrd(path, 30000, gzip.compress(bytes(100)))


@bomb("more behind.nrrd")
def _(path: Path) -> None:
    nrrd(path, 8, zeros_packed(31))


@bomb("long lines.nrrd")
def _(path: Path) -> None:
    path.write_bytes(b"NRRD0004\n" + b"x" * (1 << 26))


@bomb("huge.mha")
def _(path: Path) -> None:
    text = "NDims = 3\nDimSize = 30000 30000 30000\nElementType = MET_UCHAR\n"
    text += "CompressedData = True\n"
    path.write_bytes(f"{text}ElementDataFile = LOCAL\n".encode() + zeros_packed(15))
