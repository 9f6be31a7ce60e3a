"""The exporters of torch, without what they print and what they say of their future."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def quiet_torchscript() -> Iterator[None]:
    """Silence what torch.jit says about its future; it is the format that Deploy reads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit.*", FutureWarning)
        warnings.filterwarnings("ignore", r".*torch\.jit.*", DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield


@contextmanager
def quiet_onnx() -> Iterator[None]:
    """Silence the exporters to ONNX: warnings, and the graph that C++ prints where one fails."""
    with quiet_torchscript(), _silenced_output(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exporters warn about their own future and shapes
        yield


@contextmanager
def _silenced_output() -> Iterator[None]:
    """Send file descriptors 1 and 2 nowhere."""
    with ExitStack() as stack:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        stack.callback(os.close, nowhere)
        _flush()
        for number in (1, 2):
            kept = os.dup(number)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, number)
            os.dup2(nowhere, number)
        # What Python still holds must go nowhere too, so it is flushed before the way back.
        stack.callback(_flush)
        yield


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
