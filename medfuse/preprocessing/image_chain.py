"""The transforms that make canonical images of files, at work."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.dictionary import Resized
from numpy.typing import NDArray
from torch import Tensor

from medfuse.data.events import Event
from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.pixel_digest import pixel_digest
from medfuse.data.plugin_reader import PluginReader
from medfuse.data.volume_digest import volume_digest
from medfuse.data.volume_file import read_volume
from medfuse.errors import ImageError
from medfuse.preprocessing.canonical import CanonicalImage
from medfuse.preprocessing.nodes import Node, instantiate
from medfuse.preprocessing.transforms import EVENTS
from medfuse.threads import one_thread

_DOES_NOT_FIT = "DOES_NOT_FIT"


class ImageChain:
    """Makes canonical images; may be called from several threads.

    The very transforms that the nodes describe do the work. Only ``LoadImaged`` is represented by
    the reader it holds, since the decoded pixels are needed for their digest.

    Args:
        nodes: of an input of images or volumes; see `medfuse.preprocessing.nodes.config_nodes`.
        volumes: whether files are volumes.
        plugins: readers that the files need.
    """

    def __init__(
        self, nodes: Sequence[Node], volumes: bool, plugins: Sequence[PluginReader]
    ) -> None:
        plain = {k: v for k, v in nodes[0]["reader"].items() if k != "readers"}
        self._reader: Any = instantiate([plain])[0]
        self._plugins = list(plugins)
        self._transforms = instantiate(nodes[1:])
        self._stored = self._stored_volume if volumes else self._stored_image
        self._first = Lock()
        self._begun = False

    def load(self, reference: str) -> CanonicalImage:
        """Return the canonical image of a file reference.

        Raises:
            ImageError: the file cannot be read, or is not as the first ones were.
        """
        # What libraries set up at their first image is not for two threads at once.
        with nullcontext() if self._begun else self._first:
            image = self._loaded(reference)
            self._begun = True
            return image

    def _loaded(self, reference: str) -> CanonicalImage:
        try:
            with one_thread():  # its sums keep their bits, however many cores there are
                values, digest, events = self._stored(reference)
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
