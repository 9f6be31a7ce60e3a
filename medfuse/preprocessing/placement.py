"""Place: what lies on the canonical grid, back on the grid of the file.

The steps of a preprocessing are replayed one by one, and each says where its pixels came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from medfuse.errors import ImageError
from medfuse.preprocessing.transforms import _kept, _spans

Matrix = NDArray[np.float64]
Floats = NDArray[np.float32]

_SAME_GRID = ("SqueezeTo2Dd", "ScaleToUnitd", "ToChannelsd", "RequireUnitd", "CorrectBiasFieldd")
_BY_AFFINE = ("Straightend", "Orientationd", "Respaced")


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a canonical image lies in its file.

    Attributes:
        shown: the file's pixels in [0, 1] as the windows or percentiles of the preprocessing show
            them, ``(*spatial)`` or of color ``(H, W, 3)``, on the file's own grid.
        affine: of a volume, 4 x 4, array index to mm in RAS+; ``None`` of an image.
        to_canonical: ``(d + 1, d + 1)``, index in the file to index in the canonical image.
        canonical: spatial shape of the canonical image.
    """

    shown: Floats
    affine: Matrix | None
    to_canonical: Matrix
    canonical: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape of the file's grid."""
        return self.shown.shape[: len(self.canonical)]

    def back(self, values: NDArray[Any]) -> Floats:
        """Return values ``(*canonical)`` on the file's grid; 0 where the network saw nothing."""
        dims = len(self.canonical)
        padded = np.pad(np.asarray(values, np.float32), 1, mode="edge")
        matrix, offset = self.to_canonical[:dims, :dims], self.to_canonical[:dims, dims] + 1
        diagonal = np.diag(matrix)
        if np.array_equal(matrix, np.diag(diagonal)):  # axis by axis is far quicker
            matrix = diagonal
        # Half a pixel beyond the outermost centers still belongs to the image.
        moved: Floats = affine_transform(
            padded, matrix, offset, self.shape, np.float32, order=1, mode="constant"
        )
        return np.where(self._inside(), moved, np.float32(0)).astype(np.float32)

    def _inside(self) -> NDArray[np.bool_]:
        dims = len(self.canonical)
        inside = np.ones(self.shape, bool)
        for row, size in enumerate(self.canonical):
            place = np.full(self.shape, self.to_canonical[row, dims])
            for axis, length in enumerate(self.shape):
                step = self.to_canonical[row, axis] * np.arange(length)
                place += step.reshape([-1 if a == axis else 1 for a in range(dims)])
            inside &= (place >= -0.5 - 1e-6) & (place <= size - 0.5 + 1e-6)
        return inside


def placement_of(steps: Sequence[Callable[..., Any]], reference: str) -> Placement:
    """Return where the canonical image of a file lies in it.

    Args:
        steps: the transforms of a preprocessing, of this or of a bundle's own code; the first
            reads the file.
        reference: the file.

    Raises:
        ImageError: a step is not one of medfuse's, so nothing is known of where it moves pixels.
    """
    data: dict[Any, Any] = dict(steps[0]({"image": reference}))
    stored = data["image"]
    if any(type(step).__name__ == "SqueezeTo2Dd" for step in steps) and stored.ndim == 4:
        stored = stored[..., 0]
    dims = stored.ndim - 1
    total = np.eye(dims + 1)
    for step in steps[1:]:
        before = data["image"]
        data = dict(step(data))
        total = total @ _origin(step, before, data["image"], dims)
    return Placement(
        shown=_shown(steps, stored),
        affine=_affine(stored) if dims == 3 else None,
        to_canonical=np.asarray(np.linalg.inv(total), np.float64),
        canonical=tuple(data["image"].shape[1:]),
    )


def _affine(image: Any) -> Matrix:
    return np.asarray(image.affine, np.float64)


def _origin(step: Any, before: Any, after: Any, dims: int) -> Matrix:
    """Return the index before a step of each index after it, as a matrix."""
    name = type(step).__name__
    if name in _SAME_GRID:
        return np.eye(dims + 1)
    if name in _BY_AFFINE:
        return np.asarray(np.linalg.solve(_affine(before), _affine(after)), np.float64)
    found = _BY_NAME.get(name)
    if found is None:
        raise ImageError(
            "UNKNOWN_STEP",
            f"preprocessing step {name}: where it moves pixels is not known, so a map cannot be "
            "laid over the file. Use a bundle whose preprocessing is medfuse's own.",
        )
    return found(step, before, tuple(after.shape[1:]))


def _of_foreground(step: Any, before: Any, _: tuple[int, ...]) -> Matrix:
    return _shift([span.start for span in _spans(before, step.above)])


def _of_margins(step: Any, before: Any, after: tuple[int, ...]) -> Matrix:
    if tuple(before.shape[1:]) == after:
        return np.eye(len(after) + 1)
    spans = zip(before.shape[1:], step.spatial_size, _spans(before, step.above), strict=True)
    return _shift([_kept(*span).start for span in spans])


def _of_letterbox(step: Any, before: Any, after: tuple[int, ...]) -> Matrix:
    found = tuple(before.shape[1:])
    scale = min(t / f for t, f in zip(step.spatial_size, found, strict=True))
    inner = found
    if scale < 1 or step.enlarge:
        inner = tuple(min(max(1, round(s * scale)), t) for s, t in zip(found, after, strict=True))
    start = [-((size - side) // 2) for size, side in zip(after, inner, strict=True)]
    return _scaling(found, inner) @ _shift(start)


def _of_resize(_: Any, before: Any, after: tuple[int, ...]) -> Matrix:
    return _scaling(tuple(before.shape[1:]), after)


_BY_NAME: Mapping[str, Callable[[Any, Any, tuple[int, ...]], Matrix]] = {
    "CropToForegroundd": _of_foreground,
    "CropMarginsd": _of_margins,
    "Letterboxd": _of_letterbox,
    "Resized": _of_resize,
}


def _shift(start: Sequence[float]) -> Matrix:
    matrix = np.eye(len(start) + 1)
    matrix[:-1, -1] = start
    return matrix


def _scaling(before: Sequence[int], after: Sequence[int]) -> Matrix:
    """Return the matrix of torch's resizing, whose pixels are squares around their centers."""
    factors = np.array(before, float) / np.array(after, float)
    matrix = np.diag([*factors, 1.0])
    matrix[:-1, -1] = (factors - 1) / 2
    return matrix


def _shown(steps: Sequence[Callable[..., Any]], stored: Any) -> Floats:
    data: dict[Any, Any] = {"image": stored, "events": []}
    for step in steps:
        if type(step).__name__ == "ScaleToUnitd":
            data = dict(step(data))
    plain = torch.as_tensor(data["image"])
    values = plain.as_subclass(torch.Tensor) if isinstance(plain, MetaTensor) else plain
    array = np.clip(values.numpy().astype(np.float32), 0, 1)
    return np.moveaxis(array, 0, -1) if len(array) == 3 and array.ndim == 3 else array[0]
