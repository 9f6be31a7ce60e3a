"""The digests of a bundle: written with it, checked before anything in it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfuse.checksums import DIGESTS, check_file, read_digests
from medfuse.errors import BundleError
from medfuse.storage import sha256_file, write_text

__all__ = ["DIGESTS", "check_digests", "read_digests", "write_digests"]

DECIDING = ("models/model.pt", "models/distances.safetensors")
_EXECUTED = ("configs", "scripts")


def write_digests(root: Path) -> None:
    """Write ``SHA256SUMS`` over all other files below ``root``."""
    lines = [f"{sha256_file(path)}  {path.relative_to(root).as_posix()}\n" for path in _files(root)]
    write_text(root / DIGESTS, "".join(lines))


def check_digests(root: Path) -> None:
    """Pass if every listed file is as it was written and nothing was added that gets executed.

    It guards against damage and edits by accident. Who can edit a bundle can edit its digests:
    this is no signature.

    Raises:
        BundleError: naming the first file that is missing, changed or new.
    """
    listed = read_digests(root)
    for name, digest in listed.items():
        check_file(root / name, digest)
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        if name not in listed and name.split("/")[0] in _EXECUTED:
            raise BundleError(f"{path}: not named in {DIGESTS}, but would be executed. Remove it.")
        if name not in listed and name in DECIDING:
            raise BundleError(f"{path}: not named in {DIGESTS}. Copy the bundle again.")


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and "__pycache__" not in relative.parts and relative.name != DIGESTS:
            yield path
