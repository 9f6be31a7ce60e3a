"""Work that a copy of this process does while this one goes on."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Generic, TypeVar, cast

import torch

T = TypeVar("T")
_PATIENCE = 120.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Meanwhile(Generic[T]):
    """The result of ``work``, which a copy of this process begins at once.

    The copy is a fork, as the workers of torch's data loaders are: it has all data without being
    sent any, and computes with one thread. Where there can be none (other systems than Linux, one
    processor), or where it comes to nothing, the work is done here when its result is asked for:
    an error is raised here, too.

    Args:
        work: changes nothing and writes no file; what it returns can be pickled.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._copy = _begun(work)

    def result(self) -> T:
        """Return what the work gives; wait for it where need be."""
        found = self._received()
        self.stop()
        return self._work() if found is None else found[0]

    def stop(self) -> None:
        """End the copy, whatever it is at; nothing of it is left."""
        if self._copy is not None:
            process, receiver = self._copy
            self._copy = None
            process.kill()
            process.join()
            process.close()
            receiver.close()

    def _received(self) -> tuple[T] | None:
        if self._copy is None:
            return None
        receiver = self._copy[1]
        try:
            return cast("tuple[T]", receiver.recv()) if receiver.poll(_PATIENCE) else None
        except (EOFError, OSError):  # it failed, or was killed
            return None


def _begun(work: Callable[[], T]) -> tuple[ForkProcess, Connection] | None:
    if sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2:
        return None
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(work, sender, os.getpid()), daemon=True)
    try:
        with warnings.catch_warnings():  # newer Python warns of forks beside any thread
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
    except (OSError, AssertionError):  # no memory left, or this is a process that may have none
        receiver.close()
        return None
    finally:
        sender.close()
    return process, receiver


def _send(work: Callable[[], T], sender: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever waits for the result ends this one
    _end_with(parent)
    torch.set_num_threads(1)  # threads of the other process are not here to share work with
    try:
        found = (work(),)
    except BaseException:  # noqa: BLE001 - it is done again, and raised, where it is waited for
        os._exit(1)
    sender.send(found)


def _end_with(parent: int) -> None:
    """Have this process killed when its parent is, whose locks it would hold otherwise."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
