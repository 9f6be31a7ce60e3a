"""The nearest known name for a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``' Did you mean "x"?'``, or an empty string where nothing is near.

    Args:
        name: the name that was not found.
        known: all names that would have been accepted.
    """
    candidates = sorted({str(item) for item in known})
    by_lower = {item.lower(): item for item in candidates}
    near = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return f' Did you mean "{by_lower[near[0]]}"?' if near else ""
