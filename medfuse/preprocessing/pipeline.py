"""One file to one canonical image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medfuse.config import InputConfig
from medfuse.data.events import Event
from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.image_reader import ImageFileReader
from medfuse.data.pixel_digest import pixel_digest
from medfuse.errors import ImageError
from medfuse.preprocessing.canonical import CanonicalImage
from medfuse.preprocessing.loading import BadImagePolicy, LoadedImage, load_in_order
from medfuse.preprocessing.nodes import (
    TABULAR_MODULES,
    VENDORED_MODULES,
    Node,
    config_nodes,
    instantiate,
)
from medfuse.preprocessing.tabular_fit import load_row
from medfuse.storage import digest_of

SCHEMA_VERSION = 1


class Preprocessing:
    """Makes canonical images; may be called from several threads.

    The very transforms that `monai_config` describes do the work. Only ``LoadImaged`` is
    represented by the reader it holds, since the decoded pixels are needed for their digest.

    Args:
        input: without ``auto``; see `medfuse.preprocessing.resolve.resolve_input`.
        fingerprint: what `resolve_input` found. Its bit depth is required of every image, unless
            the intensity is by percentile.
    """

    vendored_modules: tuple[str, ...] = VENDORED_MODULES

    def __init__(
        self,
        input: InputConfig,  # noqa: A002
        fingerprint: Mapping[str, Any] | None = None,
    ) -> None:
        bits = fingerprint.get("bits") if fingerprint and input.intensity != "percentile" else None
        self.input = input
        self._nodes = config_nodes(input, bits)
        if input.kind == "tabular":
            self.vendored_modules = TABULAR_MODULES
            return
        self._reader: ImageFileReader = instantiate([self._nodes[0]["reader"]])[0]
        self._transforms = instantiate(self._nodes[1:])

    def monai_config(self) -> list[Node]:
        """Return the transforms as MONAI configuration nodes; ``scripts`` is the bundle's own."""
        return [dict(node) for node in self._nodes]

    def digest(self) -> str:
        """Return a digest of everything that decides what `load` gives."""
        return digest_of({"schema": SCHEMA_VERSION, "nodes": self._nodes})

    def load(self, reference: str) -> CanonicalImage:
        """Return the canonical image of a file reference; of a row of a table, its vector.

        Raises:
            ImageError: the file cannot be read, or is not as the first ones were.
        """
        if self.input.kind == "tabular":
            return load_row(reference, self.input.columns)
        try:
            pixels, facts = read_pixels(reference)
            values = self._reader.to_float(pixels, facts, reference)
        except ImageFileError as error:
            raise ImageError(error.code, str(error)) from error
        canonical = self._transformed(values)
        return CanonicalImage(
            pixels=canonical,
            pixel_digest=pixel_digest(pixels),
            digest=pixel_digest(canonical),
            events=tuple(Event(code, reference, detail) for code, detail in facts.events),
        )

    def load_many(
        self,
        references: Sequence[str],
        workers: int = 2,
        progress: bool = True,
        on_bad_image: BadImagePolicy = "refuse",
    ) -> Iterator[LoadedImage]:
        """Yield one result per reference, in their order; see `load_in_order`."""
        return load_in_order(self.load, references, workers, progress, on_bad_image)

    def _transformed(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        channels_first = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
        data: dict[Any, Any] = {"image": torch.from_numpy(np.ascontiguousarray(channels_first))}
        for transform in self._transforms:
            data = transform(data)
        return np.ascontiguousarray(torch.as_tensor(data["image"]).numpy(), dtype=np.float32)
