"""Losses as TensorBoard events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from medfuse.training.result import EpochRecord


class TensorBoardRecord:
    """Writes every number of an epoch's record; a resumed run overwrites what it repeats.

    Args:
        folder: where the event files go, or ``None`` to write nothing.
        history: the records of the epochs, which training extends.
    """

    def __init__(self, folder: Path | None, history: list[EpochRecord]) -> None:
        self._folder = folder
        self._history = history
        self._writer: Any = None

    def attach(self, engine: Engine) -> None:
        """Follow an engine."""
        if self._folder is None:
            return
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def close(self) -> None:
        """Flush and close; for the end of training, however it came."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, engine: Engine) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=engine.state.epoch + 1)

    def _write(self, _engine: Engine) -> None:
        record = self._history[-1]
        for name, value in record.items():
            if name != "epoch":
                part, _, quantity = name.partition("_")
                tag = f"{quantity}/{part}" if quantity else name
                self._writer.add_scalar(tag, value, int(record["epoch"]))
