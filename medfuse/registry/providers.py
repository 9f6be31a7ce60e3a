"""Which installed distribution provides which importable package."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distributions


def normalized_name(distribution: str) -> str:
    """Return a distribution's name as indexes compare it: lower case, dashes."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def import_providers() -> dict[str, list[str]]:
    """Return the normalized names of the distributions that provide each top-level import.

    ``importlib.metadata.packages_distributions`` before Python 3.11 knows only those with a
    ``top_level.txt``, which many wheels lack.
    """
    providers: dict[str, list[str]] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        for top in _top_level(distribution) if name else ():
            providers.setdefault(top, []).append(normalized_name(name))
    return providers


def _top_level(distribution: Distribution) -> set[str]:
    declared = (distribution.read_text("top_level.txt") or "").split()
    if declared:
        return set(declared)
    tops = {file.parts[0] for file in distribution.files or () if file.suffix in (".py", ".so")}
    return {top.partition(".")[0] for top in tops if top.isidentifier() or top.endswith(".py")}
