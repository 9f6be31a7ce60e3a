"""What a bundle says about one case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer to one image, volume or case of several inputs.

    Attributes:
        case: as the caller named it.
        status: ``ok``; ``abstained`` where the model does not trust its answer; ``refused`` where
            the case could not be read.
        reason_code: why it is not ``ok``, for example ``OUT_OF_DISTRIBUTION`` or ``TRUNCATED``.
        reason: the same in a sentence.
        inputs: which inputs the case had, of a bundle that takes several; else empty.
        predicted: a class, none if it abstained; several joined by ``;``, or none, where classes
            exclude nothing.
        probabilities: class -> probability, also if it abstained; empty if refused, never zeros.
        conformal_set: classes that cannot be ruled out, the most probable first; empty if refused,
            and of a bundle without sets.
        distances: source -> distance from the training cases as a multiple of its limit; above 1
            is out of distribution.
    """

    case: str
    status: Literal["ok", "abstained", "refused"]
    reason_code: str = ""
    reason: str = ""
    inputs: tuple[str, ...] = ()
    predicted: str = ""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    conformal_set: tuple[str, ...] = ()
    distances: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; ``inputs``, ``set`` and ``distances`` only where there are any."""
        data = {**vars(self), "probabilities": dict(self.probabilities)}
        optional = {
            "inputs": list(self.inputs),
            "set": list(data.pop("conformal_set")),
            "distances": dict(data.pop("distances")),
        }
        data.pop("inputs")
        return {**data, **{name: value for name, value in optional.items() if value}}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Prediction:
        """Return the prediction of which `to_dict` gave these data.

        Raises:
            TypeError: they are of something else.
        """
        known = dict(data)
        known["inputs"] = tuple(known.get("inputs", ()))
        known["conformal_set"] = tuple(known.pop("set", ()))
        return cls(**known)


@dataclass(frozen=True, eq=False)
class Answer:
    """A prediction, and what it was made from.

    Attributes:
        prediction: what a user sees.
        features: standardized features of all sources side by side ``(sum of F,)``; ``None``
            where the case was refused, and of a bundle that judges no case.
    """

    prediction: Prediction
    features: NDArray[np.float32] | None = None
