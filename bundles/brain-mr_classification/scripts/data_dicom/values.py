"""From stored samples to values: rescale, lookup tables, windows (PS3.3 C.11.1 and C.11.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .dataset import text, value, words
from .refusal import refusal

RESCALE_TAGS = ("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence")
VOI_TAGS = ("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction")
_LARGEST = 1e9
_SMALLEST = 1e-9

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Lut:
    """A lookup table: value ``first`` gives ``table[0]``; ``bits`` bound its output."""

    first: int
    table: Values
    bits: int

    def __call__(self, values: NDArray[Any]) -> Values:
        """Return the table's entries; values before and after it get its ends."""
        place = np.clip(np.floor(values) - self.first, 0, len(self.table) - 1)
        return np.asarray(self.table[place.astype(np.intp)])


@dataclass(frozen=True)
class Rescale:
    """The modality transformation; ``declared`` where the file has one."""

    slope: float = 1.0
    intercept: float = 0.0
    unit: str = ""
    lut: Lut | None = None
    declared: bool = False

    def __call__(self, stored: NDArray[Any]) -> Values:
        """Return the values of stored samples."""
        if self.lut is not None:
            return self.lut(stored)
        return np.asarray(stored * np.float64(self.slope) + self.intercept)

    def limits(self, stored: tuple[int, int]) -> tuple[float, float]:
        """Return the lowest and highest value that samples between ``stored`` can give."""
        if self.lut is not None:
            return 0.0, float((1 << self.lut.bits) - 1)
        low, high = sorted(end * self.slope + self.intercept for end in stored)
        return low, high


def rescale_of(dataset: Dataset) -> Rescale:
    """Return the modality transformation of an object or of a frame's item.

    Raises:
        DicomError: ``BAD_RESCALE`` or ``BAD_LUT``.
    """
    tables = value(dataset, "ModalityLUTSequence")
    if tables:
        return Rescale(
            unit=text(tables[0], "ModalityLUTType"), lut=lut_of(tables[0]), declared=True
        )
    slope, intercept = value(dataset, "RescaleSlope"), value(dataset, "RescaleIntercept")
    if slope is None and intercept is None:
        return Rescale()
    if slope is None or intercept is None:
        raise refusal("BAD_RESCALE", "only one of RescaleSlope and RescaleIntercept is there")
    low = _number(slope, "BAD_RESCALE", "RescaleSlope")
    offset = _number(intercept, "BAD_RESCALE", "RescaleIntercept")
    if abs(low) < _SMALLEST:
        raise refusal("BAD_RESCALE", "RescaleSlope is zero")
    return Rescale(low, offset, text(dataset, "RescaleType").upper(), None, True)


def lut_of(item: Dataset) -> Lut:
    """Return the table of a lookup table item.

    Raises:
        DicomError: ``BAD_LUT``.
    """
    return palette_of(value(item, "LUTDescriptor"), value(item, "LUTData"))


def palette_of(described: Any, data: Any) -> Lut:
    """Return the table of a descriptor (entries, first value, bits) and its data.

    Raises:
        DicomError: ``BAD_LUT``.
    """
    descriptor = _integers(described)
    if len(descriptor) != 3:
        raise refusal("BAD_LUT", "the descriptor is not three numbers")
    length, first, bits = (int(part) for part in descriptor)
    length = length % 65536 or 65536
    table = _integers(data) % 65536
    if bits <= 8 and length > 1 and len(table) == (length + 1) // 2:
        table = table.astype("<u2").view(np.uint8)
    if not 1 <= bits <= 16 or len(table) < length or table[:length].max() >= 1 << bits:
        raise refusal("BAD_LUT", f"{len(table)} entries of {bits} bits, {length} expected")
    return Lut(first, table[:length].astype(np.float64), bits)


def with_sign(lut: Lut, signed: bool) -> Lut:
    """Return the table with its first value read as samples of that sign are."""
    first = lut.first % 65536
    return Lut(first - 65536 if signed and first > 32767 else first, lut.table, lut.bits)


def voi(dataset: Dataset, values: Values, signed: bool) -> tuple[Values, tuple[str, str]] | None:
    """Return the values as [0, 1] through the first VOI table or window, and the event of it.

    Raises:
        DicomError: ``BAD_LUT`` or ``BAD_WINDOW``.
    """
    tables = value(dataset, "VOILUTSequence")
    if tables:
        lut = lut_of(tables[0])
        lut = with_sign(lut, signed)
        return lut(values) / ((1 << lut.bits) - 1), ("VOI_LUT", f"{len(lut.table)} entries")
    center, width = value(dataset, "WindowCenter"), value(dataset, "WindowWidth")
    if center is None and width is None:
        return None
    shape = (words(dataset, "VOILUTFunction") or ("LINEAR",))[0]
    middle, span = (_number(_first(end), "BAD_WINDOW", "window") for end in (center, width))
    windowed = _windowed(values, middle, span, shape)
    return windowed, ("VOI_WINDOW", f"{shape} center {middle:g} width {span:g}")


def _windowed(values: Values, center: float, width: float, shape: str) -> Values:
    lowest = {"LINEAR": 1.0, "LINEAR_EXACT": _SMALLEST, "SIGMOID": _SMALLEST}.get(shape)
    if lowest is None or width < lowest:
        raise refusal("BAD_WINDOW", f"width {width:g} of a known or unknown function")
    if shape == "SIGMOID":
        steps = np.clip(-4 * (values - center) / width, -700, 700)
        return np.asarray(1 / (1 + np.exp(steps)))
    if shape == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _first(found: Any) -> Any:
    several = isinstance(found, list | tuple) or hasattr(found, "__getitem__")
    return found[0] if several and not isinstance(found, str | bytes) else found


def _number(found: Any, code: str, name: str) -> float:
    try:
        number = float(found)
    except (TypeError, ValueError, OverflowError):
        raise refusal(code, f"{name} is no number") from None
    if not abs(number) <= _LARGEST:
        raise refusal(code, f"{name} is no finite number of possible size")
    return number


def _integers(found: Any) -> NDArray[np.int64]:
    """Return a US, SS or OW value as integers, also where its type was left open."""
    if isinstance(found, bytes):
        return np.frombuffer(found[: len(found) // 2 * 2], "<u2").astype(np.int64)
    try:
        return np.array([int(part) for part in found], np.int64)
    except (TypeError, ValueError, OverflowError):
        raise refusal("BAD_LUT", "a lookup table is absent or holds no integers") from None
