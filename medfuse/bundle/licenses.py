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
    (
        *(f"CC-BY-NC-{number}" for number in ("1.0", "2.0", "2.5", "3.0", "4.0")),
        *(f"CC-BY-NC-SA-{number}" for number in ("1.0", "2.0", "2.5", "3.0", "4.0")),
        "PolyForm-Noncommercial-1.0.0",
        "Prosperity-3.0.0",
    ),
    (
        *(f"CC-BY-NC-ND-{number}" for number in ("1.0", "2.0", "2.5", "3.0", "4.0")),
        "LicenseRef-research-only",
        "LicenseRef-fair-noncommercial-research-license",
        "LicenseRef-apple-amlr",
    ),
)
# Licenses of published weights with conditions of their own, which only a reader can judge.
_OWN_TERMS = tuple(
    f"LicenseRef-{name}"
    for name in (
        *("apple-ascl", "cvnets-license", "dinov3-license", "fastvit-license", "gemma"),
        *("mobileone-license", "nvidia-open-model-license", "qwen-community-1.0"),
        *("sapiens2-license", "seer-license"),
    )
)
_RANK = {name.lower(): rank for rank, row in enumerate(_ROWS) for name in row}
_UNKNOWN_RANK = len(_ROWS)
_NON_COMMERCIAL_RANK = 5
_OF_FAMILY = "forbids commercial use"
_TERMS = {
    **{name.lower(): _OF_FAMILY for row in _ROWS[5:] for name in row},
    **{name.lower(): "forbids all but research" for name in _ROWS[6] if "Ref" in name},
    **{name.lower(): "has conditions of its own on what may be done" for name in _OWN_TERMS},
}


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


def restricted(expression: str) -> dict[str, str]:
    """Return each license that restricts for what a work may be used, and what it forbids.

    Of ``A OR B`` it is the alternative that restricts least, among those that medfuse knows; of a
    license that it does not know nothing is said.
    """
    alternatives = _split(expression, "OR")
    if len(alternatives) > 1:
        known = [text for text in alternatives if rank(text) < _UNKNOWN_RANK or restricted(text)]
        return min((restricted(text) for text in known), key=len, default={})
    parts = _split(expression, "AND")
    if len(parts) > 1:
        return {name: terms for text in parts for name, terms in restricted(text).items()}
    if _is_enclosed(parts[0]):
        return restricted(parts[0][1:-1])
    bare = _bare(parts[0])
    terms = _TERMS.get(bare.lower(), _OF_FAMILY if _is_non_commercial(bare) else None)
    return {} if terms is None else {bare: terms}


def rank(expression: str) -> int:
    """Return how strict an SPDX expression is; a larger number is stricter."""
    alternatives = _split(expression, "OR")
    if len(alternatives) > 1:
        return min(map(rank, alternatives))
    parts = _split(expression, "AND")
    if len(parts) > 1:
        return max(map(rank, parts))
    return rank(parts[0][1:-1]) if _is_enclosed(parts[0]) else _rank_of(parts[0])


def _conjunction(expressions: list[str]) -> str:
    """Join by AND; what several expressions have in common is named once."""
    found = {part.lower(): part for text in expressions for part in _parts(text)}
    parts = sorted(found.values(), key=lambda part: part.strip("("))
    return parts[0][1:-1] if len(parts) == 1 and _is_enclosed(parts[0]) else " AND ".join(parts)


def _parts(expression: str) -> list[str]:
    """Return what has to hold together; alternatives stay one part, in parentheses."""
    if len(_split(expression, "OR")) > 1:
        return [f"({expression})"]
    parts = _split(expression, "AND")
    if len(parts) > 1:
        return [inner for part in parts for inner in _parts(part)]
    return _parts(parts[0][1:-1]) if _is_enclosed(parts[0]) else parts


def _split(expression: str, word: str) -> list[str]:
    """Return what stands between the words outside of all parentheses."""
    depth, parts = 0, [""]
    for piece in re.findall(r"[()]|[^\s()]+", expression):
        depth += (piece == "(") - (piece == ")")
        if piece.upper() == word and depth == 0:
            parts.append("")
        else:
            parts[-1] += f" {piece}"
    return [re.sub(r"(?<=\() | (?=\))", "", part.strip()) for part in parts]


def _is_enclosed(part: str) -> bool:
    return part.startswith("(") and part.endswith(")")


def _rank_of(name: str) -> int:
    bare = _bare(name)
    family = _NON_COMMERCIAL_RANK if _is_non_commercial(bare) else _UNKNOWN_RANK
    return _RANK.get(bare.lower(), family)


def _bare(name: str) -> str:
    return re.sub(r"\s+WITH\s+.*$", "", name.strip(), flags=re.IGNORECASE)


def _is_non_commercial(name: str) -> bool:
    """Return whether a name is of the family CC-BY-NC, which has ports such as -3.0-IGO."""
    return bool(re.match(r"CC-BY-NC(-|$)", name, re.IGNORECASE))


def _commercial(ranks: list[int]) -> bool | None:
    if any(_NON_COMMERCIAL_RANK <= found < _UNKNOWN_RANK for found in ranks):
        return False
    return None if not ranks or _UNKNOWN_RANK in ranks else True
