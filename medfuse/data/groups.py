"""Cases that must stay together: one patient, or one picture under two names."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from medfuse.data.cohort import Case
from medfuse.data.digests import Digests, digests_of


def link_cases(cases: Sequence[Case], digests: Digests | None = None) -> list[list[Case]]:
    """Return the connected components of "same patient" and "same pixels".

    Args:
        cases: to be grouped; the components come in the order of their first case.
        digests: pixel digests by case id; cases without one are linked by patient only.
    """
    links: list[list[Hashable]] = [[("patient", case.patient_id)] for case in cases]
    for case, keys in zip(cases, links, strict=True):
        keys.extend(("pixels", found) for found in digests_of(digests or {}, case).values())
    roots = components(links)
    grouped: dict[int, list[Case]] = {}
    for case, root in zip(cases, roots, strict=True):
        grouped.setdefault(root, []).append(case)
    return list(grouped.values())


def components(links: Sequence[Iterable[Hashable]]) -> list[int]:
    """Return the component of each item, by the first item in it: items that share a key.

    Union-find with path halving.
    """
    parent = list(range(len(links)))

    def find(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[Hashable, int] = {}
    for item, keys in enumerate(links):
        for key in keys:
            a, b = find(first.setdefault(key, item)), find(item)
            parent[max(a, b)] = min(a, b)
    return [find(item) for item in range(len(links))]
