"""Which rows a request wants, and what is said about them before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medfuse.errors import BankError
from medfuse.features.digests import ImageFacts
from medfuse.features.request import CaseImage
from medfuse.features.sizes import readable
from medfuse.features.store import PAGE_BYTES
from medfuse.features.wanted import Places, WantedRows

# What a row takes beside its values: key, checksum and sizes, and the key again in the index.
_HEAD_BYTES, _INDEX_BYTES = 110, 80


class Plan:
    """The distinct images of all cases, numbered as the cases come, and who shows each.

    Args:
        cases: what is asked for.
        facts: what is known of each image, by reference.
        augmentation: digest of what makes the views; empty where there is nothing.

    Attributes:
        wanted: rows of these images; of each as many views as the case that wants most.

    Raises:
        BankError: views are wanted, and nothing says what makes them.
    """

    def __init__(
        self, cases: Sequence[CaseImage], facts: Mapping[str, ImageFacts], augmentation: str = ""
    ) -> None:
        self._cases = cases
        self._views = np.array([case.views for case in cases], dtype=np.int64)
        if self._views.any() and not augmentation:
            case = cases[int(self._views.argmax())]
            raise BankError(f"case {case.case_id} asks for views, but no augmentation was given.")
        numbers: dict[str, int] = {}
        digests = (facts[case.reference].digest for case in cases)
        images = np.array([numbers.setdefault(d, len(numbers)) for d in digests], dtype=np.int64)
        self._order = np.argsort(images, kind="stable")
        self._starts = np.searchsorted(images[self._order], np.arange(len(numbers) + 1))
        most = np.zeros(len(numbers), dtype=np.int64)
        np.maximum.at(most, images, self._views)
        self.wanted = WantedRows(numbers, list(numbers), most, augmentation)

    def case(self, image: int) -> CaseImage:
        """Return the first case that shows an image: where to read it, and a name for it."""
        return self._cases[int(self._order[self._starts[image]])]

    def cases_with(self, rows: Places) -> tuple[np.ndarray, np.ndarray]:
        """Return which cases want which of the rows, as pairs in two arrays of equal length.

        The first holds positions in ``rows``, the second positions of cases: of each case that
        shows the image of a row and wants its view.
        """
        first = self._starts[rows.images]
        counts = self._starts[rows.images + 1] - first
        which = np.repeat(np.arange(len(rows)), counts)
        before = np.cumsum(counts) - counts
        cases = self._order[np.arange(len(which)) + (first - before)[which]]
        wants = self._views[cases] >= rows.views[which]
        return which[wants], cases[wants]


def row_bytes(feature_dim: int, tokens: int, itemsize: int) -> int:
    """Return about how much room one row takes in the bank."""
    row = feature_dim * max(tokens, 1) * itemsize + _HEAD_BYTES
    together = PAGE_BYTES // row  # a row is divided only where it is larger than a page
    return (PAGE_BYTES // together if together else row) + _INDEX_BYTES


def describe_known(images: int, new: Mapping[str, int]) -> list[str]:
    """Return ``1600 images: 1588 known, 12 new``, per source where they differ."""
    if not any(new.values()):
        return [f"{images} images: {images} known, 0 new; no backbone forward was needed"]
    if len(set(new.values())) == 1:
        return [_counts(images, next(iter(new.values())))]
    return [f"{label}: {_counts(images, count)}" for label, count in new.items()]


def describe_size(missing: Sequence[np.ndarray], new_bytes: int) -> str:
    """Return ``bank: 1600 images x 5 views x 2 sources = 9.2 MB new``.

    Args:
        missing: of each source, bool ``(images, views, slices)``.
        new_bytes: what they take together.
    """
    views = np.any([rows.any(axis=2) for rows in missing], axis=0).sum(axis=1)
    counts = views[views > 0]
    images = _plural(len(counts), "image")
    sources = _plural(sum(1 for rows in missing if rows.any()), "source")
    if len(set(counts.tolist())) == 1:
        product = f"{images} x {_plural(int(counts[0]), 'view')} x {sources}"
    else:
        product = f"{images}, {counts.sum()} views with the clean ones, {sources}"
    return f"bank: {product} = {readable(new_bytes)} new"


def _counts(images: int, new: int) -> str:
    return f"{images} images: {images - new} known, {new} new"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
