"""Find the DICOM files below a path, by content, without opening what is no regular file."""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path

from .refusal import refusal

MAX_FILES = 50_000
MAX_FOLDERS = 20_000
MAX_FILE_BYTES = 2 << 30
_SUFFIXES = (".dcm", ".dicom", ".ima")


def find_files(path: str) -> tuple[list[str], Counter[str]]:
    """Return the sorted DICOM files at ``path``, and how many others there are by skip code.

    Links inside a folder are not followed; ``path`` itself may be one.

    Raises:
        DicomError: ``FILE_NOT_FOUND``, ``NOT_A_FILE``, ``UNREADABLE``, ``TOO_LARGE``; for a single
            file also ``NOT_DICOM``.
    """
    try:
        status = Path(path).stat()
    except PermissionError:
        raise refusal("UNREADABLE") from None
    except (OSError, ValueError):
        raise refusal("FILE_NOT_FOUND") from None
    if stat.S_ISDIR(status.st_mode):
        return _below(path)
    code = _reason_to_skip(path, status)
    if code == "NOT_REGULAR":
        raise refusal("NOT_A_FILE")
    if code:
        raise refusal(code)
    return [path], Counter()


def _below(folder: str) -> tuple[list[str], Counter[str]]:
    found: list[str] = []
    skipped: Counter[str] = Counter()
    folders, seen = [folder], 0
    while folders:
        seen += 1
        if seen > MAX_FOLDERS or len(found) + skipped.total() > MAX_FILES:
            raise refusal("TOO_LARGE", f"over {MAX_FILES} files or {MAX_FOLDERS} folders")
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            skipped["UNREADABLE"] += 1
            continue
        for entry in entries:
            status = _status(entry)
            if status is None:
                skipped["UNREADABLE"] += 1
            elif stat.S_ISDIR(status.st_mode):
                folders.append(entry.path)
            elif code := _reason_to_skip(entry.path, status):
                skipped[code] += 1
            else:
                found.append(entry.path)
    return sorted(found), skipped


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:  # removed since it was listed
        return None


def _reason_to_skip(path: str, status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "NOT_REGULAR"
    if status.st_size > MAX_FILE_BYTES:
        return "TOO_LARGE"
    try:
        with Path(path).open("rb") as file:
            head = file.read(132)
    except OSError:
        return "UNREADABLE"
    if head[128:] == b"DICM":
        return ""
    return "NO_PREAMBLE" if path.lower().endswith(_SUFFIXES) else "NOT_DICOM"
