"""Which measured images a model, or a source inside it, has learned from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from medfuse.backbones.build import BuiltSource
from medfuse.backbones.seen import seen_images
from medfuse.data.cells import holds_cells
from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.pixel_digest import pixel_digest
from medfuse.data.plugin_reader import PluginReader
from medfuse.data.volume_digest import volume_digest
from medfuse.data.volume_file import read_volume

GROUP = "seen in training"


@dataclass(frozen=True)
class SeenCases:
    """Who learned from which of the measured cases.

    Attributes:
        by: for each case the names of those who saw one of its images; mostly none.
    """

    by: tuple[tuple[str, ...], ...]

    @property
    def groups(self) -> dict[str, list[str]]:
        """The column for metrics with and without these cases, where there are both."""
        if not any(self.by) or all(self.by):
            return {}
        return {GROUP: ["yes" if names else "no" for names in self.by]}

    def summary(self) -> dict[str, Any]:
        """Return how many cases were seen, in all and by whom, as plain data."""
        names = sorted({name for found in self.by for name in found})
        return {
            "cases": sum(map(bool, self.by)),
            "by": {name: sum(name in found for found in self.by) for name in names},
        }

    def warning(self) -> str:
        """Return what a reader must know before trusting a number; empty where there is nothing."""
        return self.told("measured") + (f" See the metrics by {GROUP!r}." if self.groups else "")

    def told(self, done: str) -> str:
        """Return how many cases were seen and by whom; empty where none was.

        Args:
            done: what was done with the cases, such as ``measured``.
        """
        count = sum(map(bool, self.by))
        if not count:
            return ""
        who = " and ".join(f"{name} ({n})" for name, n in self.summary()["by"].items())
        return (
            f"{count} of {len(self.by)} {done} cases were learned from by {who}: they tell "
            "little about new images."
        )


def find_seen(digests: Sequence[Collection[str]], seen: Mapping[str, frozenset[str]]) -> SeenCases:
    """Return which cases were seen, by the pixel digests of their images."""
    return SeenCases(
        tuple(
            tuple(who for who, known in seen.items() if not known.isdisjoint(images))
            for images in digests
        )
    )


def seen_by_sources(sources: Sequence[BuiltSource]) -> dict[str, frozenset[str]]:
    """Return the images that each source's weights list as seen, by the source's label."""
    return {
        source.label: seen_images(weights, source.card.get("learners", ()))
        for source in sources
        for weights in (source.spec.weights if source.spec else ())
        if weights.name == source.card["weights"] and weights.seen
    }


def digests_of_files(
    references: Collection[str], readers: Sequence[PluginReader] = ()
) -> frozenset[str]:
    """Return the pixel digests of image and volume files; one that cannot be read has none."""
    found = (_digest(item, readers) for item in references if not holds_cells(item))
    return frozenset(digest for digest in found if digest is not None)


def _digest(reference: str, readers: Sequence[PluginReader]) -> str | None:
    """Return the digest of an image, or of what is refused as one but is a volume."""
    with suppress(ImageFileError):
        return pixel_digest(read_pixels(reference, readers)[0])
    with suppress(ImageFileError):
        volume = read_volume(reference, readers)
        return volume_digest(volume.pixels, volume.affine)
    return None
