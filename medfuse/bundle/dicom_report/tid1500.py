"""A DICOM measurement report (TID 1500) of one prediction, as a Comprehensive 3D SR.

Source: DICOM PS3.16, templates 1500, 1501, 1600 and 4019; the choice of object and root template
is that of the IHE profile AI Results (AIR). A class has the standard code that the
bundle gives it; any other is one of the private scheme ``99MEDFUSE``.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import highdicom
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageLibrary,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from .headers import ReportError, quiet
from .result import NOTICE, ModelRecord

SCHEME = "99MEDFUSE"
SERIES = "Research result, not for clinical use"
_MAKER = "medfuse"
_SERIES_NUMBER = 9001
_CONTAINS = RelationshipTypeValues.CONTAINS
_PROCEDURES = {
    "CT": ("25045-6", "LN", "CT unspecified body region"),
    "MR": ("25056-3", "LN", "MRI unspecified body region"),
    "NM": ("49118-3", "LN", "NM unspecified body region"),
    "PT": ("44136-0", "LN", "PET unspecified body region"),
}
_ANY_PROCEDURE = ("363679005", "SCT", "Imaging procedure")
_LANGUAGE = CodedConcept("en-US", "RFC5646", "English (United States)")
_EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
_LONG, _SHORT = 64, 16


@dataclass(frozen=True)
class Answer:
    """What a model says of one case that it could read.

    Attributes:
        status: ``ok``, or ``abstained`` where it does not trust its answer.
        reason_code: why it abstained.
        findings: the classes that hold; none if it abstained.
        probabilities: class -> probability; left out of the report if it abstained.
    """

    status: str
    reason_code: str = ""
    findings: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)


def structured_report(
    headers: Sequence[Dataset], model: ModelRecord, answer: Answer
) -> Comprehensive3DSR:
    """Return the report, in the study of the images and in a new series; every UID is new.

    Args:
        headers: of all images that were judged; `read_headers` reads them.
        model: the bundle.
        answer: of a case that was read. A refused case has no report.

    Raises:
        ReportError: ``NO_REPORT``: highdicom cannot express it; the text quotes no value.
    """
    if answer.status not in ("ok", "abstained"):
        raise ReportError("NO_REPORT", f"A case with status {answer.status} has no report.")
    try:
        with quiet():
            return _report(headers, model, answer)
    except Exception as error:  # noqa: BLE001 - its text may quote the patient
        name = type(error).__name__
        raise ReportError("NO_REPORT", f"The report cannot be built ({name}).") from None


def class_code(name: str, known: Mapping[str, tuple[str, str, str]]) -> CodedConcept:
    """Return the standard code of a class; a private one where it has none.

    The private code is the name itself where it is one, else its digest.
    """
    if name in known:
        return CodedConcept(*known[name])
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name) and len(name) <= _SHORT
    value = name if plain else hashlib.sha256(name.encode()).hexdigest()[:_SHORT]
    return CodedConcept(value, SCHEME, _line(name))


def _report(headers: Sequence[Dataset], model: ModelRecord, answer: Answer) -> Comprehensive3DSR:
    root = ContainerContentItem(codes.DCM.ImagingMeasurementReport, template_id="1500")
    root.ContentSequence = ContentSequence()
    for part in (
        LanguageOfContentItemAndDescendants(_LANGUAGE),
        _observer(model),
        [_procedure(headers)],
        ImageLibrary([_library_entry(header) for header in headers]),
        _measurements(model, answer),
        [_evaluations(model, answer)],
    ):
        root.ContentSequence.extend(part)
    report = Comprehensive3DSR(
        evidence=list(headers),
        content=root,
        series_instance_uid=highdicom.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=_MAKER,
        manufacturer_model_name=_line(model.name),
        software_versions=_line(model.version),
        series_description=SERIES,
        is_complete=True,
        is_final=False,
        is_verified=False,
        content_qualification="RESEARCH",
        coding_schemes=[
            CodingSchemeIdentificationItem(
                SCHEME, name="Classes of medfuse bundles", responsible_organization=_MAKER
            )
        ],
    )
    if not all(map(str.isascii, _texts(headers[0], model, answer))):
        report.SpecificCharacterSet = "ISO_IR 192"
    return report


def _texts(header: Dataset, model: ModelRecord, answer: Answer) -> list[str]:
    """Return all that is written and not of medfuse."""
    copied = [str(header.get(keyword, "")) for keyword in header.dir()]
    meanings = [meaning for _, _, meaning in model.codes.values()]
    named = [*answer.findings, *answer.probabilities, *meanings]
    return [*copied, model.name, model.version, *named]


def _observer(model: ModelRecord) -> ObservationContext:
    """The device is this bundle: the same files have the same UID in every report."""
    device = DeviceObserverIdentifyingAttributes(
        uid=f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, model.digest).int}",
        name=_MAKER,
        manufacturer_name=_MAKER,
        model_name=_line(model.name),
    )
    return ObservationContext(ObserverContext(codes.DCM.Device, device))


def _procedure(headers: Sequence[Dataset]) -> ContentItem:
    """The imaging that is reported on; of a procedure of the images' own no code is known."""
    kinds = {str(header.get("Modality", "")) for header in headers}
    known = _PROCEDURES.get(kinds.pop(), _ANY_PROCEDURE) if len(kinds) == 1 else _ANY_PROCEDURE
    return CodeContentItem(
        codes.DCM.ProcedureReported, CodedConcept(*known), RelationshipTypeValues.HAS_CONCEPT_MOD
    )


