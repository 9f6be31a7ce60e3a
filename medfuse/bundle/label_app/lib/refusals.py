"""What is answered instead of a prediction, as HTTP knows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import HTTPException

FORBIDDEN = 403
NOT_FOUND = 404
UNUSABLE = 422


def refusal(status: int, code: str, reason: str) -> HTTPException:
    """Return an answer ``{"detail": {"status": "refused", "reason_code": .., "reason": ..}}``."""
    return HTTPException(status, {"status": "refused", "reason_code": code, "reason": reason})


def image_refusal(error: Exception, image: Any) -> HTTPException:
    """Return the answer for an image that the bundle's own preprocessing did not take.

    Args:
        error: whatever it raised.
        image: its path; folders of the server are left out of the answer.
    """
    cause = coded_cause(error) or list(_causes(error))[-1]
    line = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    if isinstance(image, str):
        line = line.replace(f"{Path(image).parent}/", "")
    return refusal(UNUSABLE, getattr(cause, "code", "PREPROCESSING_FAILED"), line[:300])


def coded_cause(error: BaseException) -> BaseException | None:
    """Return the first cause that carries a code; MONAI nests it below reports of its own."""
    coded = (cause for cause in _causes(error) if isinstance(getattr(cause, "code", None), str))
    return next(coded, None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
