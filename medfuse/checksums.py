"""The digest of every file of a folder, in a file that ``sha256sum -c`` reads too."""

from __future__ import annotations

from pathlib import Path

from medfuse.errors import BundleError
from medfuse.storage import sha256_file

DIGESTS = "SHA256SUMS"


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


def check_file(path: Path, digest: str) -> None:
    """Pass if a file is there and as it was written.

    Raises:
        BundleError: it is absent or changed.
    """
    if not path.is_file():
        raise BundleError(f"{path}: named in {DIGESTS}, but absent. Copy the bundle again.")
    if sha256_file(path) != digest:
        raise BundleError(
            f"{path}: changed since the bundle was written (digest differs from {DIGESTS}). "
            "Copy the bundle again, or write it anew."
        )
