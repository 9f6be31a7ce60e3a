"""Which one series or image of a folder the bundle judges, by the bundle's own gates.

MONAI Deploy's own operators are passed by: its series operator takes the first of several, its
volume operator has no place for a single projection, stores slices in the type of the first one,
and knows MONOCHROME1 only where a presentation shape says so. The bundle reads DICOM as in
training, and refuses what it cannot read truly.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .judged_bundle import JudgedBundle
from .outcome import RefusedError


def find_reference(bundle: JudgedBundle, folder: Path) -> str:
    """Return what names the one case in a folder.

    Raises:
        RefusedError: ``AMBIGUOUS_SERIES`` or ``SEVERAL_IMAGES`` where several match; where none
            does ``OTHER_MODALITY``, ``NOT_SLICES``, ``NOT_DIAGNOSTIC`` or ``NO_IMAGES``.
    """
    if bundle.volume:
        found = bundle.script("bundle_volume_list").list_volumes(folder, (), bundle.modality)
    else:
        found = bundle.script("bundle_image_list").list_images(folder, (), bundle.modality)
        found = _without_copies(found)
    if not found:
        raise _nothing(bundle, folder)
    if len(found) > 1:
        what = "series" if bundle.volume else "images"
        code = "AMBIGUOUS_SERIES" if bundle.volume else "SEVERAL_IMAGES"
        raise RefusedError(code, f"{len(found)} {what} match this model, expected one. Send one.")
    return str(found[0])


def _without_copies(files: Sequence[str]) -> list[str]:
    """Return one of several files with the same bytes: senders that repeat make copies."""
    return list({Path(file).read_bytes(): file for file in reversed(files)}.values())


def _nothing(bundle: JudgedBundle, folder: Path) -> RefusedError:
    """Return the most telling reason why a folder holds no case."""
    tree_module = bundle.script("data_dicom_tree")
    paths = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    tree = tree_module.list_tree([str(path) for path in paths if tree_module.is_dicom_file(path)])
    kind = "volume" if bundle.volume else "image"
    reasons = {
        tree_module.reason_to_leave_out(series, kind, bundle.modality) for series in tree.series
    }
    reasons |= {"NOT_DIAGNOSTIC" for _ in tree.others}
    known = ("OTHER_MODALITY", "NOT_SLICES", "NOT_DIAGNOSTIC")
    code = next((code for code in known if code in reasons), "NO_IMAGES")
    return RefusedError(code, f"no DICOM {kind} that this model judges ({bundle.modality})")
