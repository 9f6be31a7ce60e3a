"""The digest of every file of a bundle, in a file that ``sha256sum -c`` reads too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from medfuse.errors import BundleError
from medfuse.storage import sha256_file, write_text

DIGESTS = "SHA256SUMS"

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
        path = root / name
        if not path.is_file():
            raise BundleError(f"{path}: named in {DIGESTS}, but absent. Copy the bundle again.")
        if sha256_file(path) != digest:
            raise BundleError(
                f"{path}: changed since the bundle was written (digest differs from {DIGESTS}). "
                "Copy the bundle again, or write it anew."
            )
    for path in _files(root):
        name = path.relative_to(root).as_posix()
        if name not in listed and name.split("/")[0] in _EXECUTED:
            raise BundleError(f"{path}: not named in {DIGESTS}, but would be executed. Remove it.")


def read_digests(root: Path) -> dict[str, str]:
    """Return digest by relative path.

    Raises:
        BundleError: the file is absent or malformed, or names a path outside the bundle.
    """
    file = root / DIGESTS
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{file}: cannot be read, expected the digests of a medfuse bundle. "
            "Give a bundle folder that medfuse wrote."
        ) from error
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name, digest in listed.items():
        inside = name and not Path(name).is_absolute() and ".." not in Path(name).parts
        if len(digest) != 64 or not inside:
            raise BundleError(f"{file}: malformed line for {name!r}. Copy the bundle again.")
    return listed


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and "__pycache__" not in relative.parts and relative.name != DIGESTS:
            yield path
