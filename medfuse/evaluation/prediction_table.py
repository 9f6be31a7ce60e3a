"""``predictions.csv``: one row per case, safe to open in a spreadsheet, read back unchanged."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from medfuse.errors import EvaluationError
from medfuse.storage import write_text

Status = Literal["ok", "abstained", "refused"]

_COLUMNS = ("case_id", "role", "label", "status", "reason_code", "predicted")
_QUOTED = frozenset('",\r\n')
# A spreadsheet runs cells that begin like this as formulas (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


@dataclass(frozen=True, kw_only=True)
class PredictionRow:
    """What the model says of one case.

    Attributes:
        case_id: as in the cohort.
        role: train, validation, calibration or test; empty for new images.
        label: true class name; empty where unknown.
        status: ``ok``, ``abstained`` or ``refused``.
        reason_code: why it was not ``ok``.
        predicted: class name; empty if abstained or refused.
        probabilities: one per class; empty if refused.
        shares: how much each source counted; empty where the fusion has none.
        findings: of several labels per case, the true answer to each: 1, 0 or ``None``.
        conformal_set: classes that cannot be ruled out; empty where there are no sets.
        distances: of each source, as multiples of its limit; empty where there are none.
    """

    case_id: str
    role: str = ""
    label: str = ""
    status: Status = "ok"
    reason_code: str = ""
    predicted: str = ""
    probabilities: Sequence[float] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    findings: Sequence[int | None] = ()
    conformal_set: Sequence[str] = ()
    distances: Mapping[str, float] = field(default_factory=dict)


def write_predictions(
    path: Path | str, rows: Sequence[PredictionRow], classes: Sequence[str]
) -> None:
    """Write ``rows`` as CSV, whole or not at all, readable by its owner only.

    A text that a spreadsheet would run as a formula gets a leading apostrophe, which
    `read_predictions` takes away again. Numbers keep nine significant digits, enough to
    restore a float32.

    Raises:
        EvaluationError: a row has neither no probability nor one per class.
    """
    sources = list(dict.fromkeys(name for row in rows for name in row.shares))
    answers = classes if any(row.findings for row in rows) else ()
    far = list(dict.fromkeys(name for row in rows for name in row.distances))
    sets = ["set"] if any(row.conformal_set for row in rows) else []
    header = [*_COLUMNS, *(f"prob_{c}" for c in classes), *(f"true_{c}" for c in answers)]
    header += [*(f"share_{s}" for s in sources), *(f"distance_{s}" for s in far), *sets]
    lines = [csv_line(header)]
    for number, row in enumerate(rows, start=2):
        if len(row.probabilities) not in (0, len(classes)):
            raise EvaluationError(
                f"{path}: row {number} has {len(row.probabilities)} probabilities, expected "
                f"{len(classes)}, or none for a refused case."
            )
        chances: list[float | None] = [*row.probabilities] or [None] * len(classes)
        truth = [*row.findings] or [None] * len(answers)
        numbers = [*chances, *truth, *(row.shares.get(name) for name in sources)]
        numbers += [row.distances.get(name) for name in far]
        last = [guarded(";".join(row.conformal_set))] if sets else []
        texts = [guarded(str(getattr(row, column))) for column in _COLUMNS]
        lines.append(csv_line([*texts, *map(_number, numbers), *last]))
    write_text(path, "".join(lines), mode=0o600)


def read_predictions(path: Path | str) -> tuple[list[PredictionRow], tuple[str, ...]]:
    """Return the rows and the class names of a file that `write_predictions` wrote.

    Raises:
        EvaluationError: the file cannot be read or has other columns.
    """
    try:
        # newline="" keeps line breaks inside quoted cells as they were written.
        with Path(path).open(encoding="utf-8", newline="") as stream:
            table = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path}: cannot be read as a prediction table ({error}).") from error
    header = table[0] if table else []
    if tuple(header[: len(_COLUMNS)]) != _COLUMNS:
        raise EvaluationError(
            f"{path}: found columns {', '.join(header[:6]) or '(none)'}, expected them to begin "
            f"with {', '.join(_COLUMNS)}."
        )
    rest = header[len(_COLUMNS) :]
    classes = tuple(name[len("prob_") :] for name in rest if name.startswith("prob_"))
    return [_parsed(dict(zip(header, cells, strict=False))) for cells in table[1:]], classes


def _parsed(cells: Mapping[str, str]) -> PredictionRow:
    return PredictionRow(
        **{name: _unguarded(cells[name]) for name in _COLUMNS},  # type: ignore[arg-type]
        probabilities=tuple(_numbers(cells, "prob_").values()),
        shares=_numbers(cells, "share_"),
        distances=_numbers(cells, "distance_"),
        conformal_set=tuple(filter(None, _unguarded(cells.get("set", "")).split(";"))),
        findings=tuple(
            int(cell) if cell else None for name, cell in cells.items() if name.startswith("true_")
        ),
    )


def _numbers(cells: Mapping[str, str], prefix: str) -> dict[str, float]:
    """Return the numbers of the columns that begin so, by the rest of their names."""
    return {
        name[len(prefix) :]: float(cell)
        for name, cell in cells.items()
        if name.startswith(prefix) and cell
    }


def csv_line(cells: Sequence[str]) -> str:
    """Return one CSV line; unlike `csv.writer` before Python 3.13 it quotes a carriage return."""
    quoted = [f'"{c.replace(chr(34), chr(34) * 2)}"' if set(c) & _QUOTED else c for c in cells]
    return ",".join(quoted) + "\n"


def guarded(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith((*_FORMULA_STARTS, "'")) else text


def _unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") else text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"
