"""The inputs of cases as tensors, for sources that learn from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from medfuse.config import Experiment
from medfuse.memory import memory_size
from medfuse.training.data import Presence
from medfuse.workflows.extract import ViewMaker
from medfuse.workflows.prepare import PreparedCohort

# Of the memory: activations of other sources may take a third, and features lie there too.
_SHARE = 1 / 6


class InputViews:
    """The inputs of cases, view by view, for sources that learn.

    A view is read and drawn once and kept for the epochs that follow, as long as there is room;
    what does not fit is read and drawn again each time, to the same values.

    Args:
        experiment: says how views are drawn.
        prepared: the cases.
        read: position of the input that each source reads; other inputs are not given.
        memory: bytes that kept views may take; a sixth of the machine's if ``None``.
    """

    def __init__(
        self,
        experiment: Experiment,
        prepared: PreparedCohort,
        read: Sequence[int],
        memory: float | None = None,
    ) -> None:
        self._room = memory_size() * _SHARE if memory is None else memory
        self._kept: dict[tuple[int, int, int], torch.Tensor] = {}
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
        """Return one tensor for each input of a case, not to be changed; NaN where it has none.

        A single input that is absent is filled with 0: no source can see that case.
        """
        return [self._one(number, row, view) for number in range(len(self._used))]

    def _one(self, number: int, row: int, view: int) -> torch.Tensor:
        kept = self._kept.get((number, row, view))
        if kept is not None:
            return kept
        made = self._made(number, row, view)
        if made.nbytes <= self._room:
            self._room -= made.nbytes
            self._kept[number, row, view] = made
        return made

    def _made(self, number: int, row: int, view: int) -> torch.Tensor:
        read, case = self._inputs[number], self._cases[row]
        if not read.has(case):
            example = self._cases[int(np.flatnonzero(self._known[:, number])[0])]
            filling = math.nan if len(self._used) > 1 else 0.0
            return torch.full(read.pixels(example).shape, filling)
        pixels = torch.from_numpy(read.pixels(case))
        if read.config.kind == "tabular":
            return pixels
        return self._makers[number](pixels, read.facts[case.case_id].digest, view)
