"""Kinds of values that several sections of an experiment take."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from medfuse.config.kinds import Matches


def listed(value: object) -> object:
    """Return a list where one value may stand for itself."""
    return value if isinstance(value, list | tuple) else [] if value is None else [value]


def named(value: object) -> object:
    """Return ``{use: name}`` for a name alone."""
    return {"use": value} if isinstance(value, str) else value


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected an integer")
    return value


Integer = Annotated[int, BeforeValidator(_no_boolean)]
Seed = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, lt=2**32)]
License = Annotated[str, Matches("SPDX expression", r"[A-Za-z0-9.+() -]+")]
