"""The decoding process: reads what it is asked for, under limits, and outlives nobody.

Started by path (`sandbox.py` does), never imported: its arguments are the megabytes it may use and
the folders where numpy and pydicom are. Requests come in on standard input; when it ends, so does
this process. Replies go out on what was standard output; whatever a codec prints goes nowhere.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from contextlib import suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import IO, Any

READY = b"ready"
_PACKAGE = "dicom_worker_package"


def main() -> None:
    """Serve requests until standard input ends."""
    megabytes, *folders = sys.argv[1:]
    _end_with_parent()
    requests, replies = _private_pipes()
    _limit_memory(int(megabytes))
    sys.path += [folder for folder in folders if folder not in sys.path]
    try:
        _load_package(Path(__file__).resolve().parent)
        from . import read, scan  # noqa: F401 import now: the first request need not wait
        from .wire import send
    except BaseException as error:  # noqa: BLE001 the parent must learn of it, whatever it is
        _write_failure(replies, error)
        return
    kept = _Kept()
    send(replies, {"ready": kept(memoryview(READY))})
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, inbox), daemon=True).start()
    while _serve(inbox.get(), replies, kept):
        pass


def _private_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Return the two pipes on numbers of their own; 0, 1 and 2 become the null device."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    return requests, replies


def _end_with_parent() -> None:
    """Have the kernel end this process when the parent's end of standard error closes.

    Linux does so at once, even inside a decoder that keeps the interpreter's lock; elsewhere it is
    `_listen` that notices. Nothing is ever written there.
    """
    with suppress(ImportError, OSError):
        import fcntl

        line = os.dup(2)
        fcntl.fcntl(line, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(line, fcntl.F_SETFL, fcntl.fcntl(line, fcntl.F_GETFL) | os.O_ASYNC)


def _limit_memory(megabytes: int) -> None:
    """Cap the address space; no core dump, no written file, first choice of the memory killer."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        import resource
    except ImportError:  # Windows: the parent's clock alone limits this process
        return
    for name, value in (("AS", megabytes << 20), ("CORE", 0), ("FSIZE", 0)):
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(OSError, ValueError):  # macOS refuses RLIMIT_AS below what is in use
            resource.setrlimit(kind, (limit, limit))


def _limit_processor(seconds: float) -> None:
    """Let the kernel end this process if it computes for longer, whatever became of its parent."""
    try:
        import resource
    except ImportError:  # Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = int(time.process_time() + seconds) + 2
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def _load_package(folder: Path) -> None:
    """Import this file's own package under a private name: no folder joins ``sys.path`` for it."""
    spec = spec_from_file_location(
        _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = module_from_spec(spec)
    sys.modules[_PACKAGE] = package
    globals()["__package__"] = _PACKAGE  # PEP 366: relative imports work in a file run by path
    spec.loader.exec_module(package)


def _listen(requests: IO[bytes], inbox: queue.SimpleQueue[bytes]) -> None:
    """Pass on requests; end the process, busy or not, when the parent is gone."""
    for line in requests:
        inbox.put(line)
    os._exit(1)


class _Kept:
    """Large arrays that the parent copies from here, until it says that it has."""

    def __init__(self) -> None:
        self._arrays: list[memoryview] = []

    def __call__(self, data: memoryview) -> int:
        """Keep bytes and return their address."""
        from .shared import address_of

        self._arrays.append(data)
        return address_of(data)

    def clear(self) -> None:
        """Let go of them."""
        self._arrays.clear()


def _serve(line: bytes, replies: IO[bytes], kept: _Kept) -> bool:
    """Reply ``{"done": value}``, ``{"refused": (code, text)}`` or ``{"broken": (code, text)}``.

    An empty line says that the parent has copied the arrays of the reply before; it has no reply.

    Returns ``False`` after ``broken``: what is left in this process cannot be trusted.
    """
    from .refusal import DicomError
    from .wire import send

    kept.clear()
    if line == b"\n":
        return True
    request = json.loads(line)
    _limit_processor(float(request["seconds"]))
    try:
        send(replies, {"done": _work(request)}, kept if request["shared"] else None)
    except DicomError as error:
        send(replies, {"refused": (error.code, str(error))})
    except MemoryError:
        send(replies, {"broken": ("TOO_LARGE", "")})
        return False
    except BaseException as error:  # noqa: BLE001 codecs in Rust panic past Exception
        send(replies, {"broken": ("DECODER_CRASHED", type(error).__name__)})
        return False
    return True


def _work(request: dict[str, Any]) -> object:
    subject = request["subject"]
    if request["folder"] is not None:
        os.chdir(request["folder"])
    try:
        return _done(request["task"], subject)
    finally:
        os.chdir(os.sep)


def _done(task: str, subject: dict[str, Any]) -> object:
    from . import read, scan

    if task == "files":
        return scan.list_files(subject["files"], bytes.fromhex(subject["key"]))
    if task == "list":
        return scan.list_series(subject["reference"])
    return read.read_dicom(subject["reference"])


def _write_failure(replies: IO[bytes], error: BaseException) -> None:
    text = json.dumps({"map": [["failed", f"{type(error).__name__}: {error}"]]}).encode("ascii")
    replies.write(len(text).to_bytes(8, "big") + text)


if __name__ == "__main__":
    main()
