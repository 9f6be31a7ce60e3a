"""One of the sets that a backbone learns from: which of its cases may be used, and for what."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from medfuse.data import Case


@dataclass(frozen=True)
class ImageSet:
    """One of the sets that are learned from.

    Attributes:
        name: of its folder or file; of several with one name, with a number.
        kept: cases that may be learned from.
        left_out: how many may not, by reason.
        classes: names of its classes, where it has any.
        modality: of its images.
        held: cases that supervised learning is measured on.
    """

    name: str
    kept: tuple[Case, ...]
    left_out: dict[str, int]
    classes: tuple[str, ...] = ()
    modality: str = ""
    held: tuple[Case, ...] = ()

    def without(self, gone: Collection[str], reason: str) -> ImageSet:
        """Return the set without some cases to learn from, which are counted.

        Args:
            gone: their case ids.
            reason: code of why.
        """
        rest = tuple(case for case in self.kept if case.case_id not in gone)
        count = len(self.kept) - len(rest)
        left_out = {**self.left_out, **({reason: count} if count else {})}
        return replace(self, kept=rest, left_out=left_out)
