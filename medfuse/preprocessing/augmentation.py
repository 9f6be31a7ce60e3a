"""Augmented views: a function of the image and the view's number, of nothing else.

Recipes are laterality-safe: no left-right flip, since the side of a finding is part of it. An
experiment may ask for one where no label of its own has a side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from medfuse.config import AugmentationConfig, InputConfig
from medfuse.errors import ConfigError
from medfuse.preprocessing.view_recipe import Recipe
from medfuse.preprocessing.volume_size import is_anisotropic
from medfuse.suggest import did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 2
_FLIPS = {"left_right": "LR", "up_down": "SI"}
_OF_IMAGES = {"left_right": 1, "up_down": 0}
VIEW_MODULES = ("medfuse.preprocessing.view_recipe", "medfuse.preprocessing.views")

RECIPES: dict[str, Recipe | None] = {
    "none": None,
    "xr": Recipe(rotate=7, shift=0.04, zoom=0.08, gamma=1.3, noise=0.02, padding="border"),
    "ct": Recipe(rotate=8, shift=0.04, zoom=0.08, gamma=1.15, noise=0.02, padding="zeros"),
    "mr": Recipe(rotate=10, shift=0.04, zoom=0.1, gamma=1.4, noise=0.02, padding="zeros"),
}


@dataclass(frozen=True)
class Drawing:
    """All that decides the views of an input besides the images.

    Attributes:
        recipe: ``xr``, ``ct``, ``mr`` or ``none``.
        seed: of the experiment's augmentation.
        spacing: mm of the voxels of canonical volumes; empty for images.
        axes: about which volumes turn; empty for images.
        own: half widths and flips that replace the recipe's, by name.
    """

    recipe: str
    seed: int = 0
    spacing: tuple[float, ...] = ()
    axes: tuple[int, ...] = ()
    own: tuple[tuple[str, Any], ...] = ()

    @property
    def ranges(self) -> Recipe | None:
        """The half widths; ``None`` for the recipe ``none``.

        Raises:
            ConfigError: an unknown recipe.
        """
        if self.recipe not in RECIPES:
            raise ConfigError(
                f"augmentation.recipe: {self.recipe!r}, expected one of {', '.join(RECIPES)}."
                + did_you_mean(self.recipe, RECIPES)
            )
        recipe = RECIPES[self.recipe]
        return replace(recipe, **dict(self.own)) if recipe and self.own else recipe


def drawing_for(
    augmentation: AugmentationConfig,
    input: InputConfig,  # noqa: A002
    fingerprint: Mapping[str, Any],
) -> Drawing:
    """Return how the views of a resolved input are drawn.

    Volumes turn in mm. Where one axis is over three times as coarse as the others, or the
    distance of slices is unknown, they turn within their slices alone, as in nnU-Net (Isensee
    et al. 2021): a tilt would mix slices that lie far apart.
    """
    recipe = recipe_for(augmentation.recipe, input.modality)
    drawing = Drawing(recipe, augmentation.seed, own=_own(augmentation, input))
    if input.kind != "volume":
        return drawing
    spacing = _voxels(input, fingerprint)
    if not spacing:
        return replace(drawing, spacing=(1.0, 1.0, 1.0), axes=(2,))
    axes = (int(np.argmax(spacing)),) if is_anisotropic(spacing) else (0, 1, 2)
    return replace(drawing, spacing=spacing, axes=axes)


def augment(pixels: Tensor, drawing: Drawing, digest: str, view: int) -> Tensor:
    """Return a view of the canonical image: same shape, float32 in [0, 1].

    Args:
        pixels: ``(C, *spatial)`` in [0, 1]; not changed.
        drawing: how.
        digest: of the canonical image.
        view: 0 is the image itself; 1, 2, ... are drawn from drawing, digest and view alone.

    Raises:
        ConfigError: an unknown recipe.
    """
    ranges = drawing.ranges
    if view == 0 or ranges is None:
        return pixels
    from medfuse.preprocessing.views import view_of  # MONAI takes seconds to import

    random = np.random.RandomState(_words(drawing, digest, view))
    return view_of(pixels, ranges, drawing.spacing, drawing.axes, random)


def flips_of(drawing: Drawing, input: InputConfig) -> list[str]:  # noqa: A002
    """Return in which directions every second view is mirrored, in words."""
    axes = drawing.ranges.flip if drawing.ranges else ()
    return [name.replace("_", "-") for name in _FLIPS if _axis(name, input) in axes]


def recipe_for(recipe: str, modality: str) -> str:
    """Return the recipe's name, ``auto`` chosen by modality; an unknown one gets ``xr``."""
    return {"CT": "ct", "MR": "mr"}.get(modality, "xr") if recipe == "auto" else recipe


def augmentation_identity(drawing: Drawing) -> dict[str, Any]:
    """Return all that decides a view besides the image and its number, as plain data."""
    ranges = drawing.ranges
    return {
        "version": VERSION,
        **asdict(drawing),
        "ranges": asdict(ranges) if ranges else None,
    }


def augmentation_config(drawing: Drawing, views: int = 0) -> list[dict[str, Any]]:
    """Return the transform that draws views while a bundle is trained, as MONAI nodes.

    It is the code of `augment`; see `VIEW_MODULES`.

    Args:
        drawing: how.
        views: in training, of each image beside the clean one: each is as likely. 0 where there
            were none; then four of five images are augmented.
    """
    ranges = drawing.ranges
    if ranges is None:
        return []
    node: dict[str, Any] = {
        "_target_": "scripts.preprocessing_views.RandomViewd",
        "keys": "image",
        "recipe": asdict(ranges),
        "prob": round(views / (views + 1), 3) if views else 0.8,
    }
    if drawing.axes:
        node |= {"spacing": list(drawing.spacing), "axes": list(drawing.axes)}
    return [node]


def _own(
    augmentation: AugmentationConfig,
    input: InputConfig,  # noqa: A002
) -> tuple[tuple[str, Any], ...]:
    """Return what the experiment says of the views instead of the recipe."""
    names = ("rotate", "shift", "zoom", "gamma", "noise")
    own = {name: getattr(augmentation, name) for name in names}
    if augmentation.flip:
        own["flip"] = tuple(sorted(_axis(name, input) for name in augmentation.flip))
    return tuple((name, value) for name, value in own.items() if value is not None)


def _axis(flip: str, input: InputConfig) -> int:  # noqa: A002
    """Return the axis of the canonical image along which a flip mirrors."""
    if input.kind != "volume":
        return _OF_IMAGES[flip]
    return next(i for i, letter in enumerate(input.orientation) if letter in _FLIPS[flip])


def _voxels(
    input: InputConfig,  # noqa: A002
    fingerprint: Mapping[str, Any],
) -> tuple[float, ...]:
    """Return the mm of a voxel of canonical volumes, as far as turning needs it; () if unknown."""
    if input.fit == "letterbox" and isinstance(input.spacing, tuple):
        return input.spacing
    if not fingerprint.get("geometry"):
        return ()
    if input.fit == "letterbox":
        return tuple(fingerprint["spacing_median"])
    sides = zip(fingerprint["extent_median"], input.shape, strict=True)
    return tuple(length / side for length, side in sides)


def _words(drawing: Drawing, digest: str, view: int) -> Any:
    text = f"{VERSION}|{drawing.recipe}|{drawing.seed}|{digest}|{view}"
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")
