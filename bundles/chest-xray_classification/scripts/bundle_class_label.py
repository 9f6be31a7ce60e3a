"""Labels of new images for training. Copied into bundles that can be trained: MONAI only."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform


class ClassLabeld(MapTransform):
    """A label as the index of its class.

    Class folders give the index itself, which stays. MONAI Label's stock bundle application gives
    the file that was put into its store, ``{"label": "<class>"}``.

    Args:
        keys: of the label.
        class_names: in the order of the logits.
    """

    def __init__(self, keys: KeysCollection, class_names: Sequence[str]) -> None:
        super().__init__(keys)
        self.indices = {name.lower(): index for index, name in enumerate(class_names)}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the same items with indices.

        Raises:
            ValueError: a file names no class.
        """
        items = dict(data)
        for key in self.key_iterator(items):
            if isinstance(items[key], str):
                items[key] = self._index(items[key])
        return items

    def _index(self, file: str) -> int:
        named = json.loads(Path(file).read_text(encoding="utf-8"))
        name = named.get("label") if isinstance(named, dict) else None
        if not isinstance(name, str) or name.lower() not in self.indices:
            raise ValueError(
                f"{Path(file).name}: found label {str(name)[:60]!r}, expected "
                f'{{"label": NAME}}, NAME one of {", ".join(self.indices)}.'
            )
        return self.indices[name.lower()]
