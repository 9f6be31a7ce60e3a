"""What happened to a case or a file, by code: nothing is skipped or repaired silently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True)
class Event:
    """One thing that was skipped, repaired, converted, dropped or refused.

    Attributes:
        code: short upper-case reason, for example ``EXIF_ROTATED``.
        subject: the case id, or the file where there is no case yet.
        detail: what was done, in a few words; never a patient identifier.
        left_out: the case or file is not used at all.
    """

    code: str
    subject: str
    detail: str = ""
    left_out: bool = field(default=False, compare=False)


def tally(events: Iterable[Event]) -> dict[str, int]:
    """Return how often each code occurred, the codes in alphabetical order."""
    return dict(sorted(Counter(event.code for event in events).items()))
