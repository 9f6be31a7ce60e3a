"""Find the DICOM files below a path, by content, without opening what is no regular file."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from .refusal import refusal

MAX_FILES = 50_000
MAX_FOLDERS = 20_000
MAX_FILE_BYTES = 2 << 30
_SUFFIXES = (".dcm", ".dicom", ".ima")

LeftOut = dict[str, list[str]]


def find_files(path: str) -> tuple[list[str], LeftOut]:
    """Return the sorted DICOM files at ``path``, and the others by skip code.

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
    return [path], {}


def sort_files(files: Sequence[str]) -> tuple[list[str], LeftOut]:
    """Return the DICOM files among ``files``, and the others by skip code; links are followed."""
    found: list[str] = []
    skipped: LeftOut = {}
    for file in files:
        try:
            code = _reason_to_skip(file, Path(file).stat())
        except (OSError, ValueError):
            code = "UNREADABLE"
        (skipped.setdefault(code, []) if code else found).append(file)
    return found, skipped


def _below(folder: str) -> tuple[list[str], LeftOut]:
    found: list[str] = []
    skipped: LeftOut = {}
    folders, seen = [folder], 0
    while folders:
        seen += 1
        if seen > MAX_FOLDERS or len(found) + sum(map(len, skipped.values())) > MAX_FILES:
            raise refusal("TOO_LARGE", f"over {MAX_FILES} files or {MAX_FOLDERS} folders")
        current = folders.pop()
        try:
            entries = list(os.scandir(current))
        except OSError:
            skipped.setdefault("UNREADABLE", []).append(current)
            continue
        for entry in entries:
            status = _status(entry)
            if status is not None and stat.S_ISDIR(status.st_mode):
                folders.append(entry.path)
                continue
            code = "UNREADABLE" if status is None else _reason_to_skip(entry.path, status)
            (skipped.setdefault(code, []) if code else found).append(entry.path)
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
