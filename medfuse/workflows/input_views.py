"""The inputs of cases as tensors, for sources that learn from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from medfuse.config import Experiment
from medfuse.training.data import Presence
from medfuse.workflows.extract import ViewMaker
from medfuse.workflows.prepare import PreparedCohort


class InputViews:
    """The inputs of cases, view by view, for sources that learn.

    Args:
        experiment: says how views are drawn.
        prepared: the cases.
        read: position of the input that each source reads; other inputs are not given.
    """

    def __init__(
        self, experiment: Experiment, prepared: PreparedCohort, read: Sequence[int]
    ) -> None:
        self._used = sorted(set(read))
        self._inputs = [list(prepared.inputs.values())[i] for i in self._used]
        self._makers = [ViewMaker(experiment, i) for i in self._inputs]
        self._cases = prepared.cohort.cases
        self._known = prepared.known()[:, self._used]
        self._positions = tuple(self._used.index(i) for i in read)

    def presence(self) -> Presence | None:
        """Return which cases have which input; ``None`` where there is one and all have it."""
        if len(self._used) == 1 and self._known.all():
            return None
        return Presence(self._known, self._positions)

    def __call__(self, row: int, view: int) -> list[torch.Tensor]:
        """Return one tensor for each input of a case; NaN where it has none of several."""
        return [self._one(number, row, view) for number in range(len(self._used))]

    def _one(self, number: int, row: int, view: int) -> torch.Tensor:
        read, case = self._inputs[number], self._cases[row]
        if not read.has(case):
            example = self._cases[int(np.flatnonzero(self._known[:, number])[0])]
            filling = math.nan if len(self._used) > 1 else 0.0
            return torch.full(read.pixels(example).shape, filling)
        pixels = torch.from_numpy(read.pixels(case))
        if read.config.kind == "tabular":
            return pixels
        return self._makers[number](pixels, read.facts[case.case_id].digest, view)
