"""Class folders: ``CLASS/image.png``, or ``train/CLASS/image.png`` beside ``test/``."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from medfuse.data.cohort import Role
from medfuse.data.events import Event
from medfuse.data.records import IMAGE_SUFFIXES, Listing, Record, role_named
from medfuse.errors import CohortError

_LOGGER = logging.getLogger("medfuse")


def list_folders(root: Path) -> Listing:
    """Return a record for every image below the class folders of ``root``.

    Raises:
        CohortError: no class folder, no image, a class folder without an image, or split
            folders and class folders side by side.
    """
    records: list[Record] = []
    events: list[Event] = []
    for role, folder in _parts(root):
        for class_folder in _subfolders(folder):
            found = list(_images(class_folder, events))
            if not found:
                raise CohortError(
                    f"{class_folder}: holds no image, expected at least one of the class "
                    f"{class_folder.name!r}. Remove the folder or fill it."
                )
            records += [_record(file, root, class_folder.name, role) for file in found]
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


def _record(file: Path, root: Path, label: str, role: Role | None) -> Record:
    relative = file.relative_to(root).as_posix()
    return Record(where=str(file), reference=str(file), relative=relative, label=label, role=role)


def _subfolders(folder: Path) -> list[Path]:
    found = (Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    return sorted(path for path in found if not path.name.startswith("."))


def _images(folder: Path, events: list[Event]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_dir():
            if path.is_symlink():
                events.append(Event("LINKED_FOLDER_SKIPPED", str(path), "a link to a folder"))
        elif hidden or path.suffix.lower() not in IMAGE_SUFFIXES:
            events.append(Event("OTHER_FILE_SKIPPED", str(path), "not an image by its name"))
        else:
            yield path
