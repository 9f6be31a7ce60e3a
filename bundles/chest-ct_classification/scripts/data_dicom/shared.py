"""Copy a large array straight from the memory of a child process (Linux): once, and at full speed.

A pipe would copy it twice, in pieces. Nothing of the child's stays mapped here, so it can change
nothing afterwards, and an address that is not its own is an error, not a crash.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Span(ctypes.Structure):
    """One ``struct iovec``."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


def address_of(data: memoryview) -> int:
    """Return where bytes lie in this process."""
    return int(np.frombuffer(data, np.uint8).ctypes.data)


def copied(process: int, address: int, size: int) -> NDArray[np.uint8]:
    """Return ``size`` bytes of a child process.

    Raises:
        OSError: it has no such memory, it ended, or this system allows no such copies.
    """
    copy = _system_call()
    into = np.empty(size, np.uint8)
    done = 0
    while done < size:
        here = _Span(into.ctypes.data + done, size - done)
        there = _Span(address + done, size - done)
        count = copy(process, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        if count <= 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        done += count
    return into


def _system_call() -> Any:
    try:
        call = ctypes.CDLL(None, use_errno=True).process_vm_readv
    except (AttributeError, TypeError):
        raise OSError("this system has no process_vm_readv") from None
    call.restype = ctypes.c_ssize_t
    span, count = ctypes.POINTER(_Span), ctypes.c_ulong
    call.argtypes = (ctypes.c_int, span, count, span, count, count)
    return call
