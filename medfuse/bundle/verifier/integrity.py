"""Which files lie in a bundle, and that each is the one that was written: read, never run.

It stands alone, as all of this package, and medfuse itself uses it before it opens a bundle.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

from .failure import CheckFailedError

DIGESTS = "SHA256SUMS"
SIGNATURE = f"{DIGESTS}.sig"
CACHE = "__pycache__"
# The root is on Python's search path while a bundle runs, so that code is code anywhere below it.
CODE = (".py", ".pyc", ".pyo", ".pyw", ".so", ".pyd", ".dll", ".dylib", ".pth", ".egg", ".whl")

_DECIDING = ("LICENSE", "configs", "docs", "models", "scripts")
_CANDIDATE = re.compile(r"models/model_candidate[\w.-]*\.pt")
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_UNSAFE = re.compile(r"[\\:\x00-\x1f\x7f]")


def listed_digests(root: Path) -> dict[str, str]:
    """Return digest by relative path.

    Raises:
        CheckFailedError: ``NO_LIST`` or ``MALFORMED_LIST``.
    """
    try:
        lines = (root / DIGESTS).read_bytes().decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        text = f"{DIGESTS}: cannot be read, expected the digests of a medfuse bundle"
        raise CheckFailedError(text, "NO_LIST") from error
    listed: dict[str, str] = {}
    for line in lines[:-1] if lines[-1] == "" else lines:
        found = _LINE.fullmatch(line)
        if found is None or not is_inside(found[2]) or found[2] in listed:
            raise CheckFailedError(f"{DIGESTS}: malformed line {line[-60:]!r}", "MALFORMED_LIST")
        listed[found[2]] = found[1]
    return listed


def is_inside(name: str) -> bool:
    """Return whether a relative path with ``/`` names a place below its folder on every system."""
    parts = name.split("/")
    plain = not _UNSAFE.search(name) and all(part not in ("", ".", "..") for part in parts)
    return plain and not any(part.endswith((".", " ")) for part in parts)


def require_as_written(root: Path) -> int:
    """Return how many files there are, if they are those that were written and no others.

    Allowed beside them are data outside of the bundle's own folders (results, for example) and
    weights that fine-tuning wrote; neither is code.

    Raises:
        CheckFailedError: naming the first file that is not as it should be, with a code.
    """
    listed = listed_digests(root)
    require_distinct(listed)
    for name, digest in listed.items():
        _require_file(root, name, digest)
    present = list(walk(root))
    require_distinct(present)
    for name in present:
        _require_allowed(root, name, listed)
    return len(listed)


def require_distinct(names: Iterator[str] | list[str] | Mapping[str, str]) -> None:
    """Pass if no two paths are one on a file system that ignores case or forms of a letter.

    Raises:
        CheckFailedError: ``NAME_COLLISION``.
    """
    seen: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            place = "/".join(parts[:count])
            other = seen.setdefault(unicodedata.normalize("NFKC", place).casefold(), place)
            if other != place:
                raise CheckFailedError(
                    f"{name}: one name with {other} where case is ignored", "NAME_COLLISION"
                )


def walk(root: Path, folder: str = "") -> Iterator[str]:
    """Yield the relative path of everything that is no plain folder; no link is followed.

    Raises:
        CheckFailedError: ``SYMLINK``: a folder that lies somewhere else.
    """
    with os.scandir(root / folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        name = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_symlink() and entry.is_dir():
            raise CheckFailedError(f"{name}: a link to a folder that lies elsewhere", "SYMLINK")
        if entry.is_dir(follow_symlinks=False):
            yield from walk(root, name)
        else:
            yield name


def _require_file(root: Path, name: str, digest: str) -> None:
    path = root / name
    if not path.is_file():
        raise CheckFailedError(f"{name}: named in {DIGESTS}, but absent", "MISSING_FILE")
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    if found.hexdigest() != digest:
        text = f"{name}: changed since the bundle was written (digest differs from {DIGESTS})"
        raise CheckFailedError(text, "CHANGED_FILE")


def _require_allowed(root: Path, name: str, listed: Mapping[str, str]) -> None:
    if name in listed or name in (DIGESTS, SIGNATURE):
        return
    if (root / name).is_symlink() or not (root / name).is_file():
        raise CheckFailedError(f"{name}: a link or no plain file", "SYMLINK")
    if CACHE in name.split("/"):
        text = f"{name}: compiled code that no digest names, and that Python would run. Remove it"
        raise CheckFailedError(text, "COMPILED_CODE")
    if name.lower().endswith(CODE):
        raise CheckFailedError(f"{name}: not named in {DIGESTS}, but could be run", "UNLISTED_FILE")
    if name.partition("/")[0] in _DECIDING and not _CANDIDATE.fullmatch(name):
        text = f"{name}: not named in {DIGESTS}, but part of what decides the answers"
        raise CheckFailedError(text, "UNLISTED_FILE")
