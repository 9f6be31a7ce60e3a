"""One door for every kind of cohort: what lies at the path decides."""

from __future__ import annotations

from pathlib import Path

from medfuse.config import CohortConfig
from medfuse.data.archives import list_archive
from medfuse.data.assemble import assemble
from medfuse.data.cohort import Cohort
from medfuse.data.datalist import list_datalist
from medfuse.data.folders import list_folders
from medfuse.data.records import Listing
from medfuse.data.split_file import is_split_file, read_split
from medfuse.data.tables import list_table
from medfuse.errors import CohortError


def read_cohort(config: CohortConfig, input_name: str = "image") -> Cohort:
    """Return the cohort at ``config.path``: class folders, CSV/TSV, JSON, ``.npz``, or the
    ``cohort.csv`` of a run.

    No image is opened. Roles are those the source gives; `medfuse.data.split.assign_roles`
    fills the rest.

    Args:
        config: path, label and group columns, class order.
        input_name: the image column of a table, and the key of `Case.inputs`.

    Raises:
        CohortError: nothing there, or a row, label or file name that cannot be used.
    """
    path = Path(config.path).expanduser()
    if path.is_file() and is_split_file(path):
        return read_split(path)[0]
    return assemble(_listing(path, config, input_name), config, input_name)


def _listing(path: Path, config: CohortConfig, input_name: str) -> Listing:
    if path.is_dir():
        return list_folders(path)
    if not path.exists():
        raise CohortError(f"{path}: there is no such file or folder. Check cohort.path.")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return list_table(path, config, input_name)
    if suffix == ".json":
        return list_datalist(path, config, input_name)
    if suffix == ".npz":
        return list_archive(path)
    raise CohortError(
        f"{path}: found a {suffix or 'nameless'} file, expected a folder of class folders, "
        "a .csv, .tsv, .json or .npz file."
    )
