"""Read untrusted DICOM files in child processes that have limits and can be killed.

A decoder that crashes, hangs or eats all memory costs a child, never the caller: the file is
refused with a code and the next one gets a fresh child.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from .child import BrokenChildError, Child
from .facts import DicomImage, Listing, Series, Skipped

_TYPES = {kind.__name__: kind for kind in (DicomImage, Listing, Series, Skipped)}
_MOST_FILES = 100_000
_SECONDS_PER_FILE = 0.02
_BYTES_PER_SECOND = 20e6


class SandboxedReader:
    """Reads DICOM files and folders in child processes; any number of threads may share it.

    A child starts with the first file, serves many, and ends with `close`, with this object or
    with this process. After a fork each process has children of its own.

    Args:
        seconds: longest time for one file; a folder adds 0.02 s for each of its files and 1 s
            for each 20 MB.
        megabytes: most memory of a child, its 130 MB of Python included, and of a volume.
        children: most children at once; further threads wait.
    """

    def __init__(self, seconds: float = 20, megabytes: int = 2000, children: int = 2) -> None:
        self._seconds = seconds
        self._megabytes = megabytes
        self._children = children
        self._all: list[Child] = []
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=partial(_renew, weakref.ref(self)))
        self._finalizer = weakref.finalize(self, _kill_all, self._all)

    def read(self, reference: str) -> DicomImage:
        """Return what `read_dicom` returns.

        Raises:
            DicomError: what `read_dicom` raises, and ``TIMEOUT``, ``TOO_LARGE``,
                ``DECODER_CRASHED`` or, where no child can be started, ``SANDBOX_FAILED``.
        """
        return cast(DicomImage, self._ask_for("read", str(reference)))

    def list(self, path: str) -> Listing:
        """Return what `list_series` returns.

        Raises:
            DicomError: as `read`.
        """
        return cast(Listing, self._ask_for("list", str(path)))

    def list_files(self, files: Sequence[str], key: bytes) -> Listing:
        """Return what `scan.list_files` returns.

        Raises:
            DicomError: as `read`, for all of them: ask for fewer to find out which it was.
        """
        subject = {"files": list(files), "key": key.hex()}
        return cast(Listing, self._ask("files", subject, len(files) * _SECONDS_PER_FILE))

    def close(self) -> None:
        """End the children; a later `read` starts new ones."""
        self._idle.clear()
        _kill_all(self._all)

    def __enter__(self) -> SandboxedReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _renew(self) -> None:
        """Forget the children of the process that this one was forked from."""
        for child in self._all:
            child.forget()
        self._all.clear()
        self._idle: list[Child] = []
        self._free = threading.Semaphore(self._children)

    def _ask_for(self, task: str, reference: str) -> object:
        return self._ask(task, {"reference": reference}, _extra_seconds(reference))

    def _ask(self, task: str, subject: Mapping[str, Any], extra_seconds: float) -> object:
        seconds = self._seconds + extra_seconds
        with self._free:
            child = self._idle_child() or self._new_child()
            used = child.served > 0
            try:
                return self._asked(child, task, subject, seconds)
            except BrokenChildError:
                if not used:
                    raise
            # An earlier file may have left too little memory or a damaged decoder: once more.
            return self._asked(self._new_child(), task, subject, seconds)

    def _asked(self, child: Child, task: str, subject: Mapping[str, Any], seconds: float) -> object:
        try:
            return child.ask(task, subject, seconds)
        finally:
            if child.alive():
                self._idle.append(child)
            else:
                self._drop(child)

    def _idle_child(self) -> Child | None:
        while self._idle:
            child = self._idle.pop()
            if child.alive():
                return child
            self._drop(child)
        return None

    def _new_child(self) -> Child:
        child = Child(self._megabytes, _TYPES)
        self._all.append(child)
        return child

    def _drop(self, child: Child) -> None:
        child.kill()
        if child in self._all:
            self._all.remove(child)


@cache
def shared_reader() -> SandboxedReader:
    """Return the reader that this process shares, with the default limits."""
    return SandboxedReader()


def _renew(reader: weakref.ref[SandboxedReader]) -> None:
    found = reader()
    if found is not None:
        found._renew()


def _kill_all(children: list[Child]) -> None:
    while children:
        children.pop().kill()


def _extra_seconds(reference: str) -> float:
    """Return the time that a folder may take beyond one file's: it grows with what it holds."""
    folder = reference.partition("::")[0]
    files = size = 0
    inside = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    for path in islice(inside, _MOST_FILES):
        with suppress(OSError):
            status = path.lstat()
            files += 1
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return files * _SECONDS_PER_FILE + size / _BYTES_PER_SECOND
