"""A subgroup column as the configuration names it: ``sex``, or ``age:40:65`` in bands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

MISSING = "(missing)"


@dataclass(frozen=True)
class Subgroup:
    """A column of the cohort by which metrics are repeated.

    Attributes:
        column: its name.
        cuts: ascending numbers that divide a column of numbers into bands; none for a column of
            words.
    """

    column: str
    cuts: tuple[float, ...] = ()

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of the bands, the lowest first: ``below 40``, ``40 to below 65``, ..."""
        if not self.cuts:
            return ()
        texts = [f"{cut:g}" for cut in self.cuts]
        between = [f"{low} to below {high}" for low, high in pairwise(texts)]
        return (f"below {texts[0]}", *between, f"{texts[-1]} and above")

    def group_of(self, cell: str) -> str:
        """Return the group that a cell's text puts a case into; `MISSING` for an empty one.

        Raises:
            ValueError: there are cuts, and the cell is no number.
        """
        text = cell.strip()
        if not text:
            return MISSING
        if not self.cuts:
            return text
        number = float(text)
        if math.isnan(number):
            return MISSING
        return self.bands[sum(number >= cut for cut in self.cuts)]


def parse_subgroup(text: str) -> Subgroup:
    """Return the subgroup of ``column`` or ``column:CUT:CUT``.

    >>> parse_subgroup("age:40:65").bands
    ('below 40', '40 to below 65', '65 and above')

    Raises:
        ValueError: a cut is no number, or they do not ascend.
    """
    column, *cuts = [part.strip() for part in text.split(":")]
    try:
        numbers = tuple(map(float, cuts))
    except ValueError:
        numbers = (math.nan,)
    ascending = all(low < high for low, high in pairwise(numbers))
    if not column or not ascending or not all(map(math.isfinite, numbers)):
        raise ValueError(
            f"found {text[:80]!r}, expected a column, or a column and ascending numbers that cut "
            "it into bands, as in age:40:65"
        )
    return Subgroup(column, numbers)
