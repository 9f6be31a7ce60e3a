"""Explain: a bundle or a run, and images -> what each source looked at, and how much it counts."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medfuse.data import Cohort
from medfuse.errors import CohortError, OutputError
from medfuse.explanation.occlusion import is_graph
from medfuse.plots.style import save_figure
from medfuse.progress import progress_bar
from medfuse.report import embed_figure, write_sections
from medfuse.serving.cases import CaseInput, named_case
from medfuse.serving.inputs import expand_inputs, table_cases
from medfuse.storage import digest_of, locked, sha256_file, sweep_partial, write_json, write_text
from medfuse.workflows.explain_case import (
    AskedCase,
    CaseExplanation,
    ReadCase,
    explain_case,
    read_case,
)
from medfuse.workflows.explain_check import MOST_CASES, randomization
from medfuse.workflows.explain_files import case_figure, read_record, record_of, write_case
from medfuse.workflows.explain_page import explanation_page
from medfuse.workflows.explain_seen import images_of, same_images
from medfuse.workflows.explain_similar import (
    TrainingCases,
    nearest_cases,
    neighbor_sheet,
    training_cases,
)
from medfuse.workflows.explain_subject import (
    Explain,
    Subject,
    explainers_of,
    open_subject,
    test_cases_of,
)
from medfuse.workflows.explain_table import explanation_table, summary_of
from medfuse.workflows.output_folder import refuse_foreign_content

_STATE = "explanation.json"
_PRIVATE = 0o600
_DEFAULT = ({"use": "gradcam"},)
_MASK_ENDINGS = (".png", ".tif", ".tiff", ".npy", ".nii.gz", ".nii", ".nrrd", ".mha")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExplainOptions:
    """What is explained, and how.

    Attributes:
        methods: names of explainers, or ``{"use": name, option: value}``; Grad-CAM if empty, of a
            traced graph occlusion.
        class_name: the class that maps speak for; of each case the most probable one if ``None``.
        masks: folder of masks with the relative paths of the images, whatever their endings.
        check: measure deletion and insertion, and compare with random weights.
        neighbors: training cases to show for each case and source; needs a run.
        device: ``auto``, ``cpu``, ``cuda:0`` ...
        progress: tell on stderr how far it is, see `medfuse.progress`.
    """

    methods: Sequence[str | Mapping[str, Any]] = ()
    class_name: str | None = None
    masks: Path | str | None = None
    check: bool = False
    neighbors: int = 0
    device: str = "auto"
    progress: bool = True


@dataclass(frozen=True)
class ExplanationOutcome:
    """What was written.

    Attributes:
        folder: holds ``explanations.csv``, ``explanations.json``, ``explanations.html``, and in
            ``cases/`` the pictures and volumes.
        summary: the content of ``explanations.json``.
        refused: cases that could not be read.
    """

    folder: Path
    summary: Mapping[str, Any]
    refused: int


def explain(
    subject: Path | str,
    inputs: Sequence[CaseInput] = (),
    out: Path | str = "explanation",
    *,
    options: ExplainOptions | None = None,
    fresh: bool = False,
) -> ExplanationOutcome:
    """Explain images with a bundle, or with the bundle of a run; interrupted, it goes on.

    Args:
        subject: folder of a bundle or of a run.
        inputs: files and folders, or arrays, as `medfuse.serving.predict.Predictor.predict` takes
            them; of a run its test cases if there are none.
        out: folder for the results.
        options: methods and measures.
        fresh: replace an earlier explanation in ``out``.

    Raises:
        BundleError: the bundle cannot be built, or explained in this way.
        CohortError: an input or a mask cannot be used.
        ConfigError: the model has no such class, or a method no such option.
        PluginError: no plugin has the method.
        OutputError: ``out`` holds something else.
    """
    chosen = options or ExplainOptions()
    folder = Path(out)
    refuse_foreign_content(folder, _STATE, "explanation")
    opened = open_subject(subject, chosen.device)
    methods = _methods(opened, chosen)
    explainers = explainers_of(opened, methods)
    opened.class_index(chosen.class_name)
    with tempfile.TemporaryDirectory(prefix="medfuse-explain-") as arrays:
        asked = _asked(opened, inputs, chosen, arrays)
        with locked(folder / ".lock", "explanation folder"):
            _claim(folder, _identity(opened, methods, chosen), fresh)
            job = _Job(opened, chosen, explainers, folder / "cases")
            records, read = job.all(asked)
            rows = randomization(opened, read[:MOST_CASES], methods) if chosen.check else []
            return _finish(folder, opened, records, rows, methods)


def explain_cases(
    subject: Path | str,
    inputs: Sequence[CaseInput],
    *,
    options: ExplainOptions | None = None,
) -> Iterator[tuple[CaseExplanation, Mapping[str, str]]]:
    """Yield of each case its explanation, and by ``input, method`` a picture for a report.

    Nothing is written. A picture is a ``data:`` URI, as `medfuse.report.Figure` takes it.

    Args:
        subject: folder of a bundle or of a run.
        inputs: files, arrays, or mappings by input; folders are not searched.
        options: methods, class and device.
    """
    chosen = options or ExplainOptions()
    opened = open_subject(subject, chosen.device)
    explainers = explainers_of(opened, _methods(opened, chosen))
    wanted = opened.class_index(chosen.class_name)
    with tempfile.TemporaryDirectory(prefix="medfuse-explain-") as arrays:
        for number, given in enumerate(inputs):
            asked = AskedCase(named_case(number, given, opened.predictor.table, arrays))
            read = read_case(opened, asked)
            if isinstance(read, CaseExplanation):
                yield read, {}
                continue
            found = explain_case(opened, read, explainers, wanted)
            keys = dict.fromkeys((m.input, m.method) for m in found.maps)
            yield (
                found,
                {
                    f"{name}, {method}": embed_figure(case_figure(found, name, method), "").uri
                    for name, method in keys
                },
            )


def cases_of_run(subject: Subject, masks: Path | None, arrays: str) -> list[AskedCase]:
    """Return the test cases of a run, with the truth and the masks that are known of them.

    Args:
        subject: of a run.
        masks: folder of masks, or ``None``.
        arrays: folder for arrays in memory.
    """
    cohort: Cohort = test_cases_of(subject)
    several = subject.predictor.table is not None
    found = []
    for number, case in enumerate(cohort.cases):
        references = list(case.inputs.values())
        given: Any = dict(case.inputs) if several else references[0]
        named = named_case(number, given, _cells_known(subject), arrays)
        path = Path(references[0])
        inside = path.is_relative_to(cohort.root)
        relative = str(path.relative_to(cohort.root)) if inside else path.name
        named = replace(named, name=case.case_id)
        found.append(AskedCase(named, cohort.truth(case), _mask(masks, relative)))
    return found


@dataclass(frozen=True, eq=False)
class _Job:
    """Explains case after case; one that has a record is not explained again."""

    subject: Subject
    options: ExplainOptions
    explainers: Mapping[str, Explain]
    folder: Path

    def all(self, asked: Sequence[AskedCase]) -> tuple[list[dict[str, Any]], list[ReadCase]]:
        """Return the records of all cases, and a few cases as they were read."""
        known = None
        if self.options.neighbors:
            known = training_cases(self.subject, progress=self.options.progress)
        records: list[dict[str, Any]] = []
        kept: list[ReadCase] = []
        images = images_of(asked)
        seen = images.seen_by(self.subject)
        if seen.told("explained"):
            _log.warning("%s", seen.told("explained"))
        cases = zip(asked, images.digests, seen.by, strict=True)
        shown = self.options.progress
        bar = progress_bar(cases, "explain", len(asked), shown=shown, unit="case", leave=True)
        for one, own, learners in bar:
            read = read_case(self.subject, one)
            if isinstance(read, CaseExplanation):
                _log.warning("refused %s: %s", read.case, read.reason)
                records.append(record_of(read))
                continue
            kept += [read] if len(kept) < MOST_CASES else []
            records.append({**self._one(read, own, known), "seen_by": list(learners)})
        return records, kept

    def _one(
        self, read: ReadCase, own: frozenset[str], known: TrainingCases | None
    ) -> dict[str, Any]:
        record = read_record(self.folder, read.key)
        if record is not None:
            return {**record, "case": read.asked.case.name, "label": read.asked.label}
        same = same_images(own, known.digests) if known else []
        nearest, sheet = self._similar(read, known, same)
        wanted = self.subject.class_index(self.options.class_name)
        found = explain_case(self.subject, read, self.explainers, wanted, check=self.options.check)
        record = {**write_case(found, self.folder), "neighbors": nearest, "sheet": sheet}
        record["same_image_left_out"] = len(same)
        write_json(self.folder / f"{read.key}.json", record, _PRIVATE)
        return record

    def _similar(
        self, read: ReadCase, known: TrainingCases | None, same: Sequence[int]
    ) -> tuple[dict[str, Any], str]:
        if known is None:
            return {}, ""
        nearest = nearest_cases(self.subject, read, known, self.options.neighbors, same)
        title = "The training cases that each source finds most alike (class, distance)"
        drawing = neighbor_sheet(self.subject, read, known, nearest, title)
        plain = {
            source: [{k: v for k, v in one.items() if k != "row"} for one in found]
            for source, found in nearest.items()
        }
        if drawing is None:
            return plain, ""
        save_figure(drawing, self.folder / f"{read.key}-neighbors.png", _PRIVATE)
        return plain, f"{read.key}-neighbors.png"


def _finish(
    folder: Path,
    subject: Subject,
    records: Sequence[dict[str, Any]],
    randomized: Sequence[dict[str, Any]],
    methods: Sequence[Mapping[str, Any]],
) -> ExplanationOutcome:
    summary = {
        "bundle": subject.predictor.metadata["name"],
        "methods": [dict(method) for method in methods],
        **summary_of(records, randomized),
        "cases": list(records),
    }
    write_text(folder / "explanations.csv", explanation_table(records), _PRIVATE)
    page = explanation_page(summary, folder / "cases")
    write_sections(page, folder / "explanations.html")
    write_json(folder / "explanations.json", summary, _PRIVATE)
    refused = sum(record["status"] == "refused" for record in records)
    return ExplanationOutcome(folder, summary, refused)


def _methods(subject: Subject, options: ExplainOptions) -> list[Mapping[str, Any]]:
    given = [{"use": m} if isinstance(m, str) else dict(m) for m in options.methods]
    if given:
        return list(given)
    if is_graph(subject.network):
        _log.warning("the network is a traced graph: explained as a whole, by occlusion")
        return [{"use": "occlusion"}]
    return list(_DEFAULT)


def _asked(
    subject: Subject, inputs: Sequence[CaseInput], options: ExplainOptions, arrays: str
) -> list[AskedCase]:
    """Return the cases, with what is known of them.

    Raises:
        CohortError: there is none.
    """
    masks = None if options.masks is None else Path(options.masks)
    if masks is not None and not masks.is_dir():
        raise CohortError(f"{masks}: no such folder, expected masks.")
    found = (
        _given(subject, inputs, masks, arrays) if inputs else cases_of_run(subject, masks, arrays)
    )
    if not found:
        raise CohortError(f"{subject.run}: the run has no test case. Name images to be explained.")
    if masks is not None and not any(one.mask for one in found):
        raise CohortError(
            f"{masks}: no mask has the relative path of an image, such as "
            f"{Path(found[0].case.name).with_suffix('.png')}."
        )
    return found


def _cells_known(subject: Subject) -> Mapping[str, None] | None:
    """Return the inputs of a table; a row of one is a reference already."""
    table = subject.predictor.table
    return None if table is None else dict.fromkeys(table)


def _given(
    subject: Subject, inputs: Sequence[CaseInput], masks: Path | None, arrays: str
) -> list[AskedCase]:
    predictor = subject.predictor
    paths = [str(one) for one in inputs if isinstance(one, str | Path)]
    cases: list[tuple[str | None, CaseInput]] = []
    if predictor.table is not None:
        cases += [(None, dict(one)) for one in table_cases(paths, predictor.table)]
    elif paths:
        cases += expand_inputs(paths, predictor.suffixes, predictor.volumes, predictor.modality)
    cases += [(None, one) for one in inputs if not isinstance(one, str | Path)]
    found = []
    for number, (name, given) in enumerate(cases):
        named = named_case(number, given, predictor.table, arrays)
        named = replace(named, name=name) if name is not None else named
        found.append(AskedCase(named, mask=_mask(masks, named.name)))
    return found


def _mask(masks: Path | None, relative: str) -> Path | None:
    """Return the mask of an image, whatever the endings of both."""
    if masks is None:
        return None
    plain = relative.replace("::", "-")
    for ending in sorted(_MASK_ENDINGS, key=len, reverse=True):
        if plain.lower().endswith(ending):
            plain = plain[: -len(ending)]
            break
    else:
        plain = str(Path(plain).with_suffix(""))
    return next((f for e in _MASK_ENDINGS if (f := masks / f"{plain}{e}").is_file()), None)


def _identity(
    subject: Subject, methods: Sequence[Mapping[str, Any]], options: ExplainOptions
) -> str:
    return digest_of(
        {
            "bundle": sha256_file(subject.bundle / "SHA256SUMS"),
            "methods": [dict(method) for method in methods],
            "class": options.class_name or "",
            "masks": str(Path(options.masks).resolve()) if options.masks else "",
            "check": options.check,
            "neighbors": options.neighbors,
        }
    )


def _claim(folder: Path, identity: str, fresh: bool) -> None:
    """Take the folder for this explanation, or go on with it.

    Raises:
        OutputError: another one is there.
    """
    state = folder / _STATE
    sweep_partial(folder)
    if state.is_file() and not fresh:
        if json.loads(state.read_text(encoding="utf-8")).get("identity") != identity:
            raise OutputError(
                f"{folder}: holds an explanation by another model or other options. "
                "Choose another --out, or replace it with --fresh."
            )
        return
    shutil.rmtree(folder / "cases", ignore_errors=True)
    for name in ("explanations.csv", "explanations.json", "explanations.html"):
        (folder / name).unlink(missing_ok=True)
    mark = {"kind": "explanation", "version": 1}
    write_json(state, {"medfuse": mark, "identity": identity})
