"""Preprocess: file reference + `InputConfig` -> `CanonicalImage`, float32 in [0, 1].

`resolve_input` settles what the configuration leaves open, `Preprocessing` does the work from one
list of MONAI configuration nodes that training and bundles share, and `augment` makes further
views of an image for training.
"""

from medfuse.data.pixel_digest import pixel_digest
from medfuse.preprocessing.augmentation import (
    RECIPES,
    VIEW_MODULES,
    Drawing,
    augment,
    augmentation_config,
    augmentation_identity,
    drawing_for,
    flips_of,
    recipe_for,
)
from medfuse.preprocessing.canonical import CanonicalImage
from medfuse.preprocessing.pipeline import Preprocessing
from medfuse.preprocessing.resolve import RESOLVE_VERSION, looked_at, resolve_input, tell
from medfuse.preprocessing.tabular_fit import resolve_tabular
from medfuse.preprocessing.tabular_row import tabular_slots, tabular_width

__all__ = [
    "RECIPES",
    "RESOLVE_VERSION",
    "VIEW_MODULES",
    "CanonicalImage",
    "Drawing",
    "Preprocessing",
    "augment",
    "augmentation_config",
    "augmentation_identity",
    "drawing_for",
    "flips_of",
    "looked_at",
    "pixel_digest",
    "recipe_for",
    "resolve_input",
    "resolve_tabular",
    "tabular_slots",
    "tabular_width",
    "tell",
]
