"""The files of a comparison: predictions of every candidate, and its tables in three formats."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.evaluation.candidates import Candidate
from medfuse.evaluation.prediction_table import csv_line, guarded
from medfuse.report import (
    QUESTIONS,
    Table,
    candidate_table,
    fold_comparison_table,
    latex_table,
    markdown_table,
    score_titles,
)
from medfuse.storage import write_text
from medfuse.workflows.compare_task import CompareTask

_GAPS = ("auroc", "accuracy", "log_loss")


def write_candidate_predictions(
    task: CompareTask, candidates: Sequence[Candidate], path: Path
) -> None:
    """Write what every candidate says of every case, one a row, readable by the owner only.

    Columns: ``candidate, case_id, fold, label, predicted, prob_CLASS...``; a case without the input
    of any of a candidate's sources has no row. Of several labels, ``label`` and ``predicted`` join
    names by ``;``, the latter those of a probability of one half or more, and ``true_LABEL...``
    follow: 1, 0, or blank where unknown.
    """
    cohort, classes = task.compared.prepared.cohort, task.workshop.cases.classes
    header = ["candidate", "case_id", "fold", "label", "predicted", *(f"prob_{c}" for c in classes)]
    header += [f"true_{c}" for c in classes] if cohort.multilabel else []
    lines = [csv_line(header)]
    # What is the same for all candidates.
    cases = [
        (
            [*map(guarded, (case.case_id, str(task.compared.folds[row]), cohort.truth(case)))],
            ["" if one is None else str(one) for one in case.findings],
        )
        for row, case in enumerate(task.compared.cases)
    ]
    for candidate in candidates:
        name = guarded(candidate.name)
        for row, (facts, truth) in enumerate(cases):
            if candidate.visible is not None and not candidate.visible[row]:
                continue
            chances = candidate.probabilities[row]
            predicted = guarded(_predicted(chances, classes, cohort.multilabel))
            numbers = (f"{x:.9g}" for x in chances)
            lines.append(csv_line([name, *facts, predicted, *numbers, *truth]))
    write_text(path, "".join(lines), mode=0o600)


def _predicted(chances: NDArray[np.float64], classes: Sequence[str], several: bool) -> str:
    if several:
        return ";".join(c for c, x in zip(classes, chances, strict=True) if x >= 0.5)
    return classes[int(chances.argmax())]


def write_tables(comparison: Mapping[str, Any], folder: Path) -> None:
    """Write the tables as ``.csv`` (all digits), ``.md`` and ``.tex`` (as they are read).

    Those of an earlier comparison, which may have asked more, are removed first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    _write(folder / "candidates", _candidate_csv(comparison), candidate_table(comparison))
    for question in QUESTIONS:
        rows = [row for row in comparison["comparisons"] if row["question"] == question]
        if rows:
            shown = fold_comparison_table(comparison, question)
            _write(folder / question, _comparison_csv(rows), shown)
    if comparison.get("curve"):
        write_text(folder / "curve.csv", _curve_csv(comparison["curve"]))


def _write(stem: Path, csv: str, table: Table) -> None:
    write_text(stem.with_suffix(".csv"), csv)
    write_text(stem.with_suffix(".md"), markdown_table(table))
    write_text(stem.with_suffix(".tex"), latex_table(table, stem.name))


def _candidate_csv(comparison: Mapping[str, Any]) -> str:
    names = score_titles(comparison)
    parts = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    folds = [f"auroc_fold_{i}" for i in range(comparison["folds"])]
    lines = [csv_line(["candidate", "kind", "sources", "cases", "cases_seen", *parts, *folds])]
    for found in comparison["candidates"]:
        scores = [found.get(name) or {} for name in names]
        numbers = [score.get(end) for score in scores for end in ("value", "low", "high")]
        numbers += found["auroc_by_fold"] or [None] * comparison["folds"]
        texts = [found["name"], found["kind"], " + ".join(found["sources"]), str(found["cases"])]
        texts.append(str(comparison["seen"][found["name"]]))
        lines.append(csv_line([*map(guarded, texts), *map(_number, numbers)]))
    return "".join(lines)


def _comparison_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    ends = ("difference", "low", "high", "p_value")
    parts = [f"{name}_{end}" for name in _GAPS for end in ends]
    tail = ["p_value", "p_holm", "p_folds", "mcnemar_mid_p"]
    lines = [csv_line(["first", "second", "cases", *parts, *tail])]
    for row in rows:
        gaps = [row.get(name) or {} for name in _GAPS]
        numbers = [gap.get(end) for gap in gaps for end in ends]
        numbers += [row["p_value"], row["p_adjusted"], row["p_folds"]]
        numbers.append(row.get("mcnemar", {}).get("p_mid"))
        texts = [row["first"], row["second"], str(row["cases"])]
        lines.append(csv_line([*map(guarded, texts), *map(_number, numbers)]))
    return "".join(lines)


def _curve_csv(curve: Mapping[str, Any]) -> str:
    lines = [csv_line(["candidate", "cases", "draw", "fold", "auroc", "accuracy"])]
    for point in curve["fits"]:
        texts = [point["candidate"], *(str(point[key]) for key in ("cases", "draw", "fold"))]
        numbers = [point["auroc"], point["accuracy"]]
        lines.append(csv_line([*map(guarded, texts), *map(_number, numbers)]))
    return "".join(lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"
