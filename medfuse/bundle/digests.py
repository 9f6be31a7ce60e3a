"""The digests of a bundle: written with it, checked before anything in it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfuse.bundle.verifier.failure import CheckFailedError
from medfuse.bundle.verifier.integrity import CACHE, SIGNATURE, require_as_written
from medfuse.checksums import DIGESTS, read_digests
from medfuse.errors import BundleError
from medfuse.storage import sha256_file, write_text

__all__ = ["DIGESTS", "SIGNATURE", "check_digests", "read_digests", "write_digests"]


def write_digests(root: Path) -> None:
    """Write ``SHA256SUMS`` over all other files below ``root``; an earlier signature goes."""
    (root / SIGNATURE).unlink(missing_ok=True)
    lines = [f"{sha256_file(path)}  {path.relative_to(root).as_posix()}\n" for path in _files(root)]
    write_text(root / DIGESTS, "".join(lines))


def check_digests(root: Path) -> None:
    """Pass if every listed file is as it was written and nothing was added that matters.

    It guards against damage and edits. Who can edit a bundle can edit its digests: only a
    signature of them shows that (`medfuse.bundle.signing`).

    Raises:
        BundleError: naming the first file that is missing, changed or new, and a code.
    """
    try:
        require_as_written(root)
    except CheckFailedError as error:
        raise BundleError(
            f"{root}/{error} ({error.code}). Copy the bundle again, or write it anew.",
            error.code,
        ) from error


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and CACHE not in relative.parts and relative.name != DIGESTS:
            yield path
