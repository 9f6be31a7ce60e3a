"""Files, canonical images and views as small upright pictures that lie beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from medfuse.audit import displayed
from medfuse.audit.middle_slices import SIDE, middle_slices
from medfuse.audit.picture import Picture
from medfuse.config import InputConfig

Shown = NDArray[np.float32]
Planes = Mapping[str, Sequence[Shown]]

PLANES = ("axial", "coronal", "sagittal")
STORED = "as stored"
_LARGEST = 384


def stored_planes(picture: Picture) -> tuple[tuple[str, ...], Planes]:
    """Return what a file says of itself, and its picture: one, or three middle slices."""
    sides = " x ".join(map(str, picture.shape))
    spacing = picture.spacing and " x ".join(f"{step:.3g}" for step in picture.spacing)
    facts = (
        f"{picture.kind} {picture.modality}".strip() + f", {picture.bits} bits",
        sides,
        *([f"{spacing} mm"] if spacing else []),
    )
    if len(picture.shape) == 3:
        return facts, {STORED: _split(displayed(picture))}
    color = picture.samples.ndim == 3 and picture.samples.dtype == np.uint8
    shown = picture.samples.astype(np.float32) / 255 if color else displayed(picture)
    return facts, {STORED: [_small(np.asarray(shown, np.float32))]}


def canonical_planes(pixels: Shown, config: InputConfig, spacing: Sequence[float]) -> Planes:
    """Return the canonical image ``(C, *spatial)``, each window in a column of its own."""
    names = _channels(config, len(pixels))
    if names is None:
        return {"canonical": _planes(pixels, config, spacing)}
    return {
        f"canonical {name}".strip(): _planes(pixels[n : n + 1], config, spacing)
        for n, name in enumerate(names)
    }


def view_planes(views: Sequence[Shown], config: InputConfig, spacing: Sequence[float]) -> Planes:
    """Return augmented views; of several windows the one with most contrast."""
    if not views:
        return {}
    names = _channels(config, len(views[0]))
    if names is None:
        return {f"view {n}": _planes(v, config, spacing) for n, v in enumerate(views, 1)}
    best = int(np.argmax([channel.std() for channel in views[0]]))
    suffix = f" {names[best]}".rstrip()
    return {
        f"view {n}{suffix}": _planes(view[best : best + 1], config, spacing)
        for n, view in enumerate(views, 1)
    }


def _channels(config: InputConfig, count: int) -> list[str] | None:
    """Return a name for each channel; ``None`` where they are the colors of one picture."""
    if len(config.bounds) == count and count > 1:
        windows = config.windows or (config.window,)
        return [w if isinstance(w, str) else "{:g} to {:g}".format(*w) for w in windows if w]
    if count == 3:
        return None
    return [""] if count == 1 else [str(n) for n in range(count)]


def _planes(pixels: Shown, config: InputConfig, spacing: Sequence[float]) -> list[Shown]:
    if pixels.ndim == 3:
        return [_small(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))]
    affine = _affine(config.orientation, spacing)
    each = [_split(middle_slices(channel, affine)) for channel in pixels]
    return each[0] if len(each) == 1 else [np.stack(same, -1) for same in zip(*each, strict=True)]


def _affine(codes: str, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Return index to mm of a volume whose axes point as ``codes`` say."""
    nibabel: Any = orientations
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(nibabel.axcodes2ornt(tuple(codes))):
        affine[int(world), axis] = sign * spacing[axis]
    return affine


def _split(slices: Shown) -> list[Shown]:
    return [slices[:, start : start + SIDE] for start in range(0, 3 * SIDE, SIDE)]


def _small(picture: Shown) -> Shown:
    step = max(1, max(picture.shape[:2]) // _LARGEST)
    return picture[::step, ::step]
