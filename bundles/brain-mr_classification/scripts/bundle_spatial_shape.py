"""Makes a classifier fit MONAI Label. Copied into every bundle: MONAI only."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms.transform import MapTransform


class DropSpatialShaped(MapTransform):
    """Images without ``spatial_shape`` in their metadata.

    MONAI Label's stock bundle application ends with ``Restored``, which resizes the prediction to
    that shape as if it were a mask, and leaves it alone where the shape is absent.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the same items; metadata are changed in place."""
        items = dict(data)
        for key in self.key_iterator(items):
            getattr(items[key], "meta", {}).pop("spatial_shape", None)
        return items
