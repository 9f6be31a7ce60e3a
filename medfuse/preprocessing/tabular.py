"""The row of a table as a vector, as a transform of MONAI.

This file is copied into every bundle that needs it, so it imports torch, monai and its neighbors.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform

from medfuse.preprocessing.tabular_row import resolved_columns, row_cells, tabular_vector


class TabularVectord(MapTransform):
    """The row of a table becomes a vector ``(P,)``, float32; see `tabular_vector`.

    Args:
        keys: of the rows: JSON text as `medfuse.data.cells` writes it, or a mapping of cells.
        columns: resolved, as for `tabular_vector`; or the same as `columns_text` writes it.
    """

    def __init__(self, keys: KeysCollection, columns: Mapping[str, Any] | str) -> None:
        super().__init__(keys)
        given = json.loads(columns) if isinstance(columns, str) else columns
        self.columns = dict(resolved_columns(given))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with vectors.

        Raises:
            ImageFileError: code ``BAD_NUMBER`` or ``NOT_A_ROW``; names no value.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            vector, _ = tabular_vector(row_cells(result[key]), self.columns)
            result[key] = torch.from_numpy(vector)
        return result
