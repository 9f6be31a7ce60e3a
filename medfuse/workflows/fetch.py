"""Fetch: the name of a public set -> a cohort that `train` takes as it is."""

from __future__ import annotations

from pathlib import Path

from medfuse.data.public import Fetched, FetchOptions, PublicSet, fetch_set, public_sets


def fetch(
    name: str,
    out: Path | str,
    *,
    download: bool = False,
    size: int | None = None,
    structure: str | None = None,
) -> Fetched:
    """Return the cohort of a public set.

    Files that are already in ``out`` are used; anything else needs ``download``.

    Args:
        name: as `available` lists it.
        out: folder of the files.
        download: the network may be used.
        size: pixels of a MedMNIST set: 28, 64, 128 or 224.
        structure: of a Decathlon task: the class is whether it is there.

    Raises:
        ConfigError: there is no such set, size or structure.
        CohortError: its files are absent or damaged, or cannot be fetched.
    """
    return fetch_set(name, FetchOptions(Path(out), download, size, structure))


def available() -> dict[str, PublicSet]:
    """Return every public set by its name."""
    return public_sets()
