"""Whole numbers that options take."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def at_least(least: int) -> Callable[[str], int]:
    """Return the type of an option that is a whole number, and not below `least`.

    Wrong ones end the command with the name of the option, what was found, and what is expected.
    """

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(
                f"found {text!r}, expected a whole number, {least} or more"
            )
        return value

    return number
