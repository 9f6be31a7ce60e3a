"""One door for every kind of cohort: what lies at the path decides."""

from __future__ import annotations

import stat
from pathlib import Path

from medfuse.config import CohortConfig
from medfuse.data.archives import list_archive
from medfuse.data.assemble import assemble
from medfuse.data.cohort import Cohort
from medfuse.data.datalist import list_datalist
from medfuse.data.folders import list_folders
from medfuse.data.records import Listing, printable
from medfuse.data.split_file import is_split_file, read_split
from medfuse.data.tables import list_table
from medfuse.errors import CohortError

_SHOWN = 100
_FOLDERS = (
    "class folders have no columns (cohort.group_pattern finds the patient in a file name, a CSV "
    "file may hold a column of patients)"
)
_ARCHIVE = "a .npz archive names neither patients nor files; list the images in a CSV file for that"


def read_cohort(config: CohortConfig, input_name: str = "image") -> Cohort:
    """Return the cohort at ``config.path``: class folders, CSV/TSV, JSON, ``.npz``, or the
    ``cohort.csv`` of a run.

    No image is opened. Roles are those the source gives; `medfuse.data.split.assign_roles`
    fills the rest.

    Args:
        config: path, label and group columns, class order.
        input_name: the image column of a table, and the key of `Case.inputs`.

    Raises:
        CohortError: nothing there, a row, label or file name that cannot be used, or a setting
            that this kind of source has no place for.
    """
    path = _existing(config.path)
    if config.group is not None and config.group_pattern is not None:
        raise CohortError(
            "cohort.group and cohort.group_pattern both say who the patient is, expected one. "
            "Remove one of the two."
        )
    try:
        if path.is_file() and is_split_file(path):
            return _read_split(path, config)
        return assemble(_listing(path, config, input_name), config, input_name)
    except OSError as error:
        raise CohortError(f"{path}: cannot be read ({error.strerror}).") from error


def _existing(text: str) -> Path:
    try:
        path = Path(text).expanduser()
        mode = path.stat().st_mode
    except (OSError, ValueError, RuntimeError) as error:
        shown = printable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...").replace("\0", "?")
        raise CohortError(
            f"{shown}: there is no such file or folder that can be read. Check cohort.path."
        ) from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise CohortError(f"{path}: is neither a file nor a folder. Check cohort.path.")
    return path


def _read_split(path: Path, config: CohortConfig) -> Cohort:
    cohort = read_split(path)[0]
    accepted = config.classes is not None and tuple(config.classes) == cohort.classes
    fixed = ("label", "group", "group_pattern", *(() if accepted else ("classes",)))
    _refuse_given(path, config, fixed, "a run's cohort.csv fixes labels, patients and classes")
    return cohort


def _refuse_given(path: Path, config: CohortConfig, keys: tuple[str, ...], why: str) -> None:
    """Refuse settings that would be ignored: a patient may then lie on two sides."""
    given = [k for k in keys if getattr(config, k) != CohortConfig.model_fields[k].default]
    if given:
        names = " and ".join(f"cohort.{key}" for key in given)
        raise CohortError(f"{path}: found {names}, but {why}. Remove {names}.")


def _listing(path: Path, config: CohortConfig, input_name: str) -> Listing:
    if path.is_dir():
        _refuse_given(path, config, ("label", "group"), _FOLDERS)
        return list_folders(path)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return list_table(path, config, input_name)
    if suffix == ".json":
        return list_datalist(path, config, input_name)
    if suffix == ".npz":
        _refuse_given(path, config, ("label", "group", "group_pattern"), _ARCHIVE)
        return list_archive(path)
    raise CohortError(
        f"{path}: found a {suffix or 'nameless'} file, expected a folder of class folders, "
        "a .csv, .tsv, .json or .npz file."
    )
