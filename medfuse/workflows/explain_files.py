"""What is kept of an explanation: pictures, volumes, and one record."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure
from nibabel import orientations
from numpy.typing import NDArray
from PIL import Image

from medfuse.plots.overlay import OverlayRow, blend, overlay_figure
from medfuse.plots.style import save_figure
from medfuse.preprocessing.placement import Placement
from medfuse.storage import atomic_path, write_json
from medfuse.workflows.explain_case import CaseExplanation, SaliencyMap

_PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))
_PRIVATE = 0o600

Floats = NDArray[np.float32]


def write_case(found: CaseExplanation, folder: Path) -> dict[str, Any]:
    """Write what belongs to a case into ``folder`` and return its record, as plain data.

    Pictures are ``<key>-<input>-<method>.png`` with a colorbar and, of images,
    ``...-<source>.png``, pixel for pixel on the image; of volumes there is
    ``...-<source>.nii.gz`` on the grid of the file. The record comes last: a case that has one is
    whole.
    """
    figures = {}
    for name, place in found.placements.items():
        for method in dict.fromkeys(m.method for m in found.maps if m.input == name):
            maps = [m for m in found.maps if (m.input, m.method) == (name, method)]
            file = f"{_plain(f'{found.key}-{name}-{method}')}.png"
            save_figure(case_figure(found, name, method), folder / file, _PRIVATE)
            figures[f"{name}, {method}"] = file
            for one in maps:
                write_map(one, place, folder / _plain(f"{found.key}-{name}-{method}-{one.source}"))
    record = {**record_of(found), "figures": figures}
    write_json(folder / f"{found.key}.json", record, _PRIVATE)
    return record


def read_record(folder: Path, key: str) -> dict[str, Any] | None:
    """Return the record of a case that is whole, or ``None``."""
    try:
        record: dict[str, Any] = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = all((folder / file).is_file() for file in record.get("figures", {}).values())
    return record if whole else None


def record_of(found: CaseExplanation) -> dict[str, Any]:
    """Return an explanation without its pictures, as plain data."""
    return {
        "case": found.case,
        "key": found.key,
        "status": "refused" if found.reason_code else "ok",
        "reason_code": found.reason_code,
        "reason": found.reason,
        "label": found.label,
        "predicted": found.predicted,
        "probabilities": dict(found.probabilities),
        "class": found.explained,
        "shares": dict(found.shares),
        "effects": dict(found.effects),
        "maps": [
            {"source": m.source, "method": m.method, "input": m.input, **m.scores}
            for m in found.maps
        ],
        "figures": {},
    }


def case_figure(found: CaseExplanation, name: str, method: str) -> Figure:
    """Return the picture of one input beside what each source looked at.

    Three planes of a volume cross at the place that is strongest over all sources.
    """
    maps = {m.source: m for m in found.maps if (m.input, m.method) == (name, method)}
    place, mask = found.placements[name], found.masks.get(name)
    scaled = {source: _to_one(m.values) for source, m in maps.items()}
    if place.affine is None:
        rows = [OverlayRow(place.shown, scaled, mask)]
    else:
        rows = _planes(place, scaled, mask)
    chance = found.probabilities.get(found.explained, float("nan"))
    truth = f", in truth {found.label}" if found.label else ""
    title = f"{method}: what speaks for {found.explained} (probability {chance:.3f}{truth})"
    return overlay_figure(rows, title, "of the strongest place")


def write_map(one: SaliencyMap, place: Placement, path: Path) -> Path:
    """Write a map pixel for pixel: an image as PNG over its picture, a volume as NIfTI."""
    if place.affine is not None:
        volume = nib.Nifti1Image(one.values, place.affine)  # type: ignore[no-untyped-call]
        header: Any = volume.header
        header.set_xyzt_units("mm")
        target = path.with_name(f"{path.name}.nii.gz")
        with atomic_path(target, _PRIVATE) as temporary:
            temporary.write_bytes(_packed(volume))
        return target
    target = path.with_name(f"{path.name}.png")
    with atomic_path(target, _PRIVATE) as temporary:
        Image.fromarray(blend(place.shown, _to_one(one.values))).save(temporary, format="PNG")
    return target


def _packed(volume: Any) -> bytes:
    """Return a NIfTI file's bytes, gzipped without a time: the same map is the same file."""
    return gzip.compress(volume.to_bytes(), mtime=0)


def _to_one(values: Floats) -> Floats:
    top = float(values.max())
    return (values / top if top > 0 else np.zeros_like(values)).astype(np.float32)


def _planes(
    place: Placement, maps: Mapping[str, Floats], mask: NDArray[np.bool_] | None
) -> list[OverlayRow]:
    """Return the planes of a volume, upright as radiologists hang them: the patient's right at
    the left, anterior or head up.
    """
    assert place.affine is not None
    nibabel: Any = orientations
    turn = nibabel.io_orientation(place.affine)
    spacing = np.linalg.norm(place.affine[:3, :3], axis=0)
    shown = nibabel.apply_orientation(place.shown, turn)
    turned = {name: nibabel.apply_orientation(values, turn) for name, values in maps.items()}
    inside = None if mask is None else nibabel.apply_orientation(mask, turn)
    steps = np.empty(3)
    steps[turn[:, 0].astype(int)] = spacing
    total = np.sum(list(turned.values()), axis=0)
    center = [int(x) for x in np.unravel_index(int(np.argmax(total)), total.shape)]
    rows = []
    for label, axis in _PLANES:
        first, second = (a for a in range(3) if a != axis)
        rows.append(
            OverlayRow(
                picture=_upright(shown, axis, center[axis]),
                maps={n: _upright(v, axis, center[axis]) for n, v in turned.items()},
                mask=None if inside is None else _upright(inside, axis, center[axis]),
                aspect=float(steps[second] / steps[first]),
                label=label,
            )
        )
    return rows


def _upright(volume: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    """Return one plane of a volume in RAS+ with its second axis upward."""
    plane: NDArray[Any] = np.take(volume, index, axis).T[::-1]
    return plane[:, ::-1] if axis > 0 else plane


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)
