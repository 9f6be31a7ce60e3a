"""One file to one canonical image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.dictionary import Resized
from numpy.typing import NDArray
from torch import Tensor

from medfuse.config import InputConfig
from medfuse.data.events import Event
from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.pixel_digest import pixel_digest
from medfuse.data.readers import InstalledReader
from medfuse.data.volume_digest import volume_digest
from medfuse.data.volume_file import read_volume
from medfuse.errors import ImageError
from medfuse.preprocessing.canonical import CanonicalImage
from medfuse.preprocessing.nodes import (
    Node,
    config_nodes,
    instantiate,
    requirements,
    vendored_modules,
)
from medfuse.preprocessing.tabular_fit import load_row
from medfuse.preprocessing.transforms import EVENTS
from medfuse.storage import digest_of
from medfuse.threads import one_thread

SCHEMA_VERSION = 1
_DOES_NOT_FIT = "DOES_NOT_FIT"


class Preprocessing:
    """Makes canonical images; may be called from several threads.

    The very transforms that `monai_config` describes do the work. Only ``LoadImaged`` is
    represented by the reader it holds, since the decoded pixels are needed for their digest.

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
        if input.kind == "tabular":
            return
        plain = {k: v for k, v in self._nodes[0]["reader"].items() if k != "readers"}
        self._reader: Any = instantiate([plain])[0]
        self._plugins = [one.reader for one in readers]
        self._transforms = instantiate(self._nodes[1:])

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
        try:
            stored = self._stored_volume if self.input.kind == "volume" else self._stored_image
            with one_thread():  # its sums keep their bits, however many cores there are
                values, digest, events = stored(reference)
                canonical, told = self._transformed(values)
        except ImageFileError as error:
            raise ImageError(error.code, str(error)) from error
        except ValueError as error:
            text = f"{reference}: {error} [{_DOES_NOT_FIT}]"
            raise ImageError(_DOES_NOT_FIT, text) from error
        return CanonicalImage(
            pixels=canonical,
            pixel_digest=digest,
            digest=pixel_digest(canonical),
            events=tuple(Event(code, reference, detail) for code, detail in (*events, *told)),
        )

    def _stored_image(self, reference: str) -> _Stored:
        pixels, facts = read_pixels(reference, self._plugins)
        values = self._reader.to_float(pixels, facts, reference)
        channels_first = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
        image = torch.from_numpy(np.ascontiguousarray(channels_first))
        events = (*facts.events, *self._reader.told(facts))
        return _Stored(image, pixel_digest(pixels), events)

    def _stored_volume(self, reference: str) -> _Stored:
        volume = read_volume(reference, self._plugins)
        affine = self._reader.affine(volume.header, reference)
        values = torch.from_numpy(self._reader.to_float(volume, reference))[None]
        image = MetaTensor(values, affine=torch.as_tensor(affine))
        return _Stored(image, volume_digest(volume.pixels, volume.affine), volume.events)

    def _transformed(self, image: Tensor) -> tuple[NDArray[np.float32], list[tuple[str, str]]]:
        """Return the canonical pixels, and what the transforms tell of what they did."""
        data: dict[Any, Any] = {"image": image, EVENTS: []}
        for transform in self._transforms:
            if not _changes_nothing(transform, data["image"]):
                data = transform(data)
        plain = torch.as_tensor(data["image"]).numpy()
        return np.ascontiguousarray(plain, dtype=np.float32), data[EVENTS]


def _changes_nothing(transform: Any, image: Tensor) -> bool:
    """Return whether an image has the size already: MONAI's bookkeeping costs more than a JPEG."""
    if not isinstance(transform, Resized):
        return False
    wanted: Any = transform.resizer.spatial_size
    return tuple(image.shape[1:]) == tuple(wanted)


class _Stored(NamedTuple):
    """A file as it was read: ``(C, *spatial)`` for the transforms, and what is known of it."""

    image: Tensor
    digest: str
    events: tuple[tuple[str, str], ...]
