"""A case on its way through the application, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class RefusedError(Exception):
    """There is no answer to this case.

    Args:
        code: short upper-case reason.
        text: the reason in a sentence; no identifier.
        status: ``refused`` where the images are the reason, ``failed`` where the program is.
    """

    def __init__(self, code: str, text: str, status: str = "refused") -> None:
        super().__init__(text)
        self.code = code
        self.status = status


@dataclass(frozen=True)
class Case:
    """What is known of the case so far.

    Attributes:
        reference: what the bundle reads; empty where there is nothing.
        prediction: status, code, reason, class and probabilities, as the bundle gives them.
    """

    reference: str = ""
    prediction: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether there is no answer to wait for."""
        return self.prediction.get("status") in ("refused", "failed")

    def refused(self, error: RefusedError) -> Case:
        """Return the case with a named reason instead of an answer, and without any number."""
        return Case(
            self.reference,
            {
                "status": error.status,
                "reason_code": error.code,
                "reason": str(error),
                "predicted": "",
                "probabilities": {},
            },
        )


@dataclass
class Outcome:
    """How the application ended; it is filled by its last step.

    Attributes:
        exit_code: of the program; that of a failure until the last step is done.
    """

    JUDGED, FAILED, REFUSED = 0, 1, 3
    result = "result.json"

    exit_code: int = FAILED
