"""How metrics are measured: resamples, confidence, bins, operating points."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from medfuse.errors import EvaluationError


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Everything that changes a reported number beside the predictions themselves.

    Attributes:
        bootstrap: resamples of the patients; 0 gives values without intervals.
        confidence: of the percentile interval, in (0, 1).
        seed: of the resampling.
        bins: equal-width bins of the expected calibration error.
        operating_points: specificities (and sensitivities) to fix, each in (0, 1).
        minimum_cases: a site, subgroup or pattern of inputs with fewer cases is counted, not
            measured.
        ordinal: the classes are grades, the lowest first; metrics of how far off a grade is are
            measured too.
        order: names of groups by column, in the order to show them; others follow by name.
    """

    bootstrap: int = 1000
    confidence: float = 0.95
    seed: int = 0
    bins: int = 15
    operating_points: tuple[float, ...] = (0.90, 0.95)
    minimum_cases: int = 10
    ordinal: bool = False
    order: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.bootstrap < 0 or self.bins < 1 or not 0 < self.confidence < 1:
            raise EvaluationError(
                f"found bootstrap={self.bootstrap}, bins={self.bins}, "
                f"confidence={self.confidence}; expected bootstrap >= 0, bins >= 1 and a "
                "confidence between 0 and 1."
            )
        if any(not 0 < point < 1 for point in self.operating_points):
            raise EvaluationError(
                f"found operating_points={self.operating_points}, expected fractions "
                "between 0 and 1, for example 0.95."
            )

    def ordered(self, column: str, names: Iterable[str]) -> list[str]:
        """Return the groups of a column as they are shown."""
        known = list(self.order.get(column, ()))
        place = {name: number for number, name in enumerate(known)}
        return sorted(map(str, names), key=lambda name: (place.get(name, len(known)), name))
