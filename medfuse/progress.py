"""How far long work is: a bar on a terminal, elsewhere a line each minute."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

EVERY = 60.0
_SHARE, _COUNT = "{desc}: {percentage:.0f} %", " ({n_fmt} of {total_fmt})"
_TIMES = "{elapsed} so far, {remaining} left"

_log = logging.getLogger(__name__)


def progress_bar(
    items: Iterable[Any] | None,
    what: str,
    total: int,
    *,
    shown: bool = True,
    unit: str = "",
    **options: Any,
) -> Any:
    """Return ``items`` with a bar on stderr that follows them; without items, the bar alone.

    Where stderr is no terminal, as in a cluster's job, a line is logged each minute instead, so
    that what takes less says nothing.

    Args:
        items: to go through; ``None`` where the caller counts, by ``update``.
        what: is done, for the front of the bar or line.
        total: of all items. Of none, nothing is shown.
        shown: show anything at all.
        unit: what is counted, in the singular; ``""`` where numbers of it say nothing.
        options: of `tqdm.tqdm`, for the bar: ``leave`` it when all is done, ``initial`` count.
    """
    hidden = not (shown and total)
    if hidden or _is_terminal(sys.stderr):
        options = {"leave": False, "unit": unit or "it", "dynamic_ncols": True, **options}
        return tqdm(items, what, total, disable=hidden, **options)
    line = f"{_SHARE}{_COUNT if unit else ''}{{postfix}}, {_TIMES}"
    options |= {"leave": False, "bar_format": line, "mininterval": EVERY, "maxinterval": EVERY}
    # Nothing is written, and there may be no stderr to write to.
    return _Lines(items, what, total, file=io.StringIO(), **options)


def _is_terminal(stream: Any) -> bool:
    return bool(getattr(stream, "isatty", bool)())


class _Lines(tqdm):  # type: ignore[misc]
    """Logs its line in place of drawing a bar."""

    _said: float | None = None

    def __iter__(self) -> Iterator[Any]:
        """Yield the items and count each at once: tqdm does so only where it prints."""
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:  # noqa: ARG002
        """Log the line if the last one, or the beginning, is a minute ago."""
        now = time.monotonic()
        if self._said is None:
            self._said = now
        if msg is None and now - self._said >= EVERY:
            self._said = now
            _log.info("%s", str(self))
        return False
