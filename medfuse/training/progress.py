"""What a person sees while training runs: a bar with the time left and the best so far."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events

from medfuse.progress import progress_bar
from medfuse.training.result import EpochRecord


class ProgressBar:
    """A bar over all iterations of all epochs, or a line each minute (`medfuse.progress`).

    Args:
        history: the records of the epochs, which training extends.
        enabled: show it at all.
        title: what is trained, in front of the epoch.
    """

    def __init__(self, history: list[EpochRecord], enabled: bool, title: str = "") -> None:
        self._history = history
        self._enabled = enabled
        self._title = title
        self._bar: Any = None

    def attach(self, engine: Engine) -> None:
        """Follow an engine."""
        if not self._enabled:
            return
        engine.add_event_handler(Events.STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._describe)

    def close(self) -> None:
        """Leave the bar as it is; for the end of training, however it came."""
        if self._bar is not None:
            self._bar.close()

    def _open(self, engine: Engine) -> None:
        self._bar = progress_bar(
            None,
            self._title or "training",
            (engine.state.epoch_length or 0) * (engine.state.max_epochs or 0),
            initial=engine.state.iteration,
            unit="batch",
            leave=True,
        )

    def _advance(self, _engine: Engine) -> None:
        self._bar.update()

    def _describe(self, engine: Engine) -> None:
        epoch = f"epoch {engine.state.epoch}/{engine.state.max_epochs}"
        self._bar.set_description_str(", ".join(filter(None, (self._title, epoch))))
        self._bar.set_postfix_str(describe_epoch(self._history))


def describe_epoch(history: list[EpochRecord]) -> str:
    """Return the last losses and the best so far, in one short line."""
    last = history[-1]
    if "validation_loss" not in last:
        return f"loss {last['training_loss']:.4f}"
    best = min(history, key=lambda record: record["validation_loss"])
    return (
        f"loss {last['training_loss']:.4f}, validation {last['validation_loss']:.4f}, "
        f"best {best['validation_loss']:.4f} (epoch {best['epoch']:.0f})"
    )
