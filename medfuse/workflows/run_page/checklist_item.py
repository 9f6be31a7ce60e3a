"""One item of a reporting guideline, and where a report answers it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """What a guideline asks for, in a few words of our own.

    Attributes:
        number: in the guideline.
        asks: what is asked for.
        answered: anchors of the sections that answer it; empty where software cannot know.
        left: what the authors must add beside those sections; empty for nothing.
    """

    number: str
    asks: str
    answered: tuple[str, ...] = ()
    left: str = ""
