"""Who the patient of a case is, where only its DICOM files say so."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medfuse.config import CohortConfig
from medfuse.data.cells import holds_cells
from medfuse.data.dicom_tree import TreeSeries, is_dicom_file, list_tree
from medfuse.data.events import Event
from medfuse.data.pseudonyms import dicom_key
from medfuse.data.records import IMAGE_ENDINGS, Listing, Record, printable

_LOGGER = logging.getLogger("medfuse")
_NO_DICOM = (*IMAGE_ENDINGS, ".npz")


def with_dicom_patients(listing: Listing, config: CohortConfig) -> Listing:
    """Return the records with the patients of their DICOM files, and what there is to tell.

    A record that a column, or a pattern, names the patient of is left as it is. Patients are keyed
    hashes; no PatientID leaves the process that reads the files.

    Raises:
        OutputError: the key for the hashes can be neither read nor written.
    """
    if config.group_pattern is not None:
        return listing
    unnamed = [r for r in listing.records if not (r.patient or r.dicom_patient)]
    found = _patients({ref for record in unnamed for ref in _references(record)})
    records, events = [], []
    for record in listing.records:
        several = [found[ref] for ref in _references(record) if found.get(ref)]
        if record.patient or not (record.dicom_patient or several):
            records.append(record)
            continue
        if len(set(several)) > 1:
            events.append(
                Event("SEVERAL_PATIENTS_IN_CASE", printable(record.where), "its inputs differ")
            )
        records.append(replace(record, dicom_patient=record.dicom_patient or several[0]))
    return replace(
        listing,
        records=tuple(records),
        events=(*listing.events, *events, *_told(records, listing.root)),
    )


def _told(records: Sequence[Record], root: Path) -> Iterator[Event]:
    named = [record for record in records if record.dicom_patient and not record.patient]
    for record in named:
        yield Event("PATIENT_OF_DICOM", printable(record.where), "by the PatientID of its files")
    patients = {record.dicom_patient for record in named}
    if named:
        _LOGGER.info(
            "%s: %d cases are of %d patients by the PatientID of their DICOM files",
            root, len(named), len(patients),
        )  # fmt: skip
    if len(patients) == 1 and len(records) == len(named) > 1:
        _LOGGER.warning(
            "%s: all %d cases have one PatientID, so they count as one patient and cannot be "
            "divided. If it is a placeholder, list the cases in a CSV file with a column "
            "patient_id.",
            root, len(named),
        )  # fmt: skip


def _references(record: Record) -> list[str]:
    """Return the files and folders of a record that may be DICOM, by name of the input."""
    references = [record.inputs[name] for name in sorted(record.inputs)]
    return [ref for ref in references if not holds_cells(ref) and not _is_other(ref)]


def _is_other(reference: str) -> bool:
    return reference.partition("::")[0].lower().endswith(_NO_DICOM)


def _patients(references: set[str]) -> Mapping[str, str]:
    """Return the patient of each reference whose series all have the same."""
    files = {ref: _files(Path(ref.partition("::")[0])) for ref in references}
    every = sorted({file for found in files.values() for file in found})
    if not every:
        return {}
    owner = {
        file: series for series in list_tree(every, dicom_key()).series for file in series.files
    }
    return {ref: _only(owner, found, ref.partition("::")[2]) for ref, found in files.items()}


def _only(owner: Mapping[str, TreeSeries], files: Sequence[str], key: str) -> str:
    series = [owner[file] for file in files if file in owner]
    patients = {one.patient for one in series if key in ("", one.key)}
    return patients.pop() if len(patients) == 1 else ""


def _files(path: Path) -> list[str]:
    inside = path.rglob("*") if path.is_dir() else (path,)
    return [str(file) for file in inside if is_dicom_file(file)]
