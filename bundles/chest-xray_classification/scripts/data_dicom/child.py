"""One decoding process as its parent sees it: asked, timed, and killed when it goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from .refusal import REFUSALS, DicomError, refusal
from .shared import copied
from .wire import WireEndedError, WireError, receive

READY = b"ready"
_PIPE_BYTES = 1 << 20
_MAX_TEXT = 2000
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_SET_VARIABLES = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"), "1"),
    "MALLOC_MMAP_THRESHOLD_": str(8 << 20),  # buffers of a slice are reused: 15 % less time
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}
_DECODERS = ("numpy", "pydicom", "pylibjpeg", "openjpeg", "rle", "_jpegls", "gdcm", "PIL")


class BrokenChildError(DicomError):
    """The child cannot be asked again; a fresh one may fare better."""


class Child:
    """A running `worker.py` and the pipes to it.

    Args:
        megabytes: most memory it may use, and most bytes of one answer.
        types: the dataclasses that its answers may hold.

    Raises:
        DicomError: ``SANDBOX_FAILED``, the process cannot be started.
    """

    def __init__(self, megabytes: int, types: Mapping[str, type]) -> None:
        self.served = 0
        self._megabytes = megabytes
        self._types = types
        self._expired = False
        self._shares = False
        try:
            self._process = _started(megabytes)
        except OSError as error:
            raise _no_sandbox(str(error.strerror)) from error
        self._requests = cast(IO[bytes], self._process.stdin)
        self._replies = cast(IO[bytes], self._process.stdout)
        _widen(self._replies)

    def alive(self) -> bool:
        """Return whether it can be asked."""
        return not self._expired and self._process.poll() is None

    def ask(self, task: str, subject: Mapping[str, Any], seconds: float) -> object:
        """Return the answer to one request.

        Args:
            task: ``read``, ``list`` or ``files``.
            subject: the arguments of what does it; relative paths count from this process's
                folder.
            seconds: time it may take.

        Raises:
            DicomError: the file is refused, or takes longer than ``seconds`` (``TIMEOUT``).
            BrokenChildError: this child ended or is of no more use.
        """
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            reply = self._talk(task, subject, seconds)
        except (OSError, WireEndedError) as error:
            self._await_end()
            raise self._why(seconds) from error
        except WireError as error:
            self.kill()
            raise _broken("DECODER_CRASHED", f"it sent {error}") from error
        except BaseException:  # an interrupt: an answer is still on its way
            self.kill()
            raise
        finally:
            timer.cancel()
        self.served += 1
        return self._opened(reply)

    def kill(self) -> None:
        """End the process and free what it holds; harmless when it has ended."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _await_end(self) -> None:
        """Learn how a process that has closed its pipe ends; it has a second for it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self.kill()

    def forget(self) -> None:
        """Let go of a process that belongs to the parent of this, forked, process."""
        self._process.returncode = 0
        self._close()

    def _close(self) -> None:
        for pipe in (self._requests, self._replies, self._process.stderr):
            with suppress(OSError):
                cast(IO[bytes], pipe).close()

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    def _talk(self, task: str, subject: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        if not self.served:
            self._greet()
        request = {"task": task, "subject": subject, "folder": _folder(subject), "seconds": seconds}
        line = json.dumps({**request, "shared": self._shares})
        self._requests.write(line.encode("ascii") + b"\n")
        reply = receive(self._replies, self._types, self._megabytes << 20, self._find)
        if self._shares:
            self._requests.write(b"\n")
        return cast("dict[str, Any]", reply)

    def _greet(self) -> None:
        try:
            hello = cast("dict[str, Any]", receive(self._replies, {}, 0))
        except WireEndedError as error:
            self._await_end()
            if self._expired:
                raise
            raise _no_sandbox(_ending(self._process.returncode)) from error
        if "ready" not in hello:
            self.kill()
            raise _no_sandbox(_printable(hello.get("failed")))
        with suppress(OSError):
            self._shares = bytes(self._find(hello["ready"], len(READY))) == READY

    def _find(self, number: int, size: int) -> NDArray[np.uint8]:
        return copied(self._process.pid, number, size)

    def _opened(self, reply: dict[str, Any]) -> object:
        match reply:
            case {"done": value}:
                return value
            case {"refused": (code, text)} if code in REFUSALS:
                raise DicomError(code, _printable(text))
            case {"broken": ("TOO_LARGE", _)}:
                found = f"decoding needs more than {self._megabytes} MB of memory"
                error = _broken("TOO_LARGE", found)
            case _:
                found = reply.get("broken", ("", "no answer"))[1]
                error = _broken("DECODER_CRASHED", _printable(found))
        self.kill()
        raise error

    def _why(self, seconds: float) -> DicomError:
        code = self._process.returncode
        if self._expired or code == -getattr(signal, "SIGXCPU", 0):
            return refusal("TIMEOUT", f"not decoded within {seconds:.0f} s")
        return _broken("DECODER_CRASHED", _ending(code))


def _folder(subject: Mapping[str, Any]) -> str | None:
    """Return the folder from which relative paths count; it may be gone if there are none."""
    paths = subject["files"] if "files" in subject else (subject["reference"],)
    return None if all(Path(path).is_absolute() for path in paths) else str(Path.cwd())


def _started(megabytes: int) -> subprocess.Popen[bytes]:
    """Start `worker.py`: Python's own variables and user hooks do not count (``-I``)."""
    worker = Path(__file__).resolve().with_name("worker.py")
    flags = ["-I", "-B", "-X", "utf8"]
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return subprocess.Popen(
        [sys.executable, *flags, str(worker), str(megabytes), *_library_folders()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # a life line: the worker ends when this end closes
        bufsize=0,
        cwd=os.sep,
        env=kept | _SET_VARIABLES,
        start_new_session=True,  # Ctrl-C goes to the parent, which decides
    )


def _library_folders() -> Iterator[str]:
    """Yield the folders where this process finds the libraries: ``-I`` may look elsewhere."""
    found: dict[str, None] = {}
    for name in _DECODERS:
        spec = find_spec(name)
        if spec is not None and spec.origin is not None and Path(spec.origin).is_absolute():
            path = Path(spec.origin)
            found[str(path.parents[1] if path.stem == "__init__" else path.parent)] = None
    yield from found


def _widen(pipe: IO[bytes]) -> None:
    """Make a pipe hold 1 MB where the system can (Linux): fewer switches for a volume."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def _no_sandbox(why: str) -> DicomError:
    return refusal("SANDBOX_FAILED", why)


def _broken(code: str, found: str) -> BrokenChildError:
    return BrokenChildError(code, str(refusal(code, found)))


def _printable(text: object) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in str(text)[:_MAX_TEXT])
