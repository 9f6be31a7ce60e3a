"""What the cells of several labels say: 1, 0 or unknown, one answer for each label."""

from __future__ import annotations

from collections.abc import Sequence

from medfuse.config import CohortConfig
from medfuse.data.cohort import Findings
from medfuse.data.records import Record
from medfuse.errors import CohortError
from medfuse.suggest import did_you_mean

_YES = frozenset(("1", "1.0", "yes", "true", "y"))
_NO = frozenset(("0", "0.0", "no", "false", "n"))
_UNCERTAIN = frozenset(("-1", "-1.0"))
_NO_FINDING = "no finding"  # NIH ChestX-ray14 (Wang et al., 2017, doi:10.1109/CVPR.2017.369)


def answers_of(record: Record, labels: Sequence[str], config: CohortConfig) -> Findings:
    """Return 1, 0 or ``None`` (unknown) for each label.

    A blank cell is unknown, never 0. So is -1, which says that a report is uncertain (Irvin et
    al., 2019, CheXpert, doi:10.1609/aaai.v33i01.3301590), unless ``cohort.uncertain`` says else.
    In one cell of several names, each label that is not named is 0; a blank cell leaves all
    unknown. ``No Finding`` says that every label is 0: those that stand beside it are unknown.

    Raises:
        CohortError: a cell that is none of these, or a name that is no label.
    """
    if config.label_separator is not None:
        return _named(record, labels, config.label_separator)
    return tuple(
        _answer(cell, f"{record.where}, column {label!r}", config.uncertain)
        for cell, label in zip(record.findings, labels, strict=True)
    )


def names_in(cell: str, separator: str) -> list[str]:
    """Return the labels that a cell names; ``No Finding`` is none."""
    return [name for name in _names(cell, separator) if name.lower() != _NO_FINDING]


def contradicts_itself(cell: str, labels: Sequence[str], separator: str) -> bool:
    """Tell whether a cell says ``No Finding`` beside a label.

    Where ``cohort.classes`` has a label of that name, it is a label like others.
    """
    if _is_label(labels):
        return False
    names = names_in(cell, separator)
    return 0 < len(names) < len(_names(cell, separator))


def _is_label(labels: Sequence[str]) -> bool:
    return any(label.lower() == _NO_FINDING for label in labels)


def _names(cell: str, separator: str) -> list[str]:
    return [name.strip() for name in cell.split(separator) if name.strip()]


def _answer(cell: str, where: str, uncertain: str) -> int | None:
    text = cell.strip().lower()
    if not text:
        return None
    if text in _UNCERTAIN:
        return {"unknown": None, "positive": 1, "negative": 0}[uncertain]
    if text in _YES or text in _NO:
        return int(text in _YES)
    raise CohortError(
        f"{where}: found {cell[:40]!r}, expected 1 or 0 (yes or no, true or false), -1 for "
        "uncertain, or blank for unknown. Mend the cell."
    )


def _named(record: Record, labels: Sequence[str], separator: str) -> Findings:
    if not record.label:
        return (None,) * len(labels)
    read = _names if _is_label(labels) else names_in
    names = read(record.label, separator)
    strange = next((name for name in names if name not in labels), None)
    if strange is not None:
        raise CohortError(
            f"{record.where}: label {strange!r} is none of {', '.join(labels)}."
            f"{did_you_mean(strange, labels)} Mend it, or add it to cohort.classes."
        )
    named = None if contradicts_itself(record.label, labels, separator) else 1
    return tuple(named if label in names else 0 for label in labels)
