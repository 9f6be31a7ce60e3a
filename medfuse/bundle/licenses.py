"""The strictest license of all parts is the bundle's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

UNKNOWN = "LicenseRef-unknown"

# From no condition to none granted; within a row no order is claimed.
_ROWS: tuple[tuple[str, ...], ...] = (
    ("CC0-1.0", "Unlicense", "0BSD", "PDDL-1.0"),
    ("MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC", "CC-BY-3.0", "CC-BY-4.0"),
    ("MPL-2.0", "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later"),
    ("CC-BY-SA-4.0", "GPL-2.0-only", "GPL-3.0-only", "GPL-3.0-or-later"),
    ("AGPL-3.0-only", "AGPL-3.0-or-later"),
    ("CC-BY-NC-3.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0"),
    ("CC-BY-NC-ND-4.0", "LicenseRef-research-only"),
)
_RANK = {name.lower(): rank for rank, row in enumerate(_ROWS) for name in row}
_UNKNOWN_RANK = len(_ROWS)
_NON_COMMERCIAL_RANK = 5


@dataclass(frozen=True)
class LicenseVerdict:
    """What the licenses of all parts add up to.

    Attributes:
        expression: SPDX expression of the strictest ones, joined by AND where several are.
        commercial: ``True``, ``False``, or ``None`` where an unknown license leaves it open.
        unknown: the expressions whose terms medfuse does not know.
    """

    expression: str
    commercial: bool | None
    unknown: tuple[str, ...]


def strictest(licenses: Iterable[str]) -> LicenseVerdict:
    """Return the strictest of SPDX expressions; one that is not known counts as strictest.

    Args:
        licenses: SPDX expressions; an empty one is `UNKNOWN`. ``A OR B`` counts as its freest
            part, ``A AND B`` as its strictest.
    """
    named = sorted({text.strip() or UNKNOWN for text in licenses})
    ranked = [(rank(text), text) for text in named]
    top = max((found for found, _ in ranked), default=_UNKNOWN_RANK)
    unknown = tuple(text for found, text in ranked if found == _UNKNOWN_RANK)
    return LicenseVerdict(
        expression=_conjunction([text for found, text in ranked if found == top]) or UNKNOWN,
        commercial=_commercial([found for found, _ in ranked]),
        unknown=unknown,
    )


def rank(expression: str) -> int:
    """Return how strict an SPDX expression is; a larger number is stricter."""
    parts = re.split(r"\s+OR\s+", expression.strip("() "))
    return min(max(_rank_of(name) for name in re.split(r"\s+AND\s+", part)) for part in parts)


def _conjunction(expressions: list[str]) -> str:
    several = len(expressions) > 1
    return " AND ".join(f"({e})" if several and " OR " in e else e for e in expressions)


def _rank_of(name: str) -> int:
    bare = re.sub(r"\s+WITH\s+.*$", "", name.strip("() "))
    return _RANK.get(bare.lower(), _UNKNOWN_RANK)


def _commercial(ranks: list[int]) -> bool | None:
    if any(_NON_COMMERCIAL_RANK <= found < _UNKNOWN_RANK for found in ranks):
        return False
    return None if not ranks or _UNKNOWN_RANK in ranks else True
