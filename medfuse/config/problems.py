"""Say in one line what is wrong with a configuration, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from medfuse.config.sections import Experiment
from medfuse.suggest import did_you_mean


def first_problem(error: ValidationError) -> str:
    """Return the first thing wrong, an unknown key before all others, with the nearest key."""
    problems = error.errors(include_url=False)
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    place = ".".join(str(part) for part in first["loc"])
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1])
        name = str(first["loc"][-1])
        hint = did_you_mean(name, known) or f" Known here: {', '.join(known)}."
        return f"unknown key {place!r}.{hint}{more}"
    if first["type"] == "missing":
        return f"{place!r} is missing.{more}"
    message = first["msg"].removeprefix("Value error, ")
    found = first["input"]
    plain = isinstance(found, str | int | float | bool) and "found" not in message
    shown = f", found {found!r}" if plain else ""
    return f"{place + ': ' if place else ''}{message}{shown}.{more}"


def _known_keys(location: Sequence[int | str]) -> list[str]:
    """Walk the section classes along ``location`` and return the keys known there."""
    section: Any = Experiment
    for part in location:
        if isinstance(section, type) and issubclass(section, BaseModel):
            field = section.model_fields.get(str(part))
            section = _section_inside(field.annotation) if field else section
    fields = getattr(section, "model_fields", {})
    return list(fields)


def _section_inside(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_section_inside(argument) for argument in get_args(annotation)]
    return next((found for found in inner if found is not None), None)
