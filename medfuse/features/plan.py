"""Which rows a request wants, and what is said about them before anything is computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medfuse.errors import BankError
from medfuse.features.digests import ImageFacts
from medfuse.features.keys import BankKey
from medfuse.features.request import CaseImage
from medfuse.features.sizes import readable

# What a row takes beside its values: key, its second copy in the index, checksum, page slack.
_ROW_BYTES = 400


@dataclass(frozen=True)
class WantedImage:
    """One distinct image, where to read it, and the cases that show it."""

    digest: str
    reference: str
    case_id: str
    places: list[tuple[int, int]] = field(default_factory=list)

    @property
    def views(self) -> int:
        """The most augmented views that a case wants of it."""
        return max(views for _, views in self.places)

    def cases_with(self, view: int) -> list[int]:
        """Return the positions of the cases that want this view."""
        return [case for case, views in self.places if views >= view]


def wanted_images(
    cases: Sequence[CaseImage], facts: Mapping[str, ImageFacts]
) -> dict[str, WantedImage]:
    """Return the distinct images of all cases by digest, in the order of the cases."""
    images: dict[str, WantedImage] = {}
    for position, case in enumerate(cases):
        digest = facts[case.reference].digest
        image = images.setdefault(digest, WantedImage(digest, case.reference, case.case_id))
        image.places.append((position, case.views))
    return images


def wanted_keys(images: Mapping[str, WantedImage], augmentation: str) -> list[BankKey]:
    """Return the key of every wanted row, image by image.

    Args:
        images: the distinct images.
        augmentation: digest of what makes the views.

    Raises:
        BankError: views are wanted, and nothing says what makes them.
    """
    keys = []
    for image in images.values():
        if image.views and not augmentation:
            raise BankError(f"case {image.case_id} asks for views, but no augmentation was given.")
        keys.append(BankKey(image.digest))
        keys += [
            BankKey(image.digest, view, augmentation=augmentation)
            for view in range(1, image.views + 1)
        ]
    return keys


def row_bytes(feature_dim: int, tokens: int, itemsize: int) -> int:
    """Return about how much room one row takes in the bank."""
    return feature_dim * max(tokens, 1) * itemsize + _ROW_BYTES


def describe_known(images: int, new: Mapping[str, int]) -> list[str]:
    """Return ``1600 images: 1588 known, 12 new``, per source where they differ."""
    if not any(new.values()):
        return [f"{images} images: {images} known, 0 new; no backbone forward was needed"]
    if len(set(new.values())) == 1:
        return [_counts(images, next(iter(new.values())))]
    return [f"{label}: {_counts(images, count)}" for label, count in new.items()]


def describe_size(missing: Mapping[str, Sequence[BankKey]], new_bytes: int) -> str:
    """Return ``bank: 1600 images x 5 views x 2 sources = 9.2 MB new``."""
    views: dict[str, set[int]] = defaultdict(set)
    for keys in missing.values():
        for key in keys:
            views[key.image].add(key.view)
    counts = {len(found) for found in views.values()}
    sources = _plural(sum(1 for keys in missing.values() if keys), "source")
    if len(counts) == 1:
        product = f"{_plural(len(views), 'image')} x {_plural(counts.pop(), 'view')} x {sources}"
    else:
        total = sum(len(found) for found in views.values())
        product = f"{_plural(len(views), 'image')}, {total} views with the clean ones, {sources}"
    return f"bank: {product} = {readable(new_bytes)} new"


def _counts(images: int, new: int) -> str:
    return f"{images} images: {images - new} known, {new} new"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
