"""One picture in several cases: exactly, or nearly (recompressed, resized, brightened, mirrored).

Near duplicates are found in two steps: hashes that differ in at most 8 of 64 bits, then a
correlation of the thumbnails' detail of at least 0.9. On five real sets the first step alone
names up to 23,000 pairs of different images per 6,000, the second leaves the copies; see
``docs/data_check.md`` for the measurement.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medfuse.audit.hashing import close_pairs, detail, perceptual_hash
from medfuse.audit.scan import Seen
from medfuse.data.cohort import contradictory
from medfuse.data.groups import components

MOST_BITS = 8
LEAST_CORRELATION = 0.9
_PAIRS = 5_000


@dataclass(frozen=True)
class DuplicateGroup:
    """Files that show one picture.

    Attributes:
        kind: ``exact`` (identical pixels) or ``near``.
        members: places in the scan's ``seen``.
        cases: their case ids, in the same order.
        labels: the different labels among them; of several per case, those that hold in some.
        roles: the different parts of the split among them.
        patients: how many patients they are of.
        mirrored: some of them are left-right mirror images of others.
        contradictory: their labels differ; of several per case, one holds here and not there.
    """

    kind: Literal["exact", "near"]
    members: tuple[int, ...]
    cases: tuple[str, ...]
    labels: tuple[int, ...]
    roles: tuple[str, ...]
    patients: int
    mirrored: bool = False
    contradictory: bool = False


@dataclass(frozen=True, eq=False)
class _Pairs:
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    mirrored: NDArray[np.bool_]


def find_duplicates(seen: Sequence[Seen]) -> list[DuplicateGroup]:
    """Return the groups of exact and of near duplicates, the exact first, the largest first.

    A group of near duplicates stands for each exact group by one member, so that nothing is
    reported twice. Files of one case are never reported against each other.
    """
    exact = _exact_groups(seen)
    stands = np.array(sorted({members[0] for members in _by_digest(seen)}), dtype=np.int64)
    pairs = _near_pairs([seen[i] for i in stands])
    links = [
        (int(stands[a]), int(stands[b])) for a, b in zip(pairs.first, pairs.second, strict=True)
    ]
    flipped = {link for link, mirror in zip(links, pairs.mirrored, strict=True) if mirror}
    near = [
        _group("near", members, seen, any(set(link) <= set(members) for link in flipped))
        for members in _linked(links)
    ]
    groups = [g for g in (*exact, *near) if len(set(g.cases)) > 1]
    return sorted(groups, key=lambda g: (g.kind, -len(g.members), g.cases))


def _exact_groups(seen: Sequence[Seen]) -> list[DuplicateGroup]:
    return [_group("exact", m, seen) for m in _by_digest(seen) if len(m) > 1]


def _by_digest(seen: Sequence[Seen]) -> list[list[int]]:
    found: dict[str, list[int]] = {}
    for index, item in enumerate(seen):
        found.setdefault(item.look.digest, []).append(index)
    return list(found.values())


def _near_pairs(seen: Sequence[Seen]) -> _Pairs:
    if len(seen) < 2:
        nothing = np.zeros(0, dtype=np.int64)
        return _Pairs(nothing, nothing, np.zeros(0, dtype=bool))
    thumbnails = np.stack([item.look.thumbnail for item in seen])
    plain = perceptual_hash(thumbnails)
    mirrored = perceptual_hash(thumbnails[:, :, ::-1])
    found = [_confirmed(thumbnails, thumbnails, plain, plain)]
    found.append(_confirmed(thumbnails, thumbnails[:, :, ::-1], plain, mirrored))
    first, second = (np.concatenate([pair[i] for pair in found]) for i in (0, 1))
    flags = np.repeat([False, True], [len(pair[0]) for pair in found])
    return _Pairs(first, second, flags)


def _confirmed(
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    left_hash: NDArray[np.uint64],
    right_hash: NDArray[np.uint64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    kept: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for i, j in close_pairs(left_hash, right_hash, MOST_BITS):
        for start in range(0, len(i), _PAIRS):
            a, b = i[start : start + _PAIRS], j[start : start + _PAIRS]
            sure = _correlation(left, a, right, b) >= LEAST_CORRELATION
            kept.append((a[sure], b[sure]))
    empty = np.zeros(0, dtype=np.int64)
    return (
        np.concatenate([a for a, _ in kept] or [empty]),
        np.concatenate([b for _, b in kept] or [empty]),
    )


def _correlation(
    left: NDArray[np.uint8], a: NDArray[np.int64], right: NDArray[np.uint8], b: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the correlation of detail of each pair; each thumbnail is filtered once."""
    rows_a, at_a = np.unique(a, return_inverse=True)
    rows_b, at_b = np.unique(b, return_inverse=True)
    one, two = detail(left[rows_a])[at_a], detail(right[rows_b])[at_b]
    return np.asarray(np.einsum("ij,ij->i", one, two))


def _linked(links: Iterable[tuple[int, int]]) -> list[list[int]]:
    pairs = list(links)
    places = sorted({place for pair in pairs for place in pair})
    keys: dict[int, list[Hashable]] = {place: [place] for place in places}
    for pair in pairs:
        for place in pair:
            keys[place].append(pair)
    groups: dict[int, list[int]] = {}
    for place, root in zip(places, components([keys[p] for p in places]), strict=True):
        groups.setdefault(root, []).append(place)
    return list(groups.values())


def _group(
    kind: Literal["exact", "near"],
    members: Sequence[int],
    seen: Sequence[Seen],
    mirrored: bool = False,
) -> DuplicateGroup:
    cases = [seen[index].case for index in members]
    return DuplicateGroup(
        kind=kind,
        members=tuple(members),
        cases=tuple(case.case_id for case in cases),
        labels=tuple(sorted({i for case in cases for i in case.held})),
        roles=tuple(sorted({case.role for case in cases if case.role is not None})),
        patients=len({case.patient_id for case in cases}),
        mirrored=mirrored,
        contradictory=contradictory(cases),
    )
