"""``medfuse predict``: a table of probabilities for image files and folders."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medfuse.serving import Prediction
    from medfuse.serving.cases import Table
    from medfuse.serving.predict import Predictor

_INPUT = (
    "file or folder of images or volumes (a folder of DICOM files is one); of a bundle of several "
    "inputs, cases.csv"
)
SUMMARY = "classify images with a bundle"
SOME_REFUSED = 3

logger = logging.getLogger("medfuse")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = (
        "Exit code: 0 every image was judged, be it that the model abstained (see status and "
        f"reason_code), 1 the bundle or an input cannot be used, {SOME_REFUSED} some images were "
        "refused, or have an answer but not the report asked for. "
        "The bundle's code is executed: use only bundles you trust."
    )
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="folder <name>_classification, or of the run it lies in"
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=_INPUT)
    parser.add_argument("--out", metavar="FILE", type=Path, help="write there, not to stdout")
    parser.add_argument(
        "--dicom-out",
        metavar="DIR",
        type=Path,
        help="also write there, into a new folder, result.json and for every case that is DICOM a "
        "structured report with its patient (needs medfuse[dicom])",
    )
    parser.add_argument("--json", action="store_true", help="JSON, not CSV")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:0 ... (auto)")
    parser.add_argument(
        "--batch-size", type=_positive, metavar="N", help="cases at once (8; 1 if volumes)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print or write the predictions; 3 if some images were refused."""
    from medfuse.serving import prediction_table
    from medfuse.serving.dicom_results import require_reports
    from medfuse.serving.inputs import bundle_in, require_inputs
    from medfuse.storage import require_file_name, write_text

    bundle_in(arguments.bundle)
    if arguments.out:
        require_file_name(arguments.out)
    require_inputs(arguments.inputs)
    if arguments.dicom_out:
        require_reports(arguments.dicom_out)
    from medfuse.serving.predict import load_bundle  # imports torch, which takes seconds

    predictor = load_bundle(arguments.bundle, arguments.device)
    found, images = _answers(arguments, predictor)
    if arguments.json:
        text = json.dumps([p.to_dict() for p in found], indent=2) + "\n"
    else:
        several = predictor.table is not None
        text = prediction_table(found, predictor.classes, several, predictor.judges)
    if arguments.out:
        write_text(arguments.out, text)
    else:
        sys.stdout.write(text)
    code = _told(found)
    if arguments.dicom_out and _reported(arguments, predictor, images, found):
        code = SOME_REFUSED
    return code


def _answers(
    arguments: argparse.Namespace, predictor: Predictor
) -> tuple[list[Prediction], list[tuple[str, ...]]]:
    """Return the answer to every case, and the references of its images."""
    from dataclasses import replace

    from medfuse.serving.inputs import expand_inputs, table_cases

    if predictor.table is not None:
        cases = table_cases(arguments.inputs, predictor.table)
        images = [_images(case, predictor.table) for case in cases]
        return predictor.predict(cases, arguments.batch_size), images
    inputs = expand_inputs(
        arguments.inputs, predictor.suffixes, predictor.volumes, predictor.modality
    )
    answers = predictor.predict([reference for _, reference in inputs], arguments.batch_size)
    named = [replace(p, case=name) for p, (name, _) in zip(answers, inputs, strict=True)]
    return named, [(reference,) for _, reference in inputs]


def _images(case: Mapping[str, str], table: Table) -> tuple[str, ...]:
    """Return the references of a case that name files, not rows of a table."""
    return tuple(case[name] for name, columns in table.items() if columns is None and name in case)


def _reported(
    arguments: argparse.Namespace,
    predictor: Predictor,
    images: Sequence[tuple[str, ...]],
    found: Sequence[Prediction],
) -> int:
    """Write the folder of reports; return how many cases should have one and do not."""
    from medfuse.serving.dicom_results import JudgedCase, model_record, write_reports
    from medfuse.serving.inputs import bundle_in

    cases = [
        JudgedCase(references, p, predictor.held(p.probabilities))
        for references, p in zip(images, found, strict=True)
    ]
    model = model_record(bundle_in(arguments.bundle), predictor.metadata)
    return write_reports(arguments.dicom_out, model, cases)


def _told(found: Sequence[Prediction]) -> int:
    """Log every case without an answer; return the exit code."""
    for status in ("refused", "abstained"):
        for p in found:
            if p.status == status:
                logger.warning("%s %s: %s", status, p.case, p.reason)
    return SOME_REFUSED if any(p.status == "refused" for p in found) else 0


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected at least 1")
    return int(text)
