"""Recognize files that hold no state dict, by their content: what each is, and what to do."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAD = 512
_TAR = slice(257, 262)
_MOST_EXPANSION = 10
_PARTS_OF_OLD_FORMAT = 5
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MANY_FIELDS = 64

_KERAS = (
    "Keras weights, whose layers have other names and another order of axes. Build the network "
    "in torch, copy the layers over, and save its state_dict; or name the same network's torch "
    "weights, as in timm:NAME.TAG"
)
_FOREIGN = "weights of another framework. Convert them to torch and save the network's state_dict"
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (_HDF5, f"an HDF5 file: {_KERAS}"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself. Run: git lfs pull"),
    (b"\x93NUMPY", "a NumPy array. Expected tensors by name: save the network's state_dict"),
    (b"\x1f\x8b", "packed by gzip. Unpack it first"),
    (b"BZh", "packed by bzip2. Unpack it first"),
    (b"\xfd7zXZ", "packed by xz. Unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "packed by 7-Zip. Unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard. Unpack it first"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml")


def foreign_format(file: Path) -> str | None:
    """Return what a file is and what to do, or ``None`` where it may hold tensors of torch.

    Only content counts, not the name. A damaged file is not told from one of torch.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as handle:
        head = handle.read(_HEAD)
        found = _by_magic(head)
        if found is None and head[:2] == b"PK":
            return _archive(handle)
        return found or _protocol_buffer(handle)


def foreign_folder(folder: Path) -> str:
    """Return what a folder of weights is and which file to name instead."""
    if (folder / "saved_model.pb").is_file():
        return f"a TensorFlow SavedModel: {_FOREIGN}"
    inside = [p.name for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".pt")]
    if inside:
        return f"a folder. Name the file inside, as in {folder / min(inside)}"
    return "a folder. Expected one file of tensors"


def is_safetensors(file: Path) -> bool:
    """Tell whether a file starts as safetensors do: a length and a JSON object of that length."""
    with file.open("rb") as handle:
        head = handle.read(9)
    length = int.from_bytes(head[:8], "little")
    return head[8:] == b"{" and 2 <= length <= file.stat().st_size - 8


def pickles(file: Path) -> Iterator[BinaryIO]:
    """Yield what torch will unpickle of a file, each at its start; one must read it to its end.

    Raises:
        zipfile.BadZipFile: a damaged archive.
    """
    with file.open("rb") as handle:
        if handle.read(2) == b"PK":
            with zipfile.ZipFile(handle) as archive:
                for member in archive.infolist():
                    if PurePosixPath(member.filename).name.lower() == "data.pkl":
                        yield io.BytesIO(archive.read(member))
            return
        handle.seek(0)
        for _ in range(_PARTS_OF_OLD_FORMAT):
            yield handle


def _by_magic(head: bytes) -> str | None:
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if not head.strip(b"\0"):
        return "empty, or begins with zeros alone, as after a broken download. Download it anew"
    if head[_TAR] == b"ustar" or _is_tar(head):
        return "packed by tar. Unpack it first"
    if head[4:8] == b"TFL3":
        return f"a TensorFlow Lite model: {_FOREIGN}"
    if head.lstrip().lower().startswith(_PAGES):
        return "a web page: what was saved is a login or error page. Download the file anew"
    return None


def _is_tar(head: bytes) -> bool:
    """Tell by the checksum, as tarfile does: the oldest archives have no magic bytes."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _archive(handle: BinaryIO) -> str | None:
    try:
        with zipfile.ZipFile(handle) as archive:
            names = [PurePosixPath(name) for name in archive.namelist()]
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
        # torch may still read it, without a bound on what it unpacks to.
        return "a damaged ZIP archive, as after a broken download or copy. Get the file anew"
    found = next((text for fits, text in _ARCHIVES if fits(names)), None)
    if found is None and unpacked > _MOST_EXPANSION * handle.seek(0, 2):
        return (
            f"a ZIP archive that unpacks to over {_MOST_EXPANSION} times its size, as torch.save "
            "writes none. Get the file anew, or from somebody you trust"
        )
    return found


def _holds(*wanted: str) -> Callable[[Sequence[PurePosixPath]], bool]:
    return lambda names: all(any(name.name == one for name in names) for one in wanted)


def _is_arrays(names: Sequence[PurePosixPath]) -> bool:
    return bool(names) and all(name.suffix == ".npy" for name in names)


def _is_exported(names: Sequence[PurePosixPath]) -> bool:
    kinds = {name.name for name in names}
    return bool(kinds & {"archive_format", "serialized_exported_program.json"})


def _is_packed(names: Sequence[PurePosixPath]) -> bool:
    return not any(name.name == "data.pkl" for name in names)


_ARCHIVES: tuple[tuple[Callable[[Sequence[PurePosixPath]], bool], str], ...] = (
    (_holds("model.weights.h5"), f"a .keras archive: {_KERAS}"),
    (
        _holds("constants.pkl"),
        "a TorchScript archive, which holds a program and not only tensors. Where you trust it: "
        "torch.save(torch.jit.load(FILE).state_dict(), NEW)",
    ),
    (
        _is_exported,
        "a program exported by torch.export. Where you trust it: "
        "torch.save(torch.export.load(FILE).state_dict, NEW)",
    ),
    (_is_arrays, "an archive of NumPy arrays. Load them and save a state_dict of torch tensors"),
    (_is_packed, "a ZIP archive without a state dict of torch. Unpack it and name the file inside"),
)


def _protocol_buffer(handle: BinaryIO) -> str | None:
    """Tell ONNX and TensorFlow graphs by the numbers of their first fields."""
    handle.seek(0)
    fields = set(_fields(handle))
    if {(1, _VARINT), (7, _BYTES), (8, _BYTES)} <= fields:
        return f"an ONNX model: {_FOREIGN}, or load the file that it was exported from"
    if fields == {(1, _VARINT), (2, _BYTES)}:
        return f"a TensorFlow SavedModel: {_FOREIGN}"
    if (1, _BYTES) in fields and fields <= {(1, _BYTES), (2, _BYTES), (3, _VARINT), (4, _BYTES)}:
        return f"a TensorFlow graph: {_FOREIGN}"
    return None


def _fields(handle: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yield number and wire type of the outermost fields; nothing where it is no message."""
    handle.seek(0, 2)
    size = handle.tell()
    handle.seek(0)
    found: list[tuple[int, int]] = []
    while handle.tell() < size and len(found) < _MANY_FIELDS:
        field = _field(handle, size)
        if field is None:
            return
        found.append(field)
    yield from found


def _field(handle: BinaryIO, size: int) -> tuple[int, int] | None:
    key = _varint(handle)
    if key is None:
        return None
    number, kind = key >> 3, key & 7
    length: int | None = {_FIXED64: 8, _FIXED32: 4}.get(kind, 0 if kind == _VARINT else None)
    if kind in (_VARINT, _BYTES):
        value = _varint(handle)
        length = value if kind == _BYTES else (None if value is None else 0)
    if number == 0 or length is None or handle.tell() + length > size:
        return None
    handle.seek(length, 1)
    return number, kind


def _varint(handle: BinaryIO) -> int | None:
    value = 0
    for place in range(10):
        byte = handle.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << 7 * place
        if byte[0] < 0x80:
            return value
    return None
