"""One file to one canonical image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from medfuse.config import InputConfig
from medfuse.data.readers import InstalledReader
from medfuse.preprocessing.canonical import CanonicalImage
from medfuse.preprocessing.nodes import Node, config_nodes, requirements, vendored_modules
from medfuse.preprocessing.tabular_fit import load_row
from medfuse.storage import digest_of

if TYPE_CHECKING:
    from medfuse.preprocessing.image_chain import ImageChain

SCHEMA_VERSION = 1
_building = Lock()


class Preprocessing:
    """Makes canonical images; may be called from several threads.

    The very transforms that `monai_config` describes do the work. They are built, and MONAI is
    imported, with the first file: where all images are banked there is none.

    Args:
        input: without ``auto``; see `medfuse.preprocessing.resolve.resolve_input`.
        fingerprint: what `resolve_input` found. Its bit depth is required of every image, unless
            the intensity is by percentile.
        readers: of plugins, those that the files of this input need.

    Attributes:
        readers: see there.
        vendored_modules: what the nodes need in a bundle's ``scripts``.
        requires: distributions that those modules import.
    """

    def __init__(
        self,
        input: InputConfig,  # noqa: A002
        fingerprint: Mapping[str, Any] | None = None,
        readers: Sequence[InstalledReader] = (),
    ) -> None:
        bits = fingerprint.get("bits") if fingerprint and input.intensity != "percentile" else None
        self.input = input
        self.readers = tuple(readers)
        kept = [one for one in readers if one.in_bundles]
        self.vendored_modules = (*vendored_modules(input), *(m for r in kept for m in r.vendored))
        self.requires = (*requirements(input), *(name for r in kept for name in r.requires))
        self._nodes = config_nodes(input, bits, [one.node for one in kept])
        self._chain: ImageChain | None = None

    def monai_config(self) -> list[Node]:
        """Return the transforms as MONAI configuration nodes; ``scripts`` is the bundle's own."""
        return [dict(node) for node in self._nodes]

    def digest(self) -> str:
        """Return a digest of everything that decides what `load` gives."""
        plugins = {"readers": [one.identity for one in self.readers]} if self.readers else {}
        return digest_of({"schema": SCHEMA_VERSION, "nodes": self._nodes, **plugins})

    def load(self, reference: str) -> CanonicalImage:
        """Return the canonical image of a file reference; of a row of a table, its vector.

        Raises:
            ImageError: the file cannot be read, or is not as the first ones were.
        """
        if self.input.kind == "tabular":
            return load_row(reference, self.input.columns)
        return self._built().load(reference)

    def _built(self) -> ImageChain:
        with _building:
            if self._chain is None:
                from medfuse.preprocessing.image_chain import ImageChain  # MONAI takes seconds

                plugins = [one.reader for one in self.readers]
                self._chain = ImageChain(self._nodes, self.input.kind == "volume", plugins)
            return self._chain
