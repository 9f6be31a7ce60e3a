"""Options of a component: declared once, checked when a configuration is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from medfuse.errors import ConfigError
from medfuse.suggest import did_you_mean

OptionKind = Literal["int", "float", "str", "bool", "list"]

_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list, tuple),
}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One keyword that a component's factory takes.

    Attributes:
        name: the keyword, as written in a configuration.
        kind: type of the value. An ``int`` is accepted where ``float`` is asked.
        default: value used where the configuration is silent. ``None`` means "not passed".
        summary: one line for ``medfuse plugins list`` and the documentation.
        choices: allowed values; empty for any.
        minimum: smallest allowed number, inclusive.
        maximum: largest allowed number, inclusive.
    """

    name: str
    kind: OptionKind
    default: Any = None
    summary: str = ""
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    @property
    def accepts(self) -> str:
        """What it takes, in words: ``int, 1 to 64``, ``float, 0 or more``, ``same or valid``."""
        if self.choices:
            *most, last = map(str, self.choices)
            return f"{', '.join(most)} or {last}" if most else last
        low, high = self._number(self.minimum), self._number(self.maximum)
        if low:
            return f"{self.kind}, {low} {f'to {high}' if high else 'or more'}"
        return f"{self.kind}, at most {high}" if high else self.kind

    def check(self, value: Any, owner: str) -> Any:
        """Return ``value`` if it may be used.

        Raises:
            ConfigError: wrong type, not among the choices, or out of range.
        """
        wrong_bool = isinstance(value, bool) != (self.kind == "bool")
        of_kind = isinstance(value, _TYPES[self.kind]) and not wrong_bool
        listed = not self.choices or value in self.choices
        if not of_kind or not listed or self._is_outside(value):
            hint = did_you_mean(str(value), map(str, self.choices))
            raise ConfigError(
                f"{owner}: option {self.name!r} is {value!r}, expected {self.accepts}.{hint}"
            )
        return [*value] if isinstance(value, list | tuple) else value

    def _number(self, limit: float | None) -> str:
        if limit is None:
            return ""
        return str(int(limit)) if self.kind == "int" else f"{limit:g}"

    def _is_outside(self, value: Any) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            return True
        low = self.minimum is not None and value < self.minimum
        return low or (self.maximum is not None and value > self.maximum)


def resolve_options(
    options: Iterable[Option],
    given: Mapping[str, Any],
    owner: str,
    *,
    open_ended: bool = False,
) -> dict[str, Any]:
    """Return the keywords for a factory: what was given, checked, over the defaults.

    Args:
        options: what the component declares.
        given: what the configuration says. A value of ``None`` means "as by default".
        owner: the component's name, for the error text.
        open_ended: pass undeclared keywords on unchecked (families such as timm, whose
            constructors take more than anyone lists).

    Raises:
        ConfigError: an unknown option, or a value that the option refuses.
    """
    declared = {option.name: option for option in options}
    resolved = {n: o.default for n, o in declared.items() if o.default is not None}
    for name, value in given.items():
        if name not in declared and not open_ended:
            known = ", ".join(declared) or "none"
            raise ConfigError(
                f"{owner}: unknown option {name!r}, expected one of: {known}."
                + did_you_mean(name, declared)
            )
        if value is not None:
            resolved[name] = declared[name].check(value, owner) if name in declared else value
    return resolved
