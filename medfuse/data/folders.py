"""Class folders: ``CLASS/image.png``, or ``train/CLASS/image.png`` beside ``test/``.

A case may also be a volume file, a DICOM file, or a DICOM series in a tree below the class folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from medfuse.data.cohort import Role
from medfuse.data.dicom_cases import DicomCase, dicom_cases
from medfuse.data.dicom_tree import is_dicom_file
from medfuse.data.events import Event, tally
from medfuse.data.records import IMAGE_ENDINGS, Listing, Record, printable, role_named
from medfuse.errors import CohortError

_VOXEL_ENDINGS = (".raw", ".zraw")
_LOGGER = logging.getLogger("medfuse")


def list_folders(
    root: Path, kind: str = "auto", modality: str = "auto", further: Sequence[str] = ()
) -> Listing:
    """Return a record for every case below the class folders of ``root``.

    Args:
        root: folder of class folders, or of parts.
        kind: of the input: ``image``, ``volume`` or ``auto``; see `dicom_cases`.
        modality: of the input; see there.
        further: endings of image files beside the built-in ones.

    Raises:
        CohortError: no class folder, no image, a class folder without an image, or split
            folders and class folders side by side.
    """
    records: list[Record] = []
    events: list[Event] = []
    parts = _parts(root)
    endings = (*IMAGE_ENDINGS, *further)
    for folder in dict.fromkeys((root, *(folder for _, folder in parts))):
        events += _stray_images(folder, endings)
    for role, folder in parts:
        for class_folder in _subfolders(folder):
            found, left_out = cases_below(class_folder, kind, modality, endings)
            if not found:
                raise CohortError(
                    f"{class_folder}: holds no image, expected at least one of the class "
                    f"{class_folder.name!r}. Remove the folder or fill it.{_reasons(left_out)}"
                )
            events += left_out
            records += [_record(case, root, class_folder.name, role) for case in found]
    if not records:
        raise CohortError(
            f"{root}: found no image in class folders, expected CLASS/image.png or "
            "train/CLASS/image.png."
        )
    return Listing(tuple(records), root, events=tuple(events))


def _parts(root: Path) -> list[tuple[Role | None, Path]]:
    folders = _subfolders(root)
    named = [(role_named(folder.name), folder) for folder in folders]
    roles = [role for role, _ in named if role]
    if not roles:
        return [(None, root)]
    strangers = [folder.name for role, folder in named if role is None]
    if strangers or len(set(roles)) != len(roles):
        raise CohortError(
            f"{root}: found {', '.join(f.name for f in folders)}, expected either class folders "
            "or one folder each for train, validation and test. Move the others away, or list "
            "the images in a CSV file."
        )
    for role, folder in named:
        _LOGGER.info("%s: folder %s is the %s part", root, folder.name, role)
    return [(role, folder) for role, folder in named if role]


def _record(case: DicomCase, root: Path, label: str, role: Role | None) -> Record:
    return Record(
        where=case.reference,
        inputs={"image": case.reference},
        relative=Path(case.reference).relative_to(root).as_posix(),
        label=label,
        dicom_patient=case.patient,
        role=role,
    )


def _reasons(left_out: list[Event]) -> str:
    counts = ", ".join(f"{code} {count}" for code, count in tally(left_out).items())
    return f" Left out: {counts}." if counts else ""


def _subfolders(folder: Path) -> list[Path]:
    found = (Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    return sorted(path for path in found if not path.name.startswith("."))


def _stray_images(folder: Path, endings: tuple[str, ...]) -> list[Event]:
    """Return an event for each image that lies beside the class folders, in none of them."""
    found = sorted(
        printable(entry.path)
        for entry in os.scandir(folder)
        if not entry.is_dir()
        and not entry.name.startswith(".")
        and entry.name.lower().endswith((*endings, ".dcm"))
    )
    if found:
        _LOGGER.warning("%s: %d images lie in no class folder; skipped", folder, len(found))
    return [_skipped("IMAGE_WITHOUT_CLASS_SKIPPED", path, "in no class folder") for path in found]


def cases_below(
    folder: Path, kind: str, modality: str, endings: tuple[str, ...]
) -> tuple[list[DicomCase], list[Event]]:
    """Return the cases anywhere below a folder, in the order of their names, and what is none."""
    images: list[DicomCase] = []
    dicom: list[Path] = []
    events: list[Event] = []
    for path in _files(folder, events):
        if path.name.lower().endswith(endings):
            images.append(DicomCase(str(path)))
        elif is_dicom_file(path):
            dicom.append(path)
        elif not _belongs_to_a_header(path):
            name = printable(str(path))
            events.append(_skipped("OTHER_FILE_SKIPPED", name, "no image by name or content"))
    cases, left_out = dicom_cases(folder, dicom, kind, modality) if dicom else ([], [])
    found = sorted([*images, *cases], key=lambda case: Path(case.reference))
    return found, [*events, *left_out]


def _belongs_to_a_header(path: Path) -> bool:
    """Return whether a file holds the voxels of a MetaImage header beside it."""
    ours = path.suffix.lower() in _VOXEL_ENDINGS
    return ours and any(path.with_suffix(end).exists() for end in (".mhd", ".MHD"))


def _files(folder: Path, events: list[Event]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_dir():
            if path.is_symlink():
                name = printable(str(path))
                events.append(_skipped("LINKED_FOLDER_SKIPPED", name, "a link to a folder"))
        elif hidden:
            events.append(_skipped("OTHER_FILE_SKIPPED", printable(str(path)), "hidden"))
        else:
            yield path


def _skipped(code: str, path: str, why: str) -> Event:
    return Event(code, path, why, left_out=True)
