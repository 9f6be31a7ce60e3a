"""Which DICOM files of a class folder are one case together, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medfuse.data.dicom_tree import (
    LEFT_OUT,
    DicomTree,
    TreeSeries,
    faulty_cases,
    list_tree,
    reason_to_leave_out,
)
from medfuse.data.events import Event
from medfuse.data.pseudonyms import dicom_key
from medfuse.data.records import printable


@dataclass(frozen=True)
class DicomCase:
    """One case.

    Attributes:
        reference: a file, the folder of one series, or ``FOLDER::KEY`` of one of several.
        patient: keyed hash of its PatientID; empty where that is absent or differs.
    """

    reference: str
    patient: str = ""


def dicom_cases(
    class_folder: Path, files: Sequence[Path], kind: str, modality: str = "auto"
) -> tuple[list[DicomCase], list[Event]]:
    """Return the cases among the DICOM files below a class folder, and what was left out.

    A case of a ``volume`` is a series of slices, of an ``image`` a file. ``auto`` takes the series
    of slices, but each file of projections and photographs, each single slice that is alone in its
    folder, and each file that lies directly in the class folder. What is no diagnostic image
    (localizers, summary pages, reports) is no case. What may be one and cannot be read is a case
    that is refused when it is read.

    Args:
        class_folder: its direct files belong to no patient's folder.
        files: DICOM files somewhere below it.
        kind: ``auto``, ``image`` or ``volume``, as the input is configured.
        modality: ``CT`` and ``MR`` leave out series of other modalities, ``XR`` those of slices.
    """
    tree = list_tree([str(file) for file in files], dicom_key())
    cases: dict[str, DicomCase] = {}
    events = [_event(code, file) for file, code in tree.others if code != "DUPLICATE"]
    for series in tree.series:
        reason = reason_to_leave_out(series, kind, modality)
        events += [_event(reason, file) for file in series.files if reason]
        for reference in () if reason else _references(series, kind, class_folder):
            cases.setdefault(reference, DicomCase(reference, series.patient))
    for reference in _faulty(tree, kind, class_folder):
        cases.setdefault(reference, DicomCase(reference))
    return list(cases.values()), events


def _references(series: TreeSeries, kind: str, class_folder: Path) -> Sequence[str]:
    if kind == "image" or not series.volume:
        return series.files
    if kind == "auto":
        alone = len(series.files) == 1 and "::" not in series.reference
        if alone or any(Path(file).parent == class_folder for file in series.files):
            return series.files
    return (series.reference,)


def _faulty(tree: DicomTree, kind: str, class_folder: Path) -> Iterator[str]:
    direct = [file for file, _ in tree.faults if Path(file).parent == class_folder]
    if kind == "image":
        yield from (file for file, _ in tree.faults)
        return
    yield from (r for r in faulty_cases(tree) if r != str(class_folder) or kind != "auto")
    yield from direct if kind == "auto" else ()


def _event(code: str, file: str) -> Event:
    return Event(code, printable(file), LEFT_OUT[code], left_out=True)
