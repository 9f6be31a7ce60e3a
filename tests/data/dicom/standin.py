"""A small package with the sandbox's own files and a reader that misbehaves on request.

The name of the "file" says what happens, so that each kind of failure is exact and quick.
"""

from __future__ import annotations

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
SANDBOX_FILES = ("child.py", "sandbox.py", "shared.py", "wire.py", "worker.py")

REFUSAL = """
REFUSALS = {
    name: "Remedy."
    for name in ("MOSAIC", "TOO_LARGE", "TIMEOUT", "DECODER_CRASHED", "SANDBOX_FAILED")
}

class DicomError(ValueError):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code

def refusal(code, found=""):
    return DicomError(code, f"{found}. {REFUSALS[code]}")
"""

FACTS = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class DicomImage:
    pixels: np.ndarray
    modality: str = "CT"
    events: tuple = ()

@dataclass(frozen=True)
class Skipped:
    code: str
    count: int
    detail: str

@dataclass(frozen=True)
class Series:
    key: str
    files: tuple

@dataclass(frozen=True)
class Listing:
    series: tuple
    skipped: tuple
"""

SCAN = """
from .facts import Listing, Series, Skipped

def list_series(path):
    return Listing((Series("abc", (path, "b")),), (Skipped("SC", 2, "pages"),))
"""

READ = '''
import ctypes, os, signal, sys, time
from pathlib import Path
import numpy as np
from .facts import DicomImage
from .refusal import DicomError

class PanicException(BaseException):
    """As codecs written in Rust raise it: not an Exception."""

def read_dicom(reference):
    what, _, more = os.path.basename(reference).partition("-")
    return globals()[what](more, reference)

def pid(more, reference):
    time.sleep(float(more or 0))
    return DicomImage(np.array([os.getpid()]))

def where(more, reference):
    return DicomImage(np.zeros(1), events=((os.getcwd(), reference),))

def state(more, reference):
    state = tuple(sys.modules), tuple(os.environ), tuple(sys.path)
    return DicomImage(np.zeros(1), events=(state,))

def fortran(more, reference):
    return DicomImage(np.arange(24, dtype="f4").reshape(4, 3, 2).T)

def strided(more, reference):
    return DicomImage(np.arange(24, dtype="f4").reshape(4, 3, 2).transpose(1, 0, 2)[::2])

def ones(more, reference):
    return DicomImage(np.ones(int(more), "u1"))

def text(more, reference):
    return DicomImage(np.zeros(0), Path(reference).read_text())

def segfault(more, reference):
    ctypes.string_at(1)

def abort(more, reference):
    os.abort()

def hang(more, reference):
    time.sleep(1000)

def spin(more, reference):
    ctypes.CDLL(None)  # keeps the interpreter lock, as a codec may
    sum(range(10 ** 12))

def memory(more, reference):
    kept = [np.ones(1 << 22) for _ in range(10000)]

def panic(more, reference):
    raise PanicException("index out of bounds: SECRET^NAME")

def leave(more, reference):
    sys.exit(3)

def unforeseen(more, reference):
    raise KeyError("SECRET^NAME")

def refuse(more, reference):
    raise DicomError("MOSAIC", "a mosaic \\x1b[31m")

def oddcode(more, reference):
    raise DicomError("x" * 100, "text")

def noise(more, reference):
    print("codec says SECRET^NAME", flush=True)
    os.write(1, b"raw SECRET^NAME")
    os.write(2, b"raw SECRET^NAME")
    return pid("", reference)

def write(more, reference):
    (Path(__file__).parent / reference).write_bytes(b"written")

def leak(more, reference):
    global kept
    kept = bytearray(300 << 20)
    return pid("", reference)

def unsendable(more, reference):
    return DicomImage(object())

def objects(more, reference):
    return DicomImage(np.array([object()]))
'''


def write_standin(folder: Path) -> Path:
    """Write ``folder/scripts/data_dicom`` and return it."""
    package = folder / "scripts" / "data_dicom"
    package.mkdir(parents=True)
    for name in SANDBOX_FILES:
        shutil.copy(REPOSITORY / "medfuse" / "data" / "dicom" / name, package / name)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    texts = {"refusal": REFUSAL, "facts": FACTS, "scan": SCAN, "read": READ}
    for name, text in texts.items():
        (package / f"{name}.py").write_text(text)
    return package
