"""One door for every kind of cohort: what lies at the path decides."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medfuse.config import CohortConfig, InputConfig
from medfuse.config.subgroups import Subgroup
from medfuse.data.archives import list_archive, only_archive
from medfuse.data.assemble import assemble
from medfuse.data.cells import cells_reference, holds_cells, read_cells
from medfuse.data.cohort import Case, Cohort
from medfuse.data.columns import with_columns
from medfuse.data.datalist import list_datalist
from medfuse.data.dicom_patients import with_dicom_patients
from medfuse.data.divisions import chosen_division
from medfuse.data.folders import list_folders
from medfuse.data.inputs import Inputs, is_table, require_free_names, usable
from medfuse.data.records import Listing, printable
from medfuse.data.split_file import is_split_file, read_split
from medfuse.data.tables import list_table
from medfuse.errors import CohortError

_SHOWN = 100
_LABEL_KEYS = ("label", "label_separator", "uncertain")
_FOLDERS = (
    "class folders have no columns (cohort.group_pattern finds the patient in a file name, a CSV "
    "file may hold a column of patients)"
)
_ARCHIVE = "a .npz archive names neither patients nor files; list the images in a CSV file for that"


def read_cohort(
    config: CohortConfig,
    inputs: str | Mapping[str, InputConfig] = "image",
    further: Sequence[str] = (),
    groups: Sequence[Subgroup] = (),
) -> Cohort:
    """Return the cohort at ``config.path``: class folders, CSV/TSV, JSON, ``.npz``, or the
    ``cohort.csv`` of a run.

    Of DICOM files the headers are read: what is one series, and which have one PatientID. No other
    file of a case is opened. A case has at least one input; which are missing, is seen by their
    absence from `Case.inputs`. Roles are those the source gives; `medfuse.data.split.assign_roles`
    fills the rest.

    Args:
        config: path, label and group columns, class order.
        inputs: what a case may have, by the name of the column and the key of `Case.inputs`. A
            bare name is that of one image.
        further: endings of image files in class folders, beside the built-in ones.
        groups: subgroups whose columns the cases keep.

    Raises:
        CohortError: nothing there, a row, label or file name that cannot be used, a case without
            any input, or a setting that this kind of source has no place for.
        ConfigError: an input or column has a name that says something else of a case.
    """
    wanted = {inputs: InputConfig()} if isinstance(inputs, str) else inputs
    require_free_names(wanted, config)
    path = _existing(config.path)
    if config.group is not None and config.group_pattern is not None:
        raise CohortError(
            "cohort.group and cohort.group_pattern both say who the patient is, expected one. "
            "Remove one of the two."
        )
    try:
        if path.is_file() and is_split_file(path):
            found = _read_split(path, config, None if isinstance(inputs, str) else wanted)
        else:
            listing = _usable(_listing(path, config, wanted, further), config, wanted)
            found = assemble(with_dicom_patients(listing, config), config)
    except OSError as error:
        raise CohortError(f"{path}: cannot be read ({error.strerror}).") from error
    return with_columns(found, groups, config)


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


def _usable(listing: Listing, config: CohortConfig, inputs: Inputs) -> Listing:
    rows = [(printable(record.where), record.inputs) for record in listing.records]
    fine, events = usable(rows, inputs, config.on_bad_image)
    kept = (record for record, good in zip(listing.records, fine, strict=True) if good)
    return replace(listing, records=tuple(kept), events=(*listing.events, *events))


def _read_split(path: Path, config: CohortConfig, inputs: Inputs | None) -> Cohort:
    """Return the split, with the wanted inputs or, if ``None``, with all it has."""
    cohort = chosen_division(read_split(path)[0], config.split, path)
    accepted = config.classes is not None and tuple(config.classes) == cohort.classes
    fixed = (*_LABEL_KEYS, "group", "group_pattern", *(() if accepted else ("classes",)))
    _refuse_given(path, config, fixed, "a run's cohort.csv fixes labels, patients and classes")
    if inputs is None:
        return cohort
    cases = [replace(case, inputs=_wanted(path, case, inputs)) for case in cohort.cases]
    _require_present(path, cohort, inputs)
    rows = [(f"{path}, case {case.case_id}", case.inputs) for case in cases]
    fine, events = usable(rows, inputs, config.on_bad_image)
    kept = (case for case, good in zip(cases, fine, strict=True) if good)
    return cohort.with_cases(kept, events)


def _require_present(path: Path, cohort: Cohort, inputs: Inputs) -> None:
    present = {name for case in cohort.cases for name in case.inputs}
    absent = sorted(set(inputs) - present)
    if absent:
        raise CohortError(
            f"{path}: has the inputs {', '.join(sorted(present))}, expected also "
            f"{', '.join(absent)}. Split the cohort again with this experiment."
        )


def _wanted(path: Path, case: Case, inputs: Inputs) -> dict[str, str]:
    """Return the inputs that are asked for, in their order, of tables the columns that are."""
    kept = {}
    for name in [name for name in inputs if name in case.inputs]:
        reference = case.inputs[name]
        if holds_cells(reference) != is_table(inputs[name]):
            found, expected = ("cells", "files") if holds_cells(reference) else ("files", "cells")
            raise CohortError(
                f"{path}: input {name!r} holds {found}, expected {expected} for kind: "
                f"{inputs[name].kind}. Set inputs.{name}.kind as it was when the split was made."
            )
        if is_table(inputs[name]):
            cells = read_cells(reference)
            reference = cells_reference({c: cells.get(c, "") for c in inputs[name].columns})
        if reference:
            kept[name] = reference
    return kept


def _refuse_given(path: Path, config: CohortConfig, keys: tuple[str, ...], why: str) -> None:
    """Refuse settings that would be ignored: a patient may then lie on two sides."""
    given = [k for k in keys if getattr(config, k) != CohortConfig.model_fields[k].default]
    if given:
        names = " and ".join(f"cohort.{key}" for key in given)
        raise CohortError(f"{path}: found {names}, but {why}. Remove {names}.")


def _listing(path: Path, config: CohortConfig, inputs: Inputs, further: Sequence[str]) -> Listing:
    path = (only_archive(path) if path.is_dir() else None) or path
    if path.is_dir():
        _refuse_given(path, config, (*_LABEL_KEYS, "group"), _FOLDERS)
        only = next(iter(inputs.values()), InputConfig())
        found = list_folders(path, _kind(only), only.modality, further)
        return _with_one_image(path, found, inputs)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return list_table(path, config, inputs)
    if suffix == ".json":
        return list_datalist(path, config, inputs)
    if suffix == ".npz":
        _refuse_given(path, config, (*_LABEL_KEYS, "group", "group_pattern"), _ARCHIVE)
        return _with_one_image(path, list_archive(path), inputs)
    raise CohortError(
        f"{path}: found a {suffix or 'nameless'} file, expected a folder of class folders, "
        "a .csv, .tsv, .json or .npz file."
    )


def _kind(config: InputConfig) -> str:
    """Return the kind of an input; a size tells it too."""
    if config.kind == "auto" and config.size != "auto":
        return "volume" if len(config.size) == 3 else "image"
    return config.kind


def _with_one_image(path: Path, listing: Listing, inputs: Inputs) -> Listing:
    """Return the records under the name of the only input, which is an image."""
    name = next(iter(inputs), "")
    if len(inputs) != 1 or is_table(inputs[name]):
        raise CohortError(
            f"{path}: holds one image per case, but inputs has {', '.join(sorted(inputs))}. List "
            "the cases in a CSV file with a column for each input."
        )
    records = (replace(r, inputs={name: r.inputs["image"]}) for r in listing.records)
    return replace(listing, records=tuple(records))
