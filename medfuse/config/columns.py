"""The columns of a table as an input: ``{age: number, sex: category}``, or what that became."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from medfuse.suggest import did_you_mean

ColumnKind: TypeAlias = Literal["number", "category"]
Column: TypeAlias = ColumnKind | dict[str, Any]

_KEYS = {"number": ("kind", "center", "scale"), "category": ("kind", "levels")}


def column_kind(column: Column) -> str:
    """Return ``number`` or ``category``."""
    return column if isinstance(column, str) else str(column["kind"])


def checked_columns(value: object) -> dict[str, Column]:
    """Return the columns in the order of their names.

    A column is ``number`` or ``category``, or with what the training cases say of it,
    ``{kind: number, center: 54.2, scale: 12.1}`` and ``{kind: category, levels: [F, M]}``.

    Raises:
        ValueError: anything else, naming the column.
    """
    if not isinstance(value, Mapping):
        raise ValueError("expected columns by name, as in {age: number, sex: category}")
    strange = [name for name in value if not isinstance(name, str) or name != name.strip()]
    if strange or "" in value:
        raise ValueError(f"column {(*strange, '')[0]!r}, expected a name without blanks around it")
    return {name: _column(name, value[name]) for name in sorted(value)}


def _column(name: str, value: object) -> Column:
    kind = value.get("kind") if isinstance(value, Mapping) else value
    if not isinstance(kind, str) or kind not in _KEYS:
        hint = did_you_mean(kind, _KEYS) if isinstance(kind, str) else ""
        raise ValueError(f"column {name!r}: found {kind!r}, expected number or category.{hint}")
    if not isinstance(value, Mapping):
        return kind  # type: ignore[return-value]
    if set(value) != set(_KEYS[kind]):
        raise ValueError(
            f"column {name!r}: found the keys {', '.join(map(str, value))}, expected "
            f"{', '.join(_KEYS[kind])}, or only {kind}"
        )
    return _number(name, value) if kind == "number" else _category(name, value)


def _number(name: str, value: Mapping[Any, Any]) -> Column:
    center, scale = value["center"], value["scale"]
    if not _finite(center) or not _finite(scale) or scale <= 0:
        raise ValueError(f"column {name!r}: center and scale are numbers, scale above 0")
    return {"kind": "number", "center": float(center), "scale": float(scale)}


def _finite(value: object) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and math.isfinite(value)  # type: ignore[arg-type]


def _category(name: str, value: Mapping[Any, Any]) -> Column:
    levels = value["levels"]
    texts = isinstance(levels, Sequence) and not isinstance(levels, str)
    if not texts or not all(isinstance(level, str) and level.strip() for level in levels):
        raise ValueError(f"column {name!r}: levels is a list of texts; put numbers into quotes")
    if len(set(levels)) != len(levels):
        raise ValueError(f"column {name!r}: levels names one twice")
    return {"kind": "category", "levels": list(levels)}
