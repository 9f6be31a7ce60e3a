"""Writes reports, whole and broken, and has three validators judge them."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "data" / "dicom"))

import synthetic  # noqa: E402

from medfuse.bundle.dicom_report.headers import read_headers  # noqa: E402
from medfuse.bundle.dicom_report.result import ModelRecord  # noqa: E402
from medfuse.bundle.dicom_report.tid1500 import Answer, structured_report  # noqa: E402

# What a validator says of a report that is as it should be, and why it may.
TOLERATED = {
    r"CodingSchemeDesignator.* - Unrecognized defined term = <99MEDFUSE>": (
        "dciodvfy knows no private scheme. Class names have no standard code, DICOM PS3.16 8.2 "
        "reserves 99... for such, and the report says in 0008,0110 whose the scheme is."
    ),
    r"Retired Person Name form": (
        "The name of the phantom in the vendor's files has one component; it is copied as it is."
    ),
    r"The VR checker does not support this Specific Character Set: ISO_IR 192": (
        "dsrdump checks no values in UTF-8, which stands in a report where a text is not ASCII."
    ),
}
LIMITS = [f"-Djdk.xml.xpath{name}=0" for name in ("TotalOpLimit", "ExprOpLimit", "ExprGrpLimit")]
JARS = Path("/usr/share/java")
PIXELMED = "com.pixelmed.validate.DicomSRValidator"
CODES = {"well": ("17621005", "SCT", "Normal")}
MODEL = ModelRecord("chest", "0.1.0", "ab" * 32, CODES)
TWO = {"well": 0.2345678, "sick": 0.7654322}


def reports(folder: Path) -> dict[str, Path]:
    """Write one report of each kind; no more than three images, for PixelMed takes minutes then."""
    slices = synthetic.write_series(folder / "ct", 3, in_a_study)
    picture, frames = synthetic.projection(synthetic.samples(1)), synthetic.enhanced(3)
    for dataset in (picture, frames):
        in_a_study(dataset)
    sick = Answer("ok", findings=("sick",), probabilities=TWO)
    made = {
        "series": (sorted(slices.iterdir()), sick),
        "picture": (
            [synthetic.write(picture, folder / "dx.dcm")],
            Answer("abstained", "OUT_OF_DISTRIBUTION"),
        ),
        "enhanced": (
            [synthetic.write(frames, folder / "multi_frame.dcm")],
            Answer("ok", probabilities={"Trübung": 3e-9, "b": 0.2}),
        ),
    }
    vendor = sorted((REPOSITORY.parent / "shared/data/dicom/ct_head_philips/S2010").glob("I*"))
    if vendor:
        made["vendor"] = (vendor[:3], sick)
    else:
        print("skipped: a report on a vendor's files (../shared/data/dicom is absent)")
    paths = {}
    for name, (files, answer) in made.items():
        paths[name] = folder / f"{name}.dcm"
        headers = read_headers([str(file) for file in files])
        structured_report(headers, MODEL, answer).save_as(paths[name])
    return paths


def in_a_study(dataset: Dataset, _: int = 0) -> None:
    """Add what every scanner writes of the study."""
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20240229", "101530", "S-1"


def without_unit(report: Dataset) -> None:
    """A measurement must have a unit."""
    for item in items(report):
        if item.ValueType == "NUM":
            del item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence


def with_impossible_relationship(report: Dataset) -> None:
    """A container is contained; it cannot be inferred."""
    for item in items(report):
        if item.ValueType == "CONTAINER":
            item.RelationshipType = "INFERRED FROM"


def without_verification(report: Dataset) -> None:
    """Whether somebody verified a report must be said."""
    del report.VerificationFlag


BROKEN: tuple[Callable[[Dataset], None], ...] = (
    without_unit,
    with_impossible_relationship,
    without_verification,
)


def items(dataset: Dataset) -> list[Dataset]:
    """Return every content item below one."""
    found = []
    for item in dataset.get("ContentSequence", []):
        found += [item, *items(item)]
    return found


def complaints(report: Path) -> Iterator[tuple[str, str]]:
    """Yield validator and what it says against a report, the quick ones first."""
    jars = os.pathsep.join(map(str, [JARS / "pixelmed.jar", *sorted(JARS.glob("*.jar"))]))
    commands = {
        "dciodvfy": ["dciodvfy", "-new", str(report)],
        "dsrdump": ["dsrdump", str(report)],
        "PixelMed": ["java", *LIMITS, "-cp", jars, PIXELMED, str(report)],
    }
    for name, command in commands.items():
        yield from ((name, line) for line in _said_against(name, command))


def _said_against(name: str, command: list[str]) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lines = f"{done.stdout}\n{done.stderr}".splitlines()
    found = [line for line in lines if re.match(r"\s*(Error|Warning|[EFW]:)", line)]
    found = [line for line in found if not any(re.search(text, line) for text in TOLERATED)]
    if name == "PixelMed" and not any("Found Root Template TID_1500" in line for line in lines):
        found.append("Error: no root template TID 1500")
    if done.returncode and name != "PixelMed":
        found.append(f"Error: exit status {done.returncode}")
    return found


def main(folder: Path) -> int:
    """Print one line for each report; return 1 where one is not judged as it should be."""
    failed = 0
    paths = reports(folder)
    for name, path in paths.items():
        found = [f"{validator}: {line}" for validator, line in complaints(path)]
        failed += bool(found)
        print(f"{'failed' if found else 'passed'}  the report of {name}", *found[:5], sep="\n  ")
    for change in BROKEN:
        broken = copy.deepcopy(pydicom.dcmread(paths["series"]))
        change(broken)
        broken.save_as(folder / "broken.dcm")
        judged = complaints(folder / "broken.dcm")
        errors = (f"{name}: {line}" for name, line in judged if re.match(r"\s*(Error|[EF]:)", line))
        refused = next(errors, "")
        failed += not refused
        print(
            f"{'passed' if refused else 'failed'}  a report {change.__name__} is refused: {refused}"
        )
    print(f"{len(paths) + len(BROKEN) - failed} passed, {failed} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
