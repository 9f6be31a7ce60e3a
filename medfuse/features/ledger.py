"""One source's part of a request: what is known, what is missing, what is to be kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from medfuse.features.engine import batch_size_for, sees_volumes
from medfuse.features.plan import Plan, row_bytes
from medfuse.features.request import ExtractionRequest, FeatureSource
from medfuse.features.sizes import readable
from medfuse.features.wanted import Places, Row

_COMMIT_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Ledger:
    """Fills one source's array from the bank and from new rows, and keeps the new rows.

    Args:
        source: whose features these are.
        request: bank, device and precision.
        plan: the distinct images, and the cases that show them.
        shape: of the array's first two axes: cases and views.

    Attributes:
        values: of all cases, NaN where they are not known yet or not wanted.
        missing: which rows the bank does not know, bool ``(images, views, slices)``.
    """

    def __init__(
        self,
        source: FeatureSource,
        request: ExtractionRequest,
        plan: Plan,
        shape: tuple[int, int],
    ) -> None:
        rows = source.slices or source.tokens
        inner = (rows, source.feature_dim) if rows else (source.feature_dim,)
        self.source = source
        self.type = request.tokens_as if source.tokens else "float32"
        self.values = np.full((*shape, *inner), np.nan, dtype=np.float32)
        self.missing = plan.wanted.table(max(source.slices, 1))
        self._plan = plan
        self._bank = request.bank
        self._store = (
            request.bank.recipe(_recipe(source, request, self.type), source.label)
            if request.bank
            else None
        )
        self._pending: dict[Row, np.ndarray] = {}
        self._committed = time.monotonic()

    def read(self) -> None:
        """Take over all rows that the bank knows; the others are ``missing``."""
        if not self._store:
            return
        shape = self.values.shape[3:] if self.source.slices else self.values.shape[2:]
        for rows, values in self._store.read(self._plan.wanted, self.missing.shape[2]):
            if values.shape[1:] == shape:
                self._place(rows, values)
                self.missing[rows.images, rows.views, rows.slices] = False
        if self._store.damaged:
            _log.warning(
                "%s: %d damaged rows of the bank are computed again",
                self.source.label,
                len(self._store.damaged),
            )

    def new_bytes(self) -> int:
        """Return about how much room the missing rows take in the bank."""
        itemsize = np.dtype(self.type).itemsize
        one = row_bytes(self.source.feature_dim, self.source.tokens, itemsize)
        return one * int(self.missing.sum()) if self._store else 0

    def stop_banking(self) -> None:
        """Compute without keeping from now on: the budget is used up."""
        if self._store and self._bank:
            _log.warning(
                "%s: over the bank's budget of %s; its new features are computed for this "
                "run and not kept. Raise bank.budget_gb, or run medfuse bank prune.",
                self.source.label,
                readable(self._bank.budget),
            )
            self._store.close()
        self._store = None
        self._pending = {}

    def add(self, rows: Sequence[Row], values: np.ndarray) -> None:
        """Take over computed rows, ``(R, ...)``."""
        kept = values.astype(self.type, copy=False)
        self._place(Places.of(rows), kept)
        if self._store:
            self._pending.update(zip(rows, kept, strict=True))

    def commit(self, now: bool = False) -> None:
        """Keep the computed rows, about once a second, or ``now``.

        Raises:
            BankError: the bank cannot be written.
        """
        waited = time.monotonic() - self._committed
        if not self._pending or not self._store or (waited < _COMMIT_SECONDS and not now):
            return
        pending, self._pending = self._pending, {}
        if self._bank and not self._bank.has_room(sum(v.nbytes for v in pending.values())):
            self.stop_banking()
            return
        self._store.put({self._plan.wanted.key(row): kept for row, kept in pending.items()})
        self._committed = time.monotonic()

    def close(self) -> None:
        """Keep what is pending, and close the store."""
        try:
            self.commit(now=True)
        finally:
            if self._store:
                self._store.close()

    def _place(self, rows: Places, values: np.ndarray) -> None:
        """Write the values of rows ``(R, ...)`` where their cases stand."""
        which, cases = self._plan.cases_with(rows)
        views = rows.views[which]
        place = (cases, views, rows.slices[which]) if self.source.slices else (cases, views)
        self.values[place] = values[which]


def _recipe(source: FeatureSource, request: ExtractionRequest, kind: str) -> dict[str, Any]:
    device = request.device.partition(":")[0]
    name = request.engine_of(source)
    engine: dict[str, Any] = {"name": name, "device": device, "precision": "float32"}
    if sees_volumes(source, request):
        engine["batch"] = batch_size_for(source, request)
    return {"source": dict(source.identity), "engine": engine, "values": kind}
