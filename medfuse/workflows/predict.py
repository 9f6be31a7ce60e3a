"""Predict: a bundle and images -> a row for each, on stdout or in files that survive a kill."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medfuse.bundle.dicom_report.result import RESULT, ModelRecord
from medfuse.bundle.digests import DIGESTS
from medfuse.errors import CohortError
from medfuse.serving.batch import BatchOptions, Format, Target, predict_to_files, predicted
from medfuse.serving.cases import ListedCase, Table
from medfuse.serving.exchange_folders import exchange_folders
from medfuse.serving.inputs import listed_cases
from medfuse.serving.prediction import Prediction
from medfuse.serving.row_formats import Columns, csv_text, json_text, result_text
from medfuse.storage import digest_of, sha256_file

if TYPE_CHECKING:
    from medfuse.serving.predict import Predictor


@dataclass(frozen=True)
class PredictJob:
    """What is read, and where the predictions go.

    Attributes:
        inputs: files and folders.
        out: the file of predictions; they are printed if ``None``.
        result: a second file, with what a platform wants to know beside them.
    """

    inputs: Sequence[str]
    out: Path | None = None
    result: Path | None = None


def predict_jobs(
    inputs: Sequence[str], out: Path | None, environment: Mapping[str, str], name: str
) -> list[PredictJob]:
    """Return what is to be predicted: the inputs, or without any what a platform lays ready.

    Args:
        inputs: files and folders.
        out: file for their predictions.
        environment: may name folders, see `exchange_folders`.
        name: of the file of predictions in a platform's folder.

    Raises:
        CohortError: there is nothing to predict, or two places for the results.
    """
    if inputs:
        return [PredictJob(inputs, out)]
    folders = exchange_folders(environment)
    if not folders:
        raise CohortError(
            "no INPUT is given, and no platform names folders (MERCURE_IN_DIR, "
            "HOLOSCAN_INPUT_PATH, WORKFLOW_DIR). Name files or folders."
        )
    if out is not None:
        raise CohortError(
            f"--out {out}: without INPUT the results go into {folders[0].results}, which the "
            "platform names. Leave out --out, or name an INPUT."
        )
    return [
        PredictJob([str(one.images)], one.results / name, one.results / RESULT) for one in folders
    ]


@dataclass
class BatchPrediction:
    """Predictions of one bundle, job after job.

    Attributes:
        bundle: its folder.
        predictor: of the bundle.
        options: how to go through the cases.
        as_json: JSON in place of CSV.
        reports: new folder for a structured report of each DICOM case; none if ``None``.
        refused: cases without an answer so far.
        unreported: cases with an answer, but without the report that was asked for.
    """

    bundle: Path
    predictor: Predictor
    options: BatchOptions = field(default_factory=BatchOptions)
    as_json: bool = False
    reports: Path | None = None
    refused: int = 0
    unreported: int = 0

    def write(self, job: PredictJob) -> None:
        """Write the predictions of a job into its files; see `predict_to_files`."""
        cases = listed_cases(job.inputs, self.predictor)
        target = self._target(job, cases)
        self.refused += predict_to_files(self.predictor, cases, target, self.options)

    def printed(self, job: PredictJob) -> Iterator[str]:
        """Yield the text of a job's predictions as they come."""
        cases, kept = listed_cases(job.inputs, self.predictor), list[Prediction]()
        found = predicted(self.predictor, cases, self.options)
        yield from self._text(self._counted(found, kept))
        self._report(cases, kept)

    def _counted(
        self, predictions: Iterable[Prediction], kept: list[Prediction]
    ) -> Iterator[Prediction]:
        """Yield the predictions; those that are to be reported are kept."""
        for one in predictions:
            self.refused += one.status == "refused"
            kept += [one] if self.reports else []
            yield one

    def _text(self, predictions: Iterable[Prediction]) -> Iterator[str]:
        if self.as_json:
            yield from json_text(one.to_dict() for one in predictions)
            yield "\n"
            return
        one = self.predictor
        columns = Columns(one.classes, with_inputs=one.table is not None, judged=one.judges)
        yield from csv_text(predictions, columns)

    def _report(self, cases: Sequence[ListedCase], predictions: Iterable[Prediction]) -> None:
        if self.reports is None:
            return
        from medfuse.serving.dicom_results import JudgedCase, write_reports

        judged = [
            JudgedCase(
                images_of(case, self.predictor.table), p, self.predictor.held(p.probabilities)
            )
            for case, p in zip(cases, predictions, strict=True)
        ]
        self.unreported += write_reports(self.reports, self._model(), judged)

    def _model(self) -> ModelRecord:
        from medfuse.serving.dicom_results import model_record

        return model_record(self.bundle, self.predictor.metadata)

    def _target(self, job: PredictJob, cases: Sequence[ListedCase]) -> Target:
        assert job.out is not None, "a job without a file is printed"
        files: dict[Path, Format] = {job.out: self._text}
        if job.result:
            files[job.result] = partial(result_text, model=self._model())
        asked = {
            "bundle": sha256_file(self.bundle / DIGESTS),
            "inputs": [str(Path(given).absolute()) for given in job.inputs],
        }
        return Target(files, digest_of(asked), partial(self._report, cases))


def images_of(case: ListedCase, table: Table | None) -> tuple[str, ...]:
    """Return the references of a case that name files, not rows of a table."""
    if table is None or not isinstance(case.given, Mapping):
        return (str(case.given),)
    names = [name for name, columns in table.items() if columns is None and name in case.given]
    return tuple(str(case.given[name]) for name in names)
