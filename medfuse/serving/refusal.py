"""Why an image got no answer, from whatever the bundle's preprocessing raised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (FileNotFoundError, "FILE_NOT_FOUND"),
    (IsADirectoryError, "NOT_A_FILE"),
    (PermissionError, "UNREADABLE"),
    (MemoryError, "TOO_LARGE"),
)


@dataclass(frozen=True)
class Refusal:
    """Why an image gets no prediction.

    Attributes:
        code: short upper-case reason.
        text: the reason in a sentence.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


def refusal_of(error: BaseException) -> Refusal:
    """Return code and text of the first cause that carries a code; MONAI nests it below others."""
    causes = list(_causes(error))
    for cause in causes:
        code = getattr(cause, "code", None)
        if isinstance(code, str) and code:
            return Refusal(code, _line(cause))
    for cause in causes:
        for kind, code in _BY_TYPE:
            if isinstance(cause, kind):
                return Refusal(code, _line(cause))
    return Refusal("PREPROCESSING_FAILED", _line(causes[-1]))


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
