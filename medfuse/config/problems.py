"""Say in one line what is wrong with a configuration, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from medfuse.config.kinds import bare, choices_of, inside, kind_of, spoken
from medfuse.suggest import did_you_mean

SHOWN = 80


def first_problem(error: ValidationError, root: Any) -> tuple[str, str]:
    """Return the first thing wrong, an unknown key before all others, with the nearest key.

    Behind it: how many more there are, in brackets, or nothing.

    Args:
        error: what the configuration was refused with.
        root: the section that was read.
    """
    problems = error.errors(include_url=False)
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    count = len({_known_place(p["loc"], root)[0] for p in problems})
    return _said(first, root), f" ({count - 1} more)" if count > 1 else ""


def _said(first: Any, root: Any) -> str:
    place, annotation = _known_place(first["loc"], root)
    if first["type"] == "extra_forbidden":
        known = list(getattr(_section(first["loc"][:-1], root), "model_fields", {}))
        name = str(first["loc"][-1])
        hint = did_you_mean(name, known) or f" Known here: {', '.join(known)}."
        return f"unknown key {_text(first['loc'])!r}.{hint}"
    if first["type"] == "missing":
        return f"{_text(first['loc'])!r} is missing."
    where = f"{place}: " if place else ""
    if first["type"] == "value_error":
        words = _own_words(first)
        return f"{where}{words}{'' if words.endswith(('.', '?')) else '.'}"
    expected = spoken(kind_of(annotation))
    finite = ", not infinite" if first["type"] == "finite_number" else ""
    hint = _hint(first["input"], annotation)
    return f"{where}found {_shown(first['input'])}, expected {expected}{finite}.{hint}"


def _own_words(problem: Mapping[str, Any]) -> str:
    """Return what a validator of medfuse said, with the value where it left that out."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    found = problem["input"]
    plain = isinstance(found, str | int | float | bool) and "found" not in message
    return f"{message}, found {_shown(found)}" if plain else message


def _known_place(location: Sequence[int | str], root: Any) -> tuple[str, Any]:
    """Return the place as far as keys and numbers lead, and the type that lies there.

    Behind them pydantic names the alternatives of a type, which nobody wrote.
    """
    annotation, walked = root, 0
    for part in location:
        deeper = inside(annotation, part)
        if deeper is None:
            break
        annotation, walked = deeper, walked + 1
    return _text(location[:walked]), annotation


def _section(location: Sequence[int | str], root: Any) -> Any:
    section = root
    for part in location:
        section = inside(section, part)
    return bare(section)


def _text(location: Sequence[int | str]) -> str:
    return ".".join(str(part) for part in location)


def _hint(found: object, annotation: Any) -> str:
    return did_you_mean(found, choices_of(annotation)) if isinstance(found, str) else ""


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
