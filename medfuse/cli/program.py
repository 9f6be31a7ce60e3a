"""The process of the ``medfuse`` program: how it starts and ends quickly."""

from __future__ import annotations

import atexit
import os
import sys

from medfuse.memory import collect_seldom


def main() -> int:
    """Run the command that the process was started with, and return its exit code.

    Python's collector is called seldom (`medfuse.memory.collect_seldom`). When all is done and
    written, and what is registered with `atexit` has run, the process ends without taking the
    objects of torch and MONAI apart one by one; the system takes the memory back at once. Both
    are what mypy does.
    """
    collect_seldom()
    end = QuickEnd()
    atexit.register(end)  # the first to be registered runs last
    from medfuse.cli.main import run

    end.code = run()
    return end.code


class QuickEnd:
    """Ends the process, once it has a code; without one Python ends it its own way.

    Attributes:
        code: exit code of the command; ``None`` while it runs, and where it raised an error.
    """

    def __init__(self) -> None:
        self.code: int | None = None

    def __call__(self) -> None:
        """Hand over what was printed, and end."""
        if self.code is None:
            return
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # as it is where the program was started without
                    stream.flush()
        except (OSError, ValueError):
            return  # closed, or nobody reads it: Python has its own way of saying so
        os._exit(self.code)
