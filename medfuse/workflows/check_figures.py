"""The pictures of a check: written as PNG, and embedded in its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medfuse import plots
from medfuse.audit import Audit, DuplicateGroup, Seen, class_name, displayed, open_picture
from medfuse.audit.middle_slices import SIDE
from medfuse.audit.shortcuts import CLEAR
from medfuse.data.cohort import UNKNOWN
from medfuse.data.image_facts import ImageFileError
from medfuse.data.plugin_reader import PluginReader
from medfuse.report import Figure
from medfuse.workflows.gallery import Gallery

_FILES = "A few files of each class."
_SLICES = "A few volumes of each class: axial, coronal and sagittal middle slice."
_SAMPLES = 6
_VOLUMES = 2
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
    several = cohort.multilabel
    caption = "Cases with each label, by part." if several else "Cases of each class, by part."
    sizes = cohort.sizes() if several else None
    gallery.add("class_counts", plots.class_counts(counts, names, sizes), caption)
    totals = {name: sum(row.get(name, 0) for row in counts.values()) for name in names}
    if not several:  # labels of one case overlap: they are no shares of a whole
        gallery.add("class_pie", plots.class_pie(totals), "Share of each class.")
    for name, suffix in _inputs(found).items():
        samples = _samples(found, name)
        if samples:
            grid = plots.sample_grid(samples, f"Files of each class, evenly picked{suffix}")
            caption = _FILES if _flat(found, name) else _SLICES
            gallery.add(_named("samples", suffix), grid, caption, wide=True)
    return gallery.figures


def _files(found: Audit, folder: Path) -> list[Figure]:
    gallery = Gallery(folder)
    for name, suffix in _inputs(found).items():
        _measures(found, name, suffix, gallery)
    return gallery.figures


def _measures(found: Audit, name: str, suffix: str, gallery: Gallery) -> None:
    looks = _by_class(found, name)
    flat = _flat(found, name)
    names = ("height (px)", "width (px)") if flat else ("columns", "rows", "slices")
    sizes = {
        side: {label: [item.look.shape[axis] for item in items] for label, items in looks.items()}
        for axis, side in enumerate(names)
    }
    drawing = plots.histograms(sizes, f"Size of the files{suffix}")
    gallery.add(_named("sizes", suffix), drawing, "Size by class.", wide=True)
    values = {
        "mean (stored units)": {k: [i.look.mean for i in v] for k, v in looks.items()},
        "standard deviation": {k: [i.look.std for i in v] for k, v in looks.items()},
        "1st percentile": {k: [i.look.percentiles[0] for i in v] for k, v in looks.items()},
        "99th percentile": {k: [i.look.percentiles[2] for i in v] for k, v in looks.items()},
    }
    drawing = plots.histograms(values, f"Intensity of the files{suffix}")
    caption = "Intensity by class, one value per file."
    gallery.add(_named("intensities", suffix), drawing, caption, wide=True)


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
    rows = [(s.title, s.auroc, s.low, s.high) for s in found.shortcuts.shortcuts]
    caption = "Macro AUROC, cross-validated by patient, with 95 % intervals. Dashed: called clear."
    gallery.add("shortcuts", plots.shortcut_bars(rows, CLEAR), caption)
    return gallery.figures


def _samples(found: Audit, name: str) -> dict[str, list[NDArray[np.float32]]]:
    grid: dict[str, list[NDArray[np.float32]]] = {}
    most = _SAMPLES if _flat(found, name) else _VOLUMES
    for label, items in list(_by_class(found, name).items())[:_MOST_CLASSES]:
        places = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
        pictures = [_picture(items[place], found.scan.readers) for place in np.unique(places)]
        grid[label] = [picture[None] for picture in pictures if picture is not None]
    return {label: row for label, row in grid.items() if row}


def _sheet_row(found: Audit, group: DuplicateGroup) -> list[tuple[str, NDArray[np.float32]]]:
    row: list[tuple[str, NDArray[np.float32]]] = []
    for place in group.members:
        item = found.scan.seen[place]
        shown = len(row) < _SHEET_COLUMNS
        blank = np.zeros((1, 1), dtype=np.float32)
        picture = _picture(item, found.scan.readers) if shown else blank
        if picture is not None:
            about = " ".join(filter(None, (class_name(found.cohort, item.case), item.case.role)))
            compared = picture if len(item.look.shape) == 2 else picture[:, :SIDE]
            row.append((f"{PurePosixPath(item.case.case_id).name}\n{about}", compared))
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
    differing = group.contradictory * len(group.labels)
    return (-differing, -len(group.roles), -len(group.members))


def _inputs(found: Audit) -> dict[str, str]:
    """Return the inputs that have files, each with what tells it apart in a title."""
    names = sorted({item.input for item in found.scan.seen})
    return {name: f": {name}" if len(names) > 1 else "" for name in names}


def _named(figure: str, suffix: str) -> str:
    return f"{figure}{suffix.replace(': ', '_')}"


def _by_class(found: Audit, name: str) -> dict[str, list[Seen]]:
    groups: dict[str, list[Seen]] = {name: [] for name in found.cohort.classes}
    for item in found.scan.seen:
        if item.input == name:
            groups.setdefault(class_name(found.cohort, item.case), []).append(item)
    unknown = groups.pop(UNKNOWN, [])
    return {name: items for name, items in {**groups, UNKNOWN: unknown}.items() if items}


def _flat(found: Audit, name: str) -> bool:
    return any(len(item.look.shape) == 2 for item in found.scan.seen if item.input == name)
