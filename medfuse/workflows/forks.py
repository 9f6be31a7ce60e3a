"""Processes that are forked from one which has imported what they need."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from multiprocessing import active_children, get_context
from typing import IO, Any, NamedTuple

_PR_SET_PDEATHSIG = 1
_SAFE_PATH = "PYTHONSAFEPATH"
_FORKS: ContextVar[Forks | None] = ContextVar("forks", default=None)
_log = logging.getLogger(__name__)


class _Place(NamedTuple):
    """Where arrays are mapped from; the number tells files apart that had the same path."""

    path: str
    number: int


class Forks:
    """Processes of this one, and what they were handed.

    Attributes:
        executor: gives them work; ``None`` before the first.
    """

    def __init__(self) -> None:
        self.executor: ProcessPoolExecutor | None = None
        self._count = 0
        self._handed: tuple[Any, IO[bytes]] | None = None
        self._place = _Place("", 0)

    def start(self, count: int) -> bool:
        """Tell whether ``count`` processes can be forked; the first one is."""
        if self.executor is not None and self._count == count:
            return True
        self.end()
        self.executor = ProcessPoolExecutor(
            count, mp_context=get_context("forkserver"), initializer=end_with_parent
        )
        self._count = count
        try:
            self.executor.submit(os.getpid).result()
        except (OSError, EOFError, BrokenProcessPool) as error:
            _log.debug("no processes can be forked: %r", error)
            self.end()
        return self.executor is not None

    def run(
        self,
        call: Callable[..., Any],
        shared: Any,
        arguments: Iterable[tuple[Any, ...]],
    ) -> Iterator[Any]:
        """Yield the results of ``call(shared, *each)`` as they come; see `start`.

        Raises:
            BrokenProcessPool: a process was ended from outside.
        """
        assert self.executor is not None, "start first"
        self._hand_over(shared)
        futures = [self.executor.submit(_called, call, self._place, each) for each in arguments]
        for future in as_completed(futures):
            yield future.result()

    def end(self) -> None:
        """End the processes at once, whatever they are at, and forget what they were handed."""
        if self.executor is not None:
            self.executor.shutdown(wait=False, cancel_futures=True)
            kind = get_context("forkserver").Process
            forked = [one for one in active_children() if isinstance(one, kind)]
            for process in forked:
                process.kill()
            for process in forked:
                process.join()
        self.executor = None
        self._forget()

    def _hand_over(self, shared: Any) -> None:
        """Write a file in memory from which the processes map large arrays.

        It has no name in any folder, so nothing is left of it when this process is gone.
        """
        import joblib

        if self._handed is not None and self._handed[0] is shared:
            return
        self._forget()
        file = os.fdopen(os.memfd_create("medfuse"), "wb")
        joblib.dump(shared, file)
        file.flush()
        self._handed = shared, file
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        self._place = _Place(path, self._place.number + 1)

    def _forget(self) -> None:
        if self._handed is not None:
            self._handed[1].close()
        self._handed = None


@contextmanager
def forked_from(module: str) -> Iterator[None]:
    """Begin to import a module in a process of its own, from which others will be forked.

    It imports beside this process, which meanwhile does what it has to do first. Nothing is done
    elsewhere than on Linux (libraries of macOS do not survive a fork, and Windows has none), by
    Python 3.10 (which would import from the current folder first), and where it cannot be done.

    The forked processes import the program that was started anew, as `multiprocessing` does it:
    only a program that does nothing then may use this.

    Args:
        module: name of what is imported; it must not start threads.
    """
    if not _can_fork() or not _server_started(module):
        yield
        return
    forks = Forks()
    token = _FORKS.set(forks)
    try:
        yield
    finally:
        _FORKS.reset(token)
        forks.end()


def forks_here() -> Forks | None:
    """Return what a surrounding `forked_from` has prepared; ``None`` without one."""
    return _FORKS.get()


def end_with_parent() -> None:
    """Have the system end this process when the one that it was forked from ends, however."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _can_fork() -> bool:
    return sys.platform == "linux" and sys.version_info >= (3, 11) and hasattr(os, "memfd_create")


def _server_started(module: str) -> bool:
    from multiprocessing import forkserver  # made for POSIX

    forkserver.set_forkserver_preload(["medfuse.workflows.fork_server", module])
    try:
        with _deaf_to_interrupts(), _safe_path():
            forkserver.ensure_running()
    except OSError as error:  # the path of its socket is too long where that of TMPDIR is
        _log.debug("no fork server: %s", error)
        return False
    return True


@contextmanager
def _safe_path() -> Iterator[None]:
    """Let a Python that is started here not import what lies in the current folder."""
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes that are started here leave Ctrl-C to this one, which ends them.

    What they would print is where each was importing. What is ignored when a process starts stays
    so in it and in those that are forked from it; only the main thread can say so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _called(call: Callable[..., Any], place: _Place, each: tuple[Any, ...]) -> Any:
    return call(_mapped(place), *each)


@lru_cache(maxsize=1)
def _mapped(place: _Place) -> Any:
    import joblib

    return joblib.load(place.path, mmap_mode="r")
