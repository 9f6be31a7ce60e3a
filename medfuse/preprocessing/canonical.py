"""The one form in which every image reaches the networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfuse.data.events import Event


@dataclass(frozen=True)
class CanonicalImage:
    """An image after reading and preprocessing.

    Attributes:
        pixels: float32 ``(C, *spatial)`` in [0, 1], rows first; of a table's row ``(P,)``.
        pixel_digest: of the decoded file: equal for the same picture in two files, whatever
            their format; finds leaks.
        digest: of ``pixels`` and their shape; keys the feature bank.
        events: repairs and conversions that reading this file took.
    """

    pixels: NDArray[np.float32]
    pixel_digest: str
    digest: str
    events: tuple[Event, ...] = ()
