"""How a check ends that does not pass."""

from __future__ import annotations


class CheckFailedError(Exception):
    """What a check found wrong, in one line.

    Args:
        text: naming the file, relative to the bundle.
        code: stable short name of the reason; that of the check where it is empty.
    """

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class CheckSkippedError(Exception):
    """Why a check does not apply."""
