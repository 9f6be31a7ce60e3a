"""Divide groups of cases over parts so that each of several labels has its share in each part.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011, "On the stratification of
multi-label data", doi:10.1007/978-3-642-23808-6_10): the rarest label is placed first, each of its
cases where most of it is still wished for. Three deviations:

- Cases of one patient move together, groups with many of the label first.
- Both answers of a label are strata, so that a label which most cases have keeps its negatives.
- Ties are decided by hashes, so that the order of the cases and the platform do not matter.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

from medfuse.data.allocate import Group

_ALL = "all"


def allocate_labels(
    groups: Sequence[Group], shares: Mapping[str, float], seed: str
) -> dict[str, str]:
    """Return a part for each case id.

    Args:
        groups: cases that stay together.
        shares: wished fraction by part; they sum to 1.
        seed: decides between equally good places.
    """
    counts = [_counted(group) for group in groups]
    keys = [_key(seed, min(case.case_id for case in group)) for group in groups]
    totals: Counter[Hashable] = sum(counts, Counter())
    wished = {(p, s): share * n for p, share in shares.items() for s, n in totals.items()}
    chosen: dict[str, str] = {}
    left = set(range(len(groups)))
    while left:
        stratum = _rarest(counts, left)
        having = [index for index in left if counts[index][stratum]]
        for index in sorted(having, key=lambda i: (-counts[i][stratum], keys[i])):
            part = min(shares, key=lambda p: _order(p, stratum, wished, keys[index]))
            for one, count in counts[index].items():
                wished[part, one] -= count
            chosen.update({case.case_id: part for case in groups[index]})
        left -= set(having)
    return chosen


def _counted(group: Group) -> Counter[Hashable]:
    counts: Counter[Hashable] = Counter(s for case in group for s in case.strata)
    counts[_ALL] = len(group)
    return counts


def _rarest(counts: Sequence[Counter[Hashable]], left: set[int]) -> Hashable:
    """Return the answer that the fewest cases left have; cases without any come last."""
    remaining: Counter[Hashable] = sum((counts[index] for index in left), Counter())
    return min(remaining, key=lambda s: (s == _ALL, remaining[s], str(s)))


def _order(
    part: str, stratum: Hashable, wished: Mapping[tuple[str, Hashable], float], key: str
) -> tuple[float, float, str]:
    """Return what is smallest for the part that wants the stratum most, then any case most."""
    wants, room = round(wished[part, stratum], 9), round(wished[part, _ALL], 9)
    return -wants, -room, _key(key, part)


def _key(seed: str, name: str) -> str:
    return hashlib.sha256(f"{seed}|{name}".encode()).hexdigest()
