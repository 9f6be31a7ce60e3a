"""Pixel digests of cases: one per image, by which one picture in two places is found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from medfuse.data.cells import holds_cells
from medfuse.data.cohort import Case

Digests: TypeAlias = Mapping[str, str | Mapping[str, str]]
"""Case id to the digest of its image, or to digests by input name."""


def digests_of(digests: Digests, case: Case) -> dict[str, str]:
    """Return the pixel digests of a case by input name; a tabular input has none."""
    found = digests.get(case.case_id, {})
    images = [name for name in sorted(case.inputs) if not holds_cells(case.inputs[name])]
    if isinstance(found, str):
        return {images[0]: found} if images else {}
    return {name: found[name] for name in images if name in found}