def _library_entry(header: Dataset) -> Dataset:
    """For CT, MR and X-ray highdicom wants attributes that many images lack, so this is OT."""
    entry = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "FrameOfReferenceUID", "Rows", "Columns"):
        if keyword in header:
            setattr(entry, keyword, header[keyword].value)
    entry.Modality = "OT"
    return entry


def _measurements(model: ModelRecord, answer: Answer) -> list[ContentItem]:
    """A group for each class, none where the model abstained."""
    if answer.status != "ok":
        return []
    container = ContainerContentItem(codes.DCM.ImagingMeasurements, relationship_type=_CONTAINS)
    container.ContentSequence = ContentSequence()
    for name, probability in answer.probabilities.items():
        container.ContentSequence.extend(_group(model, name, probability))
    return [container]


def _group(
    model: ModelRecord, name: str, probability: float
) -> MeasurementsAndQualitativeEvaluations:
    percent = float(f"{100 * probability:.6g}")
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(highdicom.UID(), identifier=_line(name)),
        finding_type=class_code(name, model.codes),
        algorithm_id=_algorithm(model),
        measurements=[Measurement(codes.DCM.Probability, percent, codes.UCUM.Percent)],
    )


def _algorithm(model: ModelRecord) -> AlgorithmIdentification:
    parameters = [f"bundle SHA-256 {model.digest}", NOTICE]
    algorithm = AlgorithmIdentification(model.name, model.version, parameters)
    algorithm.append(  # an argument only since highdicom 0.28
        CodeContentItem(
            codes.DCM.AlgorithmFamily,
            codes.DCM.ArtificialIntelligence,
            RelationshipTypeValues.HAS_CONCEPT_MOD,
        )
    )
    return algorithm


def _evaluations(model: ModelRecord, answer: Answer) -> ContentItem:
    container = ContainerContentItem(_EVALUATIONS, relationship_type=_CONTAINS)
    status = CodedConcept(answer.status, SCHEME, answer.status)
    items: list[ContentItem] = [
        CodeContentItem(CodedConcept("status", SCHEME, "Status"), status, _CONTAINS)
    ]
    items += [
        CodeContentItem(codes.DCM.Finding, class_code(name, model.codes), _CONTAINS)
        for name in answer.findings
    ]
    remarks = [NOTICE, f"Model {model.name} {model.version}, bundle SHA-256 {model.digest}."]
    if answer.status != "ok":
        remarks.insert(0, f"The model abstained: {answer.reason_code}.")
    elif not answer.findings:
        remarks.insert(0, "No class reached its threshold.")
    items += [TextContentItem(codes.DCM.Comment, remark, _CONTAINS) for remark in remarks]
    container.ContentSequence = ContentSequence(items)
    return container


def _line(text: str) -> str:
    """Return a text that fits an attribute of 64 characters."""
    return re.sub(r"[\\\x00-\x1f\x7f]", " ", text)[:_LONG]
