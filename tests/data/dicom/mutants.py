"""Damaged copies of DICOM files: bytes, lengths, and whole elements; the same for the same seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

LONG = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR", b"SV", b"UV")
UNDEFINED = 0xFFFFFFFF
VALUES = (
    *(b"", b" ", b"\0\0", b"0", b"1", b"-1", b"1e400", b"-1e308", b"nan", b"inf", b"1e-320"),
    *(b"abc", b"1\\2", b"\\\\\\", b"1\\nan\\0", b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\0\\1\\0", b"=cmd"),
    *(b"\xff\xff", b"\x80\0", b"\0\x80", b"\1\0", b"\xff" * 8, b"\x1b[31m", b"../../x", b"9" * 64),
    *(b"1.2.840.10008.1.3.10", b"MONOCHROME1", b"LOCALIZER", b"YES", b"CT", b"\\MOSAIC"),
)
LENGTHS = (0, 1, 2, 3, 7, 0x7FFF, 0xFFFE, 0xFFFF)
LONG_LENGTHS = (*LENGTHS, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFD, 0xFFFFFFFE, UNDEFINED)


@dataclass(frozen=True)
class Element:
    """Where an element of an explicit little endian file lies.

    Attributes:
        tag: group and element.
        start: of its tag.
        value: start of its value.
        end: behind its value.
        long: its length has 32 bits.
    """

    tag: int
    start: int
    value: int
    end: int
    long: bool


@dataclass(frozen=True)
class Mutant:
    """One damaged file.

    Attributes:
        data: its bytes.
        what: was done to it.
        tag: of the one element whose value was replaced, well-formed; else 0.
    """

    data: bytes
    what: str
    tag: int = 0


def elements(data: bytes) -> list[Element]:
    """Return the elements on the first level of an explicit little endian file, by hand."""
    found, at = [], 132
    while at + 8 <= len(data):
        group, number = struct.unpack("<HH", data[at : at + 4])
        long = data[at + 4 : at + 6] in LONG
        value = at + (12 if long else 8)
        length = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
        if length == UNDEFINED or value + length > len(data):
            break
        found.append(Element(group << 16 | number, at, value, value + length, long))
        at = value + length
    return found


def mutant(data: bytes, rng: random.Random) -> Mutant:
    """Return a damaged copy of a file."""
    kinds: tuple[Callable[[bytes, random.Random], Mutant], ...] = (
        *(_bytes, _bytes, _moved, _lengths, _value, _value, _value, _structure),
    )
    return rng.choice(kinds)(data, rng)


def with_value(data: bytes, element: Element, value: bytes) -> bytes:
    """Return the file with another value of an element, its length made to fit."""
    value += b" " * (len(value) % 2)
    size = struct.pack("<I" if element.long else "<H", len(value))
    place = element.value - len(size)
    return data[:place] + size + value + data[element.end :]


def _bytes(data: bytes, rng: random.Random) -> Mutant:
    """Overwrite some bytes, mostly in the header, where they matter."""
    changed = bytearray(data)
    high = len(data) if rng.random() < 0.3 else min(len(data), 1500)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        changed[rng.randrange(128, high)] = rng.choice((0, 1, 0x5C, 0x7F, 0xFF, rng.randrange(256)))
    return Mutant(bytes(changed), "bytes")


def _moved(data: bytes, rng: random.Random) -> Mutant:
    """Cut, insert, drop or repeat a stretch."""
    start, size = rng.randrange(100, len(data)), rng.choice((1, 2, 7, 64, 700))
    stretch = data[start : start + size]
    end = start + size
    return rng.choice(
        (
            Mutant(data[:start], "cut"),
            Mutant(data[:start] + rng.randbytes(size) + data[start:], "inserted"),
            Mutant(data[:start] + data[end:], "dropped"),
            Mutant(data[:end] + stretch * 3 + data[end:], "repeated"),
        )
    )


def _lengths(data: bytes, rng: random.Random) -> Mutant:
    """Lie about the length of an element."""
    known = elements(data)
    if not known:
        return _bytes(data, rng)
    element = rng.choice(known)
    length = rng.choice(LONG_LENGTHS if element.long else LENGTHS)
    size = struct.pack("<I" if element.long else "<H", length)
    place = element.value - len(size)
    return Mutant(data[:place] + size + data[element.value :], f"length of {element.tag:08x}")


def _value(data: bytes, rng: random.Random) -> Mutant:
    """Replace the value of an element by one that its type may not allow."""
    known = [e for e in elements(data) if e.tag >> 16 > 2]
    if not known:
        return _bytes(data, rng)
    element = rng.choice(known)
    value = rng.choice((*VALUES, rng.randbytes(rng.choice((2, 4, 16))), data[element.value :][:2]))
    what = f"value of {element.tag:08x}: {value[:20]!r}"
    return Mutant(with_value(data, element, value), what, element.tag)


def _structure(data: bytes, rng: random.Random) -> Mutant:
    """Remove, double or exchange elements, or give one another type."""
    known = elements(data)
    if len(known) < 3:
        return _moved(data, rng)
    first, second = sorted(rng.sample(known, 2), key=lambda element: element.start)
    one, other = data[first.start : first.end], data[second.start : second.end]
    kind = rng.choice((b"SQ", b"UN", b"OB", b"US", b"DS", b"LO", b"\0\0", b"zz"))
    return rng.choice(
        (
            Mutant(data[: first.start] + data[first.end :], f"without {first.tag:08x}"),
            Mutant(data[: first.end] + one + data[first.end :], f"{first.tag:08x} twice"),
            Mutant(
                data[: first.start]
                + other
                + data[first.end : second.start]
                + one
                + data[second.end :],
                f"{first.tag:08x} and {second.tag:08x} exchanged",
            ),
            Mutant(
                data[: first.start + 4] + kind + data[first.start + 6 :],
                f"type {kind!r} of {first.tag:08x}",
            ),
        )
    )
