"""A hostile weights file of some bytes ends in a named error at once, without gigabytes."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import zipfile

import pytest

UNKNOWN = b"cx\nY\n0"  # a name that torch refuses, so that the file is read by medfuse's unpickler
_GIGABYTES = struct.pack("<Q", 6_000_000_000)
_LOAD = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
    "from medfuse.backbones.weights_file import load_state\n"
    "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    "for name in sys.argv[1:]:\n"
    "    try: load_state(name)\n"
    "    except Exception as error: print(type(error).__name__, error)\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def doubled(first: bytes, link: bytes, times: int = 40) -> bytes:
    """Return opcodes for an object that names the one before it twice, and so on."""
    made = first + b"q\x000"
    for n in range(times):
        made += link.replace(b"LAST", b"h" + bytes([n])) + b"q" + bytes([n + 1]) + b"0"
    return made + b"h" + bytes([times])


PART = b"}(" + text("_parameters") + b"}" + text("_buffers") + b"}" + text("_modules") + b"}"
MODULES = b"cx\nM\n)\x81" + PART + b"(" + text("a") + b"LAST" + text("b") + b"LASTuub"
TUPLES = doubled(b")", b"LASTLAST\x86")
DICTS = doubled(b"}", b"}(" + text("a") + b"LAST" + text("b") + b"LASTu")
ATTACKS = {
    "memo": UNKNOWN + b"}r" + struct.pack("<I", 2**32 - 1) + b".",
    "bytes": b"cbuiltins\nbytearray\n\x8a\x05" + _GIGABYTES[:5] + b"\x85R.",
    "announced": UNKNOWN + b"\x96" + _GIGABYTES + b".",
    "unending": UNKNOWN + b"\x8e" + struct.pack("<Q", 2**63 - 1) + b".",
    "frame": b"\x95" + struct.pack("<Q", 2**62) + UNKNOWN + b".",
    "deep key": b"})" + b"\x85" * 3_000_000 + b"Ns.",
    "deep key of a network": UNKNOWN + b"})" + b"\x85" * 3_000_000 + b"Ns.",
    "wide key": b"}q\xf0" + TUPLES + b"Ns.",
    "wide key of a set": UNKNOWN + b"cbuiltins\nset\n(" + TUPLES + b"l\x85R.",
    "wide key of an ordered dict": b"ccollections\nOrderedDict\n(" + TUPLES + b"N\x86l\x85R.",
    "parts": b"}" + text("m") + DICTS + b"s.",
    "networks": doubled(b"cx\nM\n)\x81" + PART + b"ub", MODULES) + b".",
}


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_time_and_memory_of_hostile_pickles_are_bounded(tmp_path, zipped):
    """In a process of its own: some of these made Python crash, others never ended."""
    header = [0x1950A86A20F9469CFC6C, 1001, {}]
    for name, pickled in ATTACKS.items():
        if zipped:
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                archive.writestr("w/data.pkl", b"\x80\x02" + pickled)
                archive.writestr("w/version", "3\n")
        else:
            start = b"".join(pickle.dumps(part, 2) for part in header)
            (tmp_path / name).write_bytes(start + b"\x80\x02" + pickled + b"\x80\x02].")
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, *map(str, ATTACKS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *errors, kibibytes = done.stdout.splitlines()
    assert len(errors) == len(ATTACKS)
    for name, error in zip(ATTACKS, errors, strict=True):
        assert error.startswith(f"WeightsError {name}: ")
    assert int(kibibytes) < 600_000
