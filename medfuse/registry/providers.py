"""Which installed distribution provides which importable package."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import MappingProxyType


def normalized_name(distribution: str) -> str:
    """Return a distribution's name as indexes compare it: lower case, dashes."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def import_providers() -> Mapping[str, tuple[str, ...]]:
    """Return the normalized names of the distributions that provide each top-level import.

    ``importlib.metadata.packages_distributions`` before Python 3.11 knows only those with a
    ``top_level.txt``, which many wheels lack. Every file list is read, which takes a fifth of a
    second: it is done again only after an entry of a folder on the search path came or went.
    """
    return _providers(tuple((folder, _changed(folder)) for folder in sys.path))


@lru_cache(maxsize=1)
def _providers(places: tuple[tuple[str, int], ...]) -> Mapping[str, tuple[str, ...]]:
    del places  # only tells whether the answer still holds
    providers: dict[str, list[str]] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        for top in _top_level(distribution) if name else ():
            providers.setdefault(top, []).append(normalized_name(name))
    return MappingProxyType({top: tuple(names) for top, names in providers.items()})


def _changed(folder: str) -> int:
    """Return when an entry of ``folder`` was last added or removed; 0 if there is none."""
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


def _top_level(distribution: Distribution) -> set[str]:
    declared = (distribution.read_text("top_level.txt") or "").split()
    if declared:
        return set(declared)
    tops = {file.parts[0] for file in distribution.files or () if file.suffix in (".py", ".so")}
    return {top.partition(".")[0] for top in tops if top.isidentifier() or top.endswith(".py")}
