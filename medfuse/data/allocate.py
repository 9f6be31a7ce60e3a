"""Divide groups of cases over parts so that each class has its share in each part.

Greedy allocation, the largest groups first, as in scikit-learn's ``StratifiedGroupKFold``, but
for parts of unequal size and, through hashes in place of a random generator, independent of the
order of the cases and of the platform. With one case per group it is the proportional
stratification of Sechidis, Tsoumakas and Vlahavas (2011, doi 10.1007/978-3-642-23808-6_10), in
which a case counts for its label and, where the cases come from several sites or differ in the
inputs they have, for its label at its site and with its inputs as well.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from medfuse.data.cohort import Case

Group = Sequence[Case]


@dataclass
class _Balance:
    """Cases per (part, stratum) so far, and as wished.

    A stratum is a label, a label at a site, a label with a set of inputs, or ``"all"``, which is
    every case.
    """

    wished: dict[tuple[str, object], float]
    placed: Counter[tuple[str, object]]
    weight: dict[object, float]

    def cost(self, part: str, counts: Mapping[object, int]) -> float:
        """Return how much the squared deviation grows if the group goes to ``part``."""
        change = 0.0
        for stratum, count in counts.items():
            gap = self.placed[part, stratum] - self.wished[part, stratum]
            change += self.weight[stratum] * ((gap + count) ** 2 - gap**2)
        return round(change, 9)


def allocate(groups: Sequence[Group], shares: Mapping[str, float], seed: str) -> dict[str, str]:
    """Return a part for each case id.

    Args:
        groups: cases that stay together.
        shares: wished fraction by part; they sum to 1. The largest part pays for the rounding:
            every other part gets at least one case of a class that has enough of them.
        seed: decides between equally good places.
    """
    counts = _counted(groups)
    keys = [_key(seed, group) for group in groups]
    balance = _Balance(_wishes(counts, shares), Counter(), _weights(counts))
    order = sorted(range(len(groups)), key=lambda i: (-max(counts[i].values()), keys[i]))
    chosen: dict[str, str] = {}
    for index in order:
        part = min(shares, key=lambda p: (balance.cost(p, counts[index]), _tie(keys[index], p)))
        for stratum, count in counts[index].items():
            balance.placed[part, stratum] += count
        chosen.update({case.case_id: part for case in groups[index]})
    return chosen


def _counted(groups: Sequence[Group]) -> list[Counter[object]]:
    """Return the cases by stratum of each group; what all cases share divides nothing."""
    traits: dict[str, Callable[[Case], Hashable]] = {
        "site": lambda case: case.site,
        "inputs": lambda case: tuple(sorted(case.inputs)),
    }
    dividing = {
        name: trait
        for name, trait in traits.items()
        if len({trait(case) for group in groups for case in group}) > 1
    }
    return [_counts(group, dividing) for group in groups]


def _counts(group: Group, traits: Mapping[str, Callable[[Case], Hashable]]) -> Counter[object]:
    counts: Counter[object] = Counter(case.label for case in group)
    for name, trait in traits.items():
        counts.update((case.label, name, trait(case)) for case in group)
    counts["all"] = len(group)
    return counts


def _wishes(
    counts: Sequence[Counter[object]], shares: Mapping[str, float]
) -> dict[tuple[str, object], float]:
    totals: Counter[object] = sum(counts, Counter())
    available = Counter(stratum for count in counts for stratum in count)
    largest = max(shares, key=lambda part: shares[part])
    wished: dict[tuple[str, object], float] = {}
    for stratum, total in totals.items():
        enough = available[stratum] >= len(shares)
        for part, share in shares.items():
            wished[part, stratum] = max(share * total, 1.0) if enough else share * total
        others = sum(wished[part, stratum] for part in shares if part != largest)
        wished[largest, stratum] = total - others
    return wished


def _weights(counts: Sequence[Counter[object]]) -> dict[object, float]:
    totals: Counter[object] = sum(counts, Counter())
    return {stratum: 1.0 / total for stratum, total in totals.items()}


def _key(seed: str, group: Group) -> str:
    name = min(case.case_id for case in group)
    return hashlib.sha256(f"{seed}|{name}".encode()).hexdigest()


def _tie(key: str, part: str) -> str:
    return hashlib.sha256(f"{key}|{part}".encode()).hexdigest()
