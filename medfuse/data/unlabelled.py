"""Images of which no label is needed: any folder of files, or a cohort whose labels are ignored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medfuse.config import CohortConfig, InputConfig
from medfuse.data.archives import only_archive
from medfuse.data.cohort import Case, Cohort, Role
from medfuse.data.dicom_cases import DicomCase
from medfuse.data.folders import cases_below
from medfuse.data.read import read_cohort
from medfuse.data.records import IMAGE_ENDINGS, role_named
from medfuse.errors import CohortError

IMAGE = "image"


def read_unlabelled(
    path: str, config: InputConfig | None = None, further: Sequence[str] = ()
) -> Cohort:
    """Return the images at a path as a cohort with the one input ``image``.

    All images anywhere below a folder are cases. Those below a folder that is called train or
    test (or as `medfuse.data.read_cohort` knows them) have that role, and what is below a first
    folder of another name has its name as the class. A file is read as a cohort.

    Args:
        path: a folder; or a CSV, TSV, JSON or ``.npz`` file.
        config: kind and modality of the images, for series of DICOM files.
        further: endings of image files, beside the built-in ones.

    Raises:
        CohortError: nothing there, or no image.
    """
    config = config or InputConfig()
    folder = Path(path).expanduser()
    if not folder.is_dir() or only_archive(folder):
        return read_cohort(CohortConfig(path=path), {IMAGE: config}, further)
    try:
        endings = (*IMAGE_ENDINGS, *further)
        found, events = cases_below(folder, config.kind, config.modality, endings)
    except OSError as error:
        raise CohortError(f"{folder}: cannot be read ({error.strerror}).") from error
    if not found:
        raise CohortError(f"{folder}: holds no image, expected some. Check the path.")
    parts = [_parts(case.reference, folder) for case in found]
    classes = tuple(sorted({label for _, label in parts if label}))
    cases = [_case(*pair, folder, classes) for pair in zip(found, parts, strict=True)]
    given = any(case.role for case in cases)
    return Cohort(tuple(cases), classes, folder, tuple(events), given_roles=given)


def _parts(reference: str, root: Path) -> tuple[Role | None, str]:
    """Return the role and the class that the folders above a file name."""
    above = Path(reference.partition("::")[0]).relative_to(root).parts[:-1]
    roles = [role_named(name) for name in above]
    role = next((found for found in roles if found), None)
    names = [name for name, found in zip(above, roles, strict=True) if found is None]
    return role, names[0] if names else ""


def _case(
    found: DicomCase, parts: tuple[Role | None, str], root: Path, classes: tuple[str, ...]
) -> Case:
    role, label = parts
    file, mark, key = found.reference.partition("::")
    name = f"{Path(file).relative_to(root).as_posix()}{mark}{key}"
    return Case(
        case_id=name,
        inputs={IMAGE: found.reference},
        label=classes.index(label) if label else None,
        patient_id=found.patient or name,
        role=role,
    )
