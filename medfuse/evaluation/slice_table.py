"""``slice_weights.csv``: how much each slice of a volume counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medfuse.evaluation.prediction_table import csv_line, guarded
from medfuse.storage import write_text


def write_slice_weights(
    path: Path | str, case_ids: Sequence[str], weights: Mapping[str, np.ndarray]
) -> None:
    """Write one row per case, source and slice, readable by its owner only.

    Slices are numbered from 0 along the last axis of the canonical volume. Cases without the
    source's input have no rows.

    Args:
        path: the file.
        case_ids: N names.
        weights: source -> ``(N, D)``, NaN where a case has not the source's input.
    """
    lines = [csv_line(["case_id", "source", "slice", "weight"])]
    for source, table in weights.items():
        for case, row in zip(case_ids, table, strict=True):
            if np.isfinite(row).all():
                lines += [
                    csv_line([guarded(case), guarded(source), str(k), f"{weight:.9g}"])
                    for k, weight in enumerate(row)
                ]
    write_text(path, "".join(lines), mode=0o600)
