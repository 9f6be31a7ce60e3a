"""What a key accepts, in words: for error texts and for ``docs/configuration.md``."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from medfuse.suggest import did_you_mean

_NAMES = {
    bool: "true | false",
    int: "int",
    float: "float",
    str: "text",
    dict: "mapping",
    Any: "anything",
}
_UNIONS = (Union, types.UnionType)


@dataclass(frozen=True)
class Says:
    """States what a key accepts where its type alone does not tell."""

    kind: str


@dataclass(frozen=True)
class Matches(Says):
    """A text that matches ``pattern`` as a whole; another is refused with what ``kind`` says."""

    pattern: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """Return the schema of the text, checked."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            hint = did_you_mean(text, self.kind.split(" | "))
            raise ValueError(f"found {text[:80]!r}, expected {spoken(self.kind)}.{hint}")
        return text


def kind_of(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Return what a type accepts, alternatives divided by ``|``.

    >>> from annotated_types import Ge, Gt, Le
    >>> kind_of(int, [Ge(1), Le(8)]), kind_of(float | None, [Gt(0)])
    ('int, 1 to 8', 'float above 0')
    """
    given = list(metadata)
    if get_origin(annotation) is Annotated:
        annotation, *own = get_args(annotation)
        given = [*own, *given]
    facts = [f for one in given for f in (one.metadata if isinstance(one, FieldInfo) else [one])]
    said = next((fact.kind for fact in facts if isinstance(fact, Says)), None)
    return said or _described(annotation, facts)


def choices_of(annotation: Any) -> tuple[str, ...]:
    """Return the texts that a type names one by one; perhaps none."""
    annotation = bare(annotation)
    if get_origin(annotation) is Literal:
        return tuple(value for value in get_args(annotation) if isinstance(value, str))
    if get_origin(annotation) in _UNIONS:
        return tuple(text for one in get_args(annotation) for text in choices_of(one))
    return ()


def bare(annotation: Any) -> Any:
    """Return a type without its constraints and without ``None``."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in _UNIONS:
        given = _alternatives(annotation)
        return bare(given[0]) if len(given) == 1 else annotation
    return annotation


def inside(annotation: Any, part: int | str) -> Any:
    """Return the type of what lies under a key or place, or ``None`` where that is not known."""
    annotation = bare(annotation)
    if _is_section(annotation):
        field = annotation.model_fields.get(str(part))
        return None if field is None else Annotated[(field.annotation, *field.metadata, None)]
    if get_origin(annotation) in (list, tuple) and isinstance(part, int):
        return get_args(annotation)[0]
    if get_origin(annotation) in (dict, Mapping):
        return get_args(annotation)[1]
    return None


def spoken(kind: str) -> str:
    """Return a kind as it stands in a sentence."""
    first, *more = kind.replace("section", "mapping").split(" | ")
    return first if not more else f"{', '.join([first, *more[:-1]])} or {more[-1]}"


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    # Python 3.10 takes list[int] for a class.
    plain = get_origin(annotation) is None and isinstance(annotation, type)
    return plain and issubclass(annotation, BaseModel)


def _alternatives(annotation: Any) -> list[Any]:
    return [one for one in get_args(annotation) if one is not type(None)]


def _described(annotation: Any, facts: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in _UNIONS:
        given = _alternatives(annotation)
        return " | ".join(kind_of(a, facts if len(given) == 1 else ()) for a in given)
    if origin is list or (origin is tuple and Ellipsis in arguments):
        few = [f.min_length for f in facts if getattr(f, "min_length", None)]
        inner = kind_of(arguments[0])
        inner = "sections" if inner == "section" else inner
        return f"list of {inner}{f', at least {few[0]}' if few else ''}"
    if origin is tuple:
        return f"[{', '.join(kind_of(argument) for argument in arguments)}]"
    if _is_section(annotation):
        return "section"
    return f"{_NAMES[origin or annotation]}{_range(annotation, facts)}"


def _range(annotation: Any, facts: Iterable[Any]) -> str:
    """Return ``, 1 to 8``, ``, 1 or more``, `` above 0``, `` above 0, at most 1`` and the like."""
    bounds = {
        name: value
        for fact in facts
        for name in ("ge", "gt", "le", "lt")
        if (value := getattr(fact, name, None)) is not None
    }
    if annotation is int and "lt" in bounds:
        bounds["le"] = bounds.pop("lt") - 1
    upper = bounds.get("le", f"below {bounds['lt']}" if "lt" in bounds else None)
    if "gt" in bounds:
        most = f"at most {upper}" if "le" in bounds else upper
        return f" above {bounds['gt']}" + (f", {most}" if upper is not None else "")
    if "ge" in bounds:
        return f", {bounds['ge']} to {upper}" if upper is not None else f", {bounds['ge']} or more"
    return ""
