"""The list of images that a bundle learned from, so that whoever measures it can tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medfuse.errors import BundleError
from medfuse.registry.bundled import OWN_TRAINING, SEEN
from medfuse.storage import write_text

__all__ = ["ADAPTATION", "OWN_TRAINING", "SEEN", "read_seen", "write_seen"]

ADAPTATION = "this bundle's adaptation, without labels"


def write_seen(root: Path, seen: Mapping[str, frozenset[str]]) -> None:
    """Write one line for each image: its pixel digest, two spaces, and who learned from it.

    A digest names an image to those who have it, and gives nothing of it to those who have not.
    """
    lines = sorted(f"{digest}  {who}\n" for who, digests in seen.items() for digest in digests)
    write_text(root / SEEN, "".join(lines))


def read_seen(root: Path) -> dict[str, frozenset[str]]:
    """Return pixel digests by who learned from them; empty for a bundle without the list.

    Raises:
        BundleError: the list is damaged.
    """
    file = root / SEEN
    if not file.is_file():
        return {}
    found: dict[str, set[str]] = {}
    try:
        for line in file.read_text(encoding="utf-8").splitlines():
            digest, who = line.split("  ", 1)
            found.setdefault(who, set()).add(digest)
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: cannot be read. Copy the bundle again.") from error
    return {who: frozenset(digests) for who, digests in found.items()}
