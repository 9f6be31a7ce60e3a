"""The images that are learned from: decoded once where they fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medfuse.errors import ImageError
from medfuse.features.ahead import Room, map_ahead
from medfuse.preprocessing import CanonicalImage
from medfuse.progress import progress_bar
from medfuse.threads import workers_of

_WORKERS = 2

Load = Callable[[str], CanonicalImage]


class PoolFile(NamedTuple):
    """A file, and what reads it.

    Attributes:
        reference: of the file.
        load: decodes and preprocesses it.
        group: which set it is of.
    """

    reference: str
    load: Load
    group: str


@dataclass
class Pool:
    """Images that can be read, each picture once.

    Attributes:
        files: those that are learned from.
        digests: pixel digest of each.
        refused: how many files cannot be used, by set, then by code.
        repeated: how many files show a picture that another one shows already.
    """

    files: list[PoolFile] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    refused: dict[str, dict[str, int]] = field(default_factory=dict)
    repeated: int = 0
    _kept: list[NDArray[np.float16] | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files)

    def images(self, rows: Sequence[int]) -> Tensor:
        """Return canonical images ``(N, C, *spatial)``, float32 in [0, 1].

        Raises:
            ImageError: a file was changed, so that it cannot be read any more.
        """
        return torch.from_numpy(np.stack([self._pixels(row) for row in rows]).astype(np.float32))

    def _pixels(self, row: int) -> NDArray[np.float16] | NDArray[np.float32]:
        kept, file = self._kept[row], self.files[row]
        return file.load(file.reference).pixels if kept is None else kept

    @property
    def in_memory(self) -> int:
        """How many images are kept decoded."""
        return sum(kept is not None for kept in self._kept)

    def _add(self, file: PoolFile, image: CanonicalImage, keep: bool) -> None:
        self.files.append(file)
        self.digests.append(image.pixel_digest)
        self._kept.append(image.pixels.astype(np.float16) if keep else None)

    def _refuse(self, file: PoolFile, code: str) -> None:
        counts = self.refused.setdefault(file.group, {})
        counts[code] = counts.get(code, 0) + 1


def fill_pool(
    files: Sequence[PoolFile], memory: float, forbidden: Iterable[str] = (), progress: bool = True
) -> Pool:
    """Return the pool of some files; each is decoded once here.

    Args:
        files: in the order of the pool.
        memory: bytes that decoded images may take (as float16); the others are read again for
            every view.
        forbidden: pixel digests of images that must not be learned from.
        progress: tell on stderr how far it is, see `medfuse.progress`.
    """
    pool, room, known = Pool(), memory, set[str]()
    never = frozenset(forbidden)
    with workers_of() as begin:
        results = map_ahead(_try_load, files, _WORKERS, Room(4 * _WORKERS, _size_of), begin)
        bar = progress_bar(results, "reading", len(files), shown=progress, unit="image")
        for file, found in zip(files, bar, strict=True):
            if isinstance(found, ImageError):
                pool._refuse(file, found.code)
            elif found.pixel_digest in never:
                pool._refuse(file, "EXCLUDED_COPY")
            elif found.pixel_digest in known:
                pool.repeated += 1
            else:
                known.add(found.pixel_digest)
                room -= found.pixels.size * 2
                pool._add(file, found, keep=room >= 0)
    return pool


def _try_load(file: PoolFile) -> CanonicalImage | ImageError:
    try:
        return file.load(file.reference)
    except ImageError as error:
        return error


def _size_of(found: CanonicalImage | ImageError) -> int:
    return 0 if isinstance(found, ImageError) else found.pixels.nbytes
