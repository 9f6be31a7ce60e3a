"""Digests of image files and folders as they lie on disk, without decoding them."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from medfuse.data.volume_metaimage import HEADER_ENDING, metaimage_data_file
from medfuse.features.ahead import map_ahead

_SEPARATOR = "::"
_CHUNK = 1 << 20
_MOST_FILES = 100_000


def fingerprints(references: Sequence[str], workers: int = 4) -> dict[str, str]:
    """Return a digest per reference; one that cannot be read is left out.

    A file counts by its bytes. A folder, whose files may be many and large, counts by the names
    inside it, and the size and time of change of each file.

    Args:
        references: paths of files and folders, ``PATH::PART`` for one series or one volume of
            them, or ``FILE.npz::KEY::INDEX`` for one row of an array.
        workers: threads; reading, not hashing, is what takes time on network file systems.
    """
    rows = [item for item in references if _is_row(item)]
    others = [item for item in references if not _is_row(item)]
    paths = list(dict.fromkeys(item.partition(_SEPARATOR)[0] for item in others))
    digests = dict(zip(paths, map_ahead(_of_path, paths, workers, 4 * workers), strict=True))
    known = dict(_of_rows(rows))
    for item in others:
        path, _, part = item.partition(_SEPARATOR)
        digest = digests[path]
        if digest is not None:
            known[item] = _of_part(digest, part) if part else digest
    return known


def _is_row(reference: str) -> bool:
    path, separator, _ = reference.partition(_SEPARATOR)
    return bool(separator) and path.lower().endswith(".npz")


def _of_part(digest: str, part: str) -> str:
    return hashlib.blake2b(f"part\0{digest}\0{part}".encode(), digest_size=32).hexdigest()


def _of_path(path: str) -> str | None:
    try:
        return _of_folder(path) if Path(path).is_dir() else _of_file(path)
    except (OSError, ValueError):  # the image reader names what is wrong with it
        return None


def _of_folder(folder: str) -> str | None:
    """Return the digest of a listing, wherever the folder lies; ``None`` for a huge one."""
    listing: list[tuple[str, int, int]] = []
    for parent, _, files in os.walk(folder):
        for name in files:
            path = os.path.join(parent, name)  # noqa: PTH118 - of thousands of files
            status = os.lstat(path)
            listing.append((os.path.relpath(path, folder), status.st_size, status.st_mtime_ns))
        if len(listing) > _MOST_FILES:
            return None
    digest = hashlib.blake2b(b"folder\0", digest_size=32)
    digest.update(json.dumps(sorted(listing)).encode())
    return digest.hexdigest()


def _of_file(reference: str) -> str | None:
    path = Path(reference)
    # The suffix belongs to it: a reader may be chosen by suffix.
    digest = hashlib.blake2b(f"file{path.suffix.lower()}\0".encode(), digest_size=32)
    for file in _files(path):
        if not _is_regular(file):
            return None
        with file.open("rb") as handle:
            while chunk := handle.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _files(path: Path) -> tuple[Path, ...]:
    """Return the file, and the one that holds its voxels where they are not in it."""
    if path.suffix.lower() != HEADER_ENDING or not _is_regular(path):
        return (path,)
    return (path, Path(metaimage_data_file(str(path))))


def _is_regular(path: Path) -> bool:
    """Return whether it is a file proper: to open a pipe would wait for a writer forever."""
    return stat.S_ISREG(path.stat().st_mode)


def _of_rows(references: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield digests of array rows; each array is read once, and one at a time."""
    by_array: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for reference in references:
        array, _, index = reference.rpartition(_SEPARATOR)
        by_array[array].append((reference, index))
    for array, rows in by_array.items():
        values = _array(*array.rsplit(_SEPARATOR, 1))
        for reference, index in rows:
            if values is not None and index.isdigit() and int(index) < len(values):
                yield reference, _of_array(values[int(index)])


def _array(file: str, key: str = "") -> np.ndarray | None:
    try:
        if not _is_regular(Path(file)):
            return None
        with np.load(file, allow_pickle=False) as archive:
            return np.asarray(archive[key])
    except (OSError, KeyError, ValueError, EOFError, TypeError, zipfile.BadZipFile):
        return None  # the image reader names what is wrong with it


def _of_array(values: np.ndarray) -> str:
    head = f"array\0{values.dtype.str}\0{values.shape}\0"
    digest = hashlib.blake2b(head.encode(), digest_size=32)
    digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
