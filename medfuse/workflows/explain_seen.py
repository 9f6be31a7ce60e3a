"""Which images of explained cases the model, or a source inside it, learned from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from medfuse.bundle.seen import read_seen
from medfuse.data.readers import installed_readers
from medfuse.registry import load_registry
from medfuse.workflows.explain_case import AskedCase
from medfuse.workflows.explain_subject import Subject
from medfuse.workflows.seen import SeenCases, digests_of_files, find_seen


@dataclass(frozen=True)
class ExplainedImages:
    """The images of explained cases.

    Attributes:
        digests: the pixel digests of each case's images, in the order of the cases.
    """

    digests: tuple[frozenset[str], ...]

    def seen_by(self, subject: Subject) -> SeenCases:
        """Return which cases the bundle lists as learned from, and by whom."""
        return find_seen(self.digests, read_seen(subject.bundle))


def images_of(asked: Sequence[AskedCase]) -> ExplainedImages:
    """Return the images of cases; a file that cannot be read, or a table, has no digest."""
    items = [one.case.items.values() for one in asked]
    installed = installed_readers(load_registry())
    readers = [one.reader for one in installed.used_by(file for files in items for file in files)]
    return ExplainedImages(tuple(digests_of_files(files, readers) for files in items))


def same_images(own: Collection[str], others: Sequence[Collection[str]]) -> list[int]:
    """Return the places of those that have an image in common with ``own``."""
    return [place for place, other in enumerate(others) if not set(own).isdisjoint(other)]
