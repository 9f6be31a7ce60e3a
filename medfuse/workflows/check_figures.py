"""The pictures of a check: written as PNG, and embedded in its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medfuse import plots
from medfuse.audit import Audit, DuplicateGroup, Seen, class_name, displayed, open_picture
from medfuse.audit.shortcuts import CLEAR
from medfuse.data.image_facts import ImageFileError
from medfuse.data.plugin_reader import PluginReader
from medfuse.report import Figure
from medfuse.workflows.gallery import Gallery

_SLICES = "A few files of each class; of a volume the axial, coronal and sagittal middle slice."
_SAMPLES = 6
_MOST_CLASSES = 20
_SHEET_ROWS = 8
_SHEET_COLUMNS = 6
_SIDE = 192


def draw(found: Audit, folder: Path) -> dict[str, list[Figure]]:
    """Return the figures by section of the page, each also written to ``folder``."""
    return {
        "classes": _classes(found, folder),
        "files": _files(found, folder),
        "duplicates": _duplicates(found, folder),
        "shortcuts": _shortcuts(found, folder),
    }


def _classes(found: Audit, folder: Path) -> list[Figure]:
    gallery = Gallery(folder)
    cohort = found.cohort
    counts = cohort.counts()
    names = [
        *cohort.classes,
        *(["unknown"] if any("unknown" in r for r in counts.values()) else []),
    ]
    gallery.add("class_counts", plots.class_counts(counts, names), "Cases of each class, by part.")
    totals = {name: sum(row.get(name, 0) for row in counts.values()) for name in names}
    gallery.add("class_pie", plots.class_pie(totals), "Share of each class.")
    samples = _samples(found)
    if samples:
        grid = plots.sample_grid(samples, "Files of each class, evenly picked")
        gallery.add("samples", grid, _SLICES, wide=True)
    return gallery.figures


def _files(found: Audit, folder: Path) -> list[Figure]:
    if not found.scan.seen:
        return []
    gallery = Gallery(folder)
    looks = _by_class(found)
    names = ("height (px)", "width (px)") if _flat(found) else ("columns", "rows", "slices")
    sizes = {
        name: {label: [item.look.shape[axis] for item in items] for label, items in looks.items()}
        for axis, name in enumerate(names)
    }
    gallery.add("sizes", plots.histograms(sizes, "Size of the files"), "Size by class.")
    values = {
        "mean (stored units)": {k: [i.look.mean for i in v] for k, v in looks.items()},
        "standard deviation": {k: [i.look.std for i in v] for k, v in looks.items()},
        "1st percentile": {k: [i.look.percentiles[0] for i in v] for k, v in looks.items()},
        "99th percentile": {k: [i.look.percentiles[2] for i in v] for k, v in looks.items()},
    }
    drawing = plots.histograms(values, "Intensity of the files")
    gallery.add("intensities", drawing, "Intensity by class, one value per file.", wide=True)
    return gallery.figures


def _duplicates(found: Audit, folder: Path) -> list[Figure]:
    gallery = Gallery(folder)
    for kind, text in {"exact": "Identical pixels", "near": "Near duplicates"}.items():
        groups = sorted(found.groups(kind), key=_urgency)[:_SHEET_ROWS]
        rows = [_sheet_row(found, group) for group in groups]
        if rows:
            title = f"{text}: {len(rows)} of {len(found.groups(kind))} groups, one per row"
            sheet = plots.contact_sheet(rows, title, _SHEET_COLUMNS)
            caption = f"{text}, those across labels or parts first."
            gallery.add(f"duplicates_{kind}", sheet, caption, wide=True)
    return gallery.figures


def _shortcuts(found: Audit, folder: Path) -> list[Figure]:
    if not found.shortcuts.shortcuts:
        return []
    gallery = Gallery(folder)
    rows = [(s.name, s.auroc, s.low, s.high) for s in found.shortcuts.shortcuts]
    caption = "Macro AUROC, cross-validated by patient, with 95 % intervals. Dashed: called clear."
    gallery.add("shortcuts", plots.shortcut_bars(rows, CLEAR), caption)
    return gallery.figures


def _samples(found: Audit) -> dict[str, list[NDArray[np.float32]]]:
    grid: dict[str, list[NDArray[np.float32]]] = {}
    for name, items in list(_by_class(found).items())[:_MOST_CLASSES]:
        places = np.linspace(0, len(items) - 1, min(_SAMPLES, len(items))).round().astype(int)
        pictures = [_picture(items[place], found.scan.readers) for place in np.unique(places)]
        grid[name] = [picture[None] for picture in pictures if picture is not None]
    return {name: row for name, row in grid.items() if row}


def _sheet_row(found: Audit, group: DuplicateGroup) -> list[tuple[str, NDArray[np.float32]]]:
    row: list[tuple[str, NDArray[np.float32]]] = []
    for place in group.members:
        item = found.scan.seen[place]
        shown = len(row) < _SHEET_COLUMNS
        blank = np.zeros((1, 1), dtype=np.float32)
        picture = _picture(item, found.scan.readers) if shown else blank
        if picture is not None:
            about = " ".join(filter(None, (class_name(found.cohort, item.case), item.case.role)))
            row.append((f"{item.case.case_id}\n{about}", picture))
    return row


def _picture(item: Seen, readers: Sequence[PluginReader]) -> NDArray[np.float32] | None:
    """Return a small picture; ``None`` where the file went away since it was read."""
    try:
        shown = displayed(open_picture(item.reference, readers))
    except ImageFileError:
        return None
    step = max(1, min(shown.shape) // _SIDE)
    return shown[::step, ::step]


def _urgency(group: DuplicateGroup) -> tuple[int, int, int]:
    return (-len(group.labels), -len(group.roles), -len(group.members))


def _by_class(found: Audit) -> dict[str, list[Seen]]:
    names = (*found.cohort.classes, "unknown")
    groups: dict[str, list[Seen]] = {name: [] for name in names}
    for item in found.scan.seen:
        groups[class_name(found.cohort, item.case)].append(item)
    return {name: items for name, items in groups.items() if items}


def _flat(found: Audit) -> bool:
    return any(len(item.look.shape) == 2 for item in found.scan.seen)
