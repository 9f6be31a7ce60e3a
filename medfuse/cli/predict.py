"""``medfuse predict``: a table of probabilities for image files and folders."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medfuse.cli.counts import at_least
from medfuse.cli.trusted_key import add_trusted_key, require_trusted
from medfuse.errors import CohortError, OutputError

if TYPE_CHECKING:
    from medfuse.processes import Shard
    from medfuse.workflows.predict import BatchPrediction, PredictJob

_INPUT = (
    "file or folder of images or volumes (a folder of DICOM files is one); of a bundle of several "
    "inputs, cases.csv; without any, the folders that Mercure, MONAI Deploy or Kaapana name"
)
SUMMARY = "classify images with a bundle"
SOME_REFUSED = 3

_EPILOG = f"""\
With --out, rows are kept as they come: the same command goes on after an interruption. torchrun
divides the cases among processes. Without INPUT, each folder of results gets predictions.csv and
result.json. Exit code: 0 every image was judged, be it that the model abstained (see status and
reason_code), 1 the bundle or an input cannot be used, {SOME_REFUSED} some images were refused,
or have an answer but not the report asked for.
The bundle's code is executed: use only bundles you trust, or those that --trusted-key signed.

examples:
  medfuse predict runs/chest images/ --out predictions.csv
  torchrun --nproc-per-node 4 -m medfuse predict runs/chest images/ --out predictions.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="folder <name>_classification, or of the run it lies in"
    )
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help=_INPUT)
    parser.add_argument("--out", metavar="FILE", type=Path, help="write there, not to stdout")
    parser.add_argument(
        "--dicom-out",
        metavar="DIR",
        type=Path,
        help="also write there, into a new folder, result.json and for every case that is DICOM a "
        "structured report with its patient (needs medfuse[dicom])",
    )
    parser.add_argument(
        "--json", action="store_true", help="JSON, not CSV (a FILE named .json gets it anyway)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:0 ... (auto)")
    add_trusted_key(parser)
    parser.add_argument(
        "--batch-size", type=at_least(1), metavar="N", help="cases at once (8; 1 if volumes)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="keep no row of an earlier command to the same FILE"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print or write the predictions; 3 if some images were refused."""
    from medfuse.processes import joined_shard
    from medfuse.serving.inputs import bundle_in

    with joined_shard(os.environ) as shard:  # of several processes one says what is wrong
        bundle = bundle_in(arguments.bundle)
        require_trusted(bundle, arguments)
        return _carried_out(_jobs(bundle, arguments), bundle, arguments, shard)


def _jobs(bundle: Path, arguments: argparse.Namespace) -> Sequence[PredictJob]:
    """Return what is to be done, as far as can be seen without opening anything."""
    from medfuse.serving.inputs import require_apart, require_inputs
    from medfuse.storage import require_file_name
    from medfuse.workflows.predict import predict_jobs

    name = "predictions.json" if _as_json(arguments) else "predictions.csv"
    jobs = predict_jobs(arguments.inputs, arguments.out, os.environ, name)
    for job in jobs:
        if job.out:
            require_file_name(job.out)
            require_apart(job.out, job.inputs, bundle)
        require_inputs(job.inputs)
    if arguments.dicom_out:
        _require_reports(arguments.dicom_out, jobs)
    return jobs


def _as_json(arguments: argparse.Namespace) -> bool:
    """Tell whether JSON is asked for, by ``--json`` or by the name of the file."""
    suffix = arguments.out.suffix.lower() if arguments.out else ""
    if arguments.json and suffix == ".csv":
        raise OutputError(
            f"--json --out {arguments.out}: JSON in a file named as CSV. Name it .json, or leave "
            "out --json."
        )
    return arguments.json or suffix == ".json"


def _carried_out(
    jobs: Sequence[PredictJob], bundle: Path, arguments: argparse.Namespace, shard: Shard
) -> int:
    from medfuse.serving.batch import BatchOptions
    from medfuse.serving.predict import load_bundle  # imports torch, which takes seconds
    from medfuse.workflows.predict import BatchPrediction

    if shard.count > 1 and jobs[0].out is None:
        raise OutputError(f"{shard.count} processes cannot share stdout. Add --out FILE.")
    batch = BatchPrediction(
        bundle,
        load_bundle(arguments.bundle, shard.device(arguments.device)),
        BatchOptions(arguments.batch_size, shard, arguments.fresh, not arguments.quiet),
        _as_json(arguments),
        arguments.dicom_out,
    )
    failed = [job for job in jobs if not _done(job, batch, alone=len(jobs) == 1)]
    return 1 if failed else SOME_REFUSED if batch.refused or batch.unreported else 0


def _require_reports(folder: Path, jobs: Sequence[PredictJob]) -> None:
    from medfuse.serving.dicom_results import require_reports

    if len(jobs) > 1:
        raise OutputError(
            f"--dicom-out {folder}: one folder for {len(jobs)} series, expected one. Name an INPUT."
        )
    out = jobs[0].out
    if out and out.resolve().is_relative_to(folder.resolve()):
        raise OutputError(f"--out {out}: lies in --dicom-out {folder}, which holds reports alone.")
    require_reports(folder)


def _done(job: PredictJob, batch: BatchPrediction, alone: bool) -> bool:
    """Carry out one job; of several, one without images does not stop the others."""
    if job.out is None:
        for text in batch.printed(job):  # names of files need not be UTF-8
            encoding = sys.stdout.encoding or "utf-8"
            sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return True
    try:
        batch.write(job)
    except CohortError as error:
        if alone:
            raise
        print(f"medfuse: error: {error}", file=sys.stderr)
        return False
    return True
