"""Rows that are wanted together, in columns: some views of many images, known by their numbers.

A cohort may have millions of images: an object for each view of each would take more memory than
the features themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from medfuse.features.keys import BankKey
from medfuse.features.rows import Columns


class Row(NamedTuple):
    """The place of one row: number of its image, view, slice (0 for 2D images)."""

    image: int
    view: int
    slice: int


# A `Row` as a plain tuple: there may be millions, and a `Row` takes ten times as long to make.
Place: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Places:
    """The places of R rows, in columns as long as there are rows."""

    images: np.ndarray
    views: np.ndarray
    slices: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Place]) -> Places:
        """Return the places of some rows."""
        return cls(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.images)


@dataclass(frozen=True)
class WantedRows:
    """The clean view of every image, and some augmented ones of those that have any.

    Args:
        numbers: of the images by digest.
        digests: of the images by number.
        views: how many augmented views of each image are wanted, ``(images,)``.
        augmentation: digest of what makes them.
    """

    numbers: Mapping[str, int]
    digests: Sequence[str]
    views: np.ndarray
    augmentation: str = ""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.digests)

    def table(self, slices: int) -> np.ndarray:
        """Return which rows are wanted, bool ``(images, 1 + most views, slices)``."""
        views = np.arange(1 + self.views.max(initial=0))
        return np.repeat((views <= self.views[:, None])[..., None], slices, axis=2)

    def key(self, row: Row) -> BankKey:
        """Return what a row is called in the bank."""
        augmentation = self.augmentation if row.view else ""
        return BankKey(self.digests[row.image], row.view, row.slice, augmentation)

    def find(self, columns: Columns, slices: int) -> Place | None:
        """Return the place of a row by its key, the first columns; ``None`` if it is not wanted.

        Whether the columns are whole is not looked at.
        """
        image, augmentation, view, number = columns[:4]
        try:
            place = self.numbers.get(image.hex())
            if place is None or not isinstance(number, int) or not 0 <= number < slices:
                return None
            if view == 0:
                return (place, 0, number) if augmentation == b"" else None
            known = isinstance(view, int) and 0 < view <= self.views[place]
            known = known and augmentation.hex() == self.augmentation
        except (AttributeError, TypeError):  # of a damaged row
            return None
        return (place, view, number) if known else None
