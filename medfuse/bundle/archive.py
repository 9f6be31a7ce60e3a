"""A bundle in a ZIP archive, unpacked only if every entry is a plain file in its own place."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from medfuse.bundle.verifier.failure import CheckFailedError
from medfuse.bundle.verifier.integrity import is_inside, require_distinct
from medfuse.errors import BundleError

LARGEST = 20 << 30
_DAMAGED = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError),
    zlib.error,
)
_ENTRIES = 20_000
_RATIO = 200  # weights and texts are packed 10 times smaller at best, a bomb 1,000 times
_SMALL = 10 << 20


def is_archive(path: Path) -> bool:
    """Return whether a file is a ZIP archive, whatever it is called."""
    return path.is_file() and zipfile.is_zipfile(path)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a bundle and return its folder, the only one at the top of the archive.

    Args:
        archive: a ZIP file.
        folder: an empty one.

    Raises:
        BundleError: an entry lies outside, is no plain file, is there twice or too large; nothing
            of the archive is written then. The text ends with a code.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            top = _checked(entries)
            for entry in entries:
                _write(opened, entry, folder)
    except CheckFailedError as error:
        raise _refusal(archive, str(error), error.code) from error
    except _DAMAGED as error:
        text = f"cannot be unpacked ({type(error).__name__})"
        raise _refusal(archive, text, "ARCHIVE_DAMAGED") from error
    return folder / top


def _refusal(archive: Path, text: str, code: str) -> BundleError:
    return BundleError(f"{archive}: {text} ({code}). Ask who sent it for another copy.", code)


def _checked(entries: list[zipfile.ZipInfo]) -> str:
    """Return the folder at the top, if every entry may be written."""
    names = [entry.filename for entry in entries]
    if len(names) > _ENTRIES or sum(entry.file_size for entry in entries) > LARGEST:
        raise CheckFailedError(f"{len(names)} entries, or too large", "ARCHIVE_BOMB")
    for entry in entries:
        _require_plain(entry)
    bare = [name.rstrip("/") for name in names]
    if len(set(bare)) < len(bare):
        raise CheckFailedError("an entry is there twice", "ARCHIVE_DUPLICATE")
    require_distinct(bare)
    _require_no_file_as_folder(entries)
    tops = {name.split("/")[0] for name in bare}
    if len(tops) != 1 or not any("/" in name for name in bare):
        raise CheckFailedError("expected one folder, <name>_classification", "ARCHIVE_LAYOUT")
    return tops.pop()


def _require_plain(entry: zipfile.ZipInfo) -> None:
    # `filename` is cut at a zero byte and has other separators replaced; the original is not
    if not is_inside(entry.orig_filename.rstrip("/")) or entry.orig_filename != entry.filename:
        text = f"entry {entry.orig_filename[:60]!r} lies outside of its folder"
        raise CheckFailedError(text, "ARCHIVE_PATH")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        text = f"entry {entry.filename[:60]!r} is a link or no plain file"
        raise CheckFailedError(text, "ARCHIVE_LINK")
    if entry.file_size > max(_SMALL, _RATIO * entry.compress_size):
        text = f"entry {entry.filename[:60]!r} unpacks to {entry.file_size} bytes"
        raise CheckFailedError(text, "ARCHIVE_BOMB")


def _require_no_file_as_folder(entries: Iterable[zipfile.ZipInfo]) -> None:
    found = list(entries)
    files = {entry.filename for entry in found if not entry.is_dir()}
    above = {str(p.as_posix()) for e in found for p in Path(e.filename).parents}
    if files & above:
        raise CheckFailedError("an entry is a file and a folder", "ARCHIVE_DUPLICATE")


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / entry.filename
    if entry.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(entry) as packed, target.open("xb") as file:
        shutil.copyfileobj(packed, file)  # zipfile stops at the size that the entry states
