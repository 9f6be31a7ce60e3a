"""Where a text in a narrow column may break."""

from __future__ import annotations

import re

_JOINT = re.compile(r"(?<=[:/_])(?=\w)")
_LONGEST = 24


def pieces(text: str) -> list[tuple[str, bool]]:
    """Return the pieces of a text, between which it may break, and whether each is long.

    A name breaks after ``:``, ``/`` and ``_``. A piece is long with a word of more than 24
    characters, which has to break anywhere; other words never do, so that a column is as wide as
    its words.
    """
    found = _JOINT.split(text)
    return [(one, max(map(len, one.split()), default=0) > _LONGEST) for one in found]
