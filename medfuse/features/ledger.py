"""One source's part of a request: what is known, what is missing, what is to be kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medfuse.features.engine import batch_size_for, sees_volumes
from medfuse.features.keys import BankKey
from medfuse.features.plan import WantedImage, row_bytes
from medfuse.features.request import ExtractionRequest, FeatureSource

_COMMIT_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Ledger:
    """Fills one source's array from the bank and from new rows, and keeps the new rows.

    Args:
        source: whose features these are.
        request: bank, device and precision.
        images: the distinct images by digest.
        shape: of the array's first two axes: cases and views.
    """

    def __init__(
        self,
        source: FeatureSource,
        request: ExtractionRequest,
        images: Mapping[str, WantedImage],
        shape: tuple[int, int],
    ) -> None:
        rows = source.slices or source.tokens
        inner = (rows, source.feature_dim) if rows else (source.feature_dim,)
        self.source = source
        self.type = request.tokens_as if source.tokens else "float32"
        self.values = np.full((*shape, *inner), np.nan, dtype=np.float32)
        self.missing: dict[BankKey, None] = {}
        self._images = images
        self._bank = request.bank
        self._store = (
            request.bank.recipe(_recipe(source, request, self.type), source.label)
            if request.bank
            else None
        )
        self._pending: dict[BankKey, np.ndarray] = {}
        self._committed = time.monotonic()

    def read(self, keys: Sequence[BankKey]) -> None:
        """Take over all rows that the bank knows; the others are ``missing``.

        Args:
            keys: of images and views; a sliced source has a row for each slice of them.
        """
        rows = [row for key in keys for row in self.rows(key)]
        self.missing = dict.fromkeys(rows)
        shape = self.values.shape[3:] if self.source.slices else self.values.shape[2:]
        for key, values in self._store.read(rows) if self._store else ():
            if values.shape == shape:
                self._place(key, values)
                del self.missing[key]
        if self._store and self._store.damaged:
            _log.warning(
                "%s: %d damaged rows of the bank are computed again",
                self.source.label,
                len(self._store.damaged),
            )

    def rows(self, key: BankKey) -> list[BankKey]:
        """Return the rows of one view of an image: itself, or one for each slice."""
        if not self.source.slices:
            return [key]
        return [replace(key, slice=number) for number in range(self.source.slices)]

    def new_bytes(self) -> int:
        """Return about how much room the missing rows take in the bank."""
        itemsize = np.dtype(self.type).itemsize
        one = row_bytes(self.source.feature_dim, self.source.tokens, itemsize)
        return one * len(self.missing) if self._store else 0

    def stop_banking(self) -> None:
        """Compute without keeping from now on: the budget is used up."""
        if self._store and self._bank:
            _log.warning(
                "%s: over the bank's budget of %.1f GB; its new features are computed for this "
                "run and not kept. Raise bank.budget_gb, or run medfuse bank prune.",
                self.source.label,
                self._bank.budget / 1e9,
            )
            self._store.close()
        self._store = None
        self._pending = {}

    def add(self, key: BankKey, values: np.ndarray) -> None:
        """Take over one computed row."""
        kept = values.astype(self.type, copy=False)
        self._place(key, kept)
        if self._store:
            self._pending[key] = kept

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
        self._store.put(pending)
        self._committed = time.monotonic()

    def close(self) -> None:
        """Keep what is pending, and close the store."""
        try:
            self.commit(now=True)
        finally:
            if self._store:
                self._store.close()

    def _place(self, key: BankKey, values: np.ndarray) -> None:
        cases = self._images[key.image].cases_with(key.view)
        if self.source.slices:
            self.values[cases, key.view, key.slice] = values
        else:
            self.values[cases, key.view] = values


def _recipe(source: FeatureSource, request: ExtractionRequest, kind: str) -> dict[str, Any]:
    device = request.device.partition(":")[0]
    name = request.engine_of(source)
    engine: dict[str, Any] = {"name": name, "device": device, "precision": "float32"}
    if sees_volumes(source, request):
        engine["batch"] = batch_size_for(source, request)
    return {"source": dict(source.identity), "engine": engine, "values": kind}
