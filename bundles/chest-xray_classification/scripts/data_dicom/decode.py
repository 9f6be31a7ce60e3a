"""Stored samples of one DICOM object, exact: unused high bits masked, signed values extended.

Uncompressed pixels are cut from the file here; compressed ones go to decoders with a permissive
license, in a fixed order, so that every machine that can read a file reads the same values.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from .codestream import require_fragments, require_size
from .dataset import DEFLATED, EXPLICIT, integer, text, value
from .refusal import DicomError, refusal

PIXEL_TAGS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames"),
)
MAX_SAMPLES = 1 << 28
BIG_ENDIAN = "1.2.840.10008.1.2.2"
_NATIVE = ("1.2.840.10008.1.2", EXPLICIT, BIG_ENDIAN, DEFLATED)
_JPEG = "1.2.840.10008.1.2.4."
_OPENJPEG = ("pylibjpeg", "gdcm")
_DECODERS = {  # names that pydicom 2 and pydicom 3 give them differ only for JPEG-LS
    "1.2.840.10008.1.2.5": ("pydicom", "pylibjpeg", "gdcm"),
    **dict.fromkeys((f"{_JPEG}50", f"{_JPEG}51"), ("gdcm", "pillow")),
    **dict.fromkeys((f"{_JPEG}57", f"{_JPEG}70"), ("gdcm",)),
    **dict.fromkeys((f"{_JPEG}80", f"{_JPEG}81"), ("pyjpegls", "gdcm")),
    **dict.fromkeys((f"{_JPEG}90", f"{_JPEG}91"), _OPENJPEG),
    **dict.fromkeys((f"{_JPEG}201", f"{_JPEG}202", f"{_JPEG}203"), ("pylibjpeg",)),
}
_NAMES_IN_PYDICOM_2 = {"pyjpegls": "jpeg_ls", "pydicom": "rle"}
_LOSSY = {f"{_JPEG}{number}" for number in (50, 51, 81, 91, 203)}


@dataclass(frozen=True)
class PixelFormat:
    """How the samples of an object are stored.

    Attributes:
        shape: frames, rows, columns, samples per pixel.
        allocated: bits of a stored cell: 8 or 16.
        bits: of them that hold the sample.
        signed: two's complement.
        photometric: interpretation, as the file says.
    """

    shape: tuple[int, int, int, int]
    allocated: int
    bits: int
    signed: bool
    photometric: str

    @property
    def limits(self) -> tuple[int, int]:
        """Return the lowest and highest value that can be stored."""
        if self.signed:
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return 0, (1 << self.bits) - 1


def pixel_format(dataset: Dataset) -> PixelFormat:
    """Return the checked description of an object's pixels.

    Raises:
        DicomError: ``PIXEL_FORMAT`` or ``TOO_LARGE``.
    """
    shape = tuple(
        integer(dataset, name, default)
        for name, default in (
            ("NumberOfFrames", 1),
            ("Rows", None),
            ("Columns", None),
            ("SamplesPerPixel", 1),
        )
    )
    allocated, bits = integer(dataset, "BitsAllocated"), integer(dataset, "BitsStored")
    high, sign = integer(dataset, "HighBit", bits - 1), integer(dataset, "PixelRepresentation", 0)
    if min(shape) < 1 or shape[3] not in (1, 3):
        raise refusal("PIXEL_FORMAT", f"frames, rows, columns, samples are {shape}")
    if allocated not in (8, 16) or not 1 < bits <= allocated or high != bits - 1:
        raise refusal("PIXEL_FORMAT", f"{bits} of {allocated} bits up to bit {high}")
    if sign not in (0, 1) or (shape[3] == 3 and sign):
        raise refusal("PIXEL_FORMAT", f"PixelRepresentation {sign}, {shape[3]} samples")
    if np.prod(shape, dtype=float) > MAX_SAMPLES:
        raise refusal("TOO_LARGE", f"{shape} samples, at most {MAX_SAMPLES}")
    name = text(dataset, "PhotometricInterpretation").upper()
    return PixelFormat((shape[0], shape[1], shape[2], shape[3]), allocated, bits, sign == 1, name)


def stored_pixels(dataset: Dataset) -> tuple[NDArray[Any], PixelFormat]:
    """Return the samples ``(frames, rows, columns)`` or ``(..., 3)`` and how they are to be seen.

    Raises:
        DicomError: the pixels are absent, cut short, described wrongly, or cannot be decoded.
    """
    form = pixel_format(dataset)
    data = value(dataset, "PixelData")
    if not isinstance(data, bytes):
        raise refusal("TRUNCATED" if data is None else "PIXEL_FORMAT", "no PixelData")
    syntax = transfer_syntax(dataset)
    if syntax in _NATIVE:
        pixels = _native(data, form, syntax, dataset)
    elif syntax in _DECODERS:
        require_fragments(data, form.shape[0], syntax)
        require_size(data, form.shape, syntax)
        pixels, photometric = _decoded(dataset, syntax)
        form = PixelFormat(form.shape, form.allocated, form.bits, form.signed, photometric)
    else:
        raise refusal("UNSUPPORTED_SYNTAX")
    frames, rows, columns, samples = form.shape
    shape = (frames, rows, columns) if samples == 1 else form.shape
    if pixels.size != np.prod(shape):
        raise refusal("DECODE_FAILED", f"{pixels.size} samples, expected {shape}")
    return _masked(pixels.reshape(shape), form), form


def transfer_syntax(dataset: Dataset) -> str:
    """Return the UID of the transfer syntax, empty where the file does not say.

    Raises:
        DicomError: ``DAMAGED``: it is no text.
    """
    return text(dataset.file_meta, "TransferSyntaxUID")


def is_lossy(dataset: Dataset) -> bool:
    """Return whether the pixels were compressed with loss at any time."""
    return text(dataset, "LossyImageCompression") == "01" or transfer_syntax(dataset) in _LOSSY


def _native(data: bytes, form: PixelFormat, syntax: str, dataset: Dataset) -> NDArray[Any]:
    subsampled = form.photometric == "YBR_FULL_422"
    count = int(np.prod(form.shape)) * 2 // 3 if subsampled else int(np.prod(form.shape))
    size = count * form.allocated // 8
    if dataset["PixelData"].is_undefined_length:
        raise refusal("PIXEL_FORMAT", "fragments in an uncompressed syntax")
    if len(data) < size:
        raise refusal("TRUNCATED", f"{len(data)} bytes of pixels, expected {size}")
    if len(data) >= size + max(form.shape[2] * form.allocated // 8, 2):
        raise refusal("PIXEL_FORMAT", f"{len(data)} bytes of pixels, expected {size}")
    if form.allocated == 16:
        return _by_pixel(np.frombuffer(data, ">u2" if syntax == BIG_ENDIAN else "<u2", count), form)
    if syntax == BIG_ENDIAN and dataset["PixelData"].VR == "OW":
        data = np.frombuffer(data[: len(data) // 2 * 2], "<u2").byteswap().tobytes()
    cells = np.frombuffer(data, np.uint8, count)
    if subsampled:
        first, second, blue, red = cells.reshape(-1, 4).T
        return np.stack([first, blue, red, second, blue, red], axis=1)
    return _by_pixel(cells, form, integer(dataset, "PlanarConfiguration", 0))


def _by_pixel(cells: NDArray[Any], form: PixelFormat, planar: int = 0) -> NDArray[Any]:
    frames, rows, columns, samples = form.shape
    if samples == 1 or not planar:
        return cells
    return cells.reshape(frames, samples, rows, columns).transpose(0, 2, 3, 1)


def _masked(pixels: NDArray[Any], form: PixelFormat) -> NDArray[Any]:
    """Return the samples without what other bits of their cells hold (overlays, garbage)."""
    cells: Any = pixels.astype(np.uint16 if form.allocated == 16 else np.uint8, copy=False)
    spare = form.allocated - form.bits
    if form.signed:
        signed = np.int16 if form.allocated == 16 else np.int8
        return np.asarray((cells << spare).view(signed) >> spare)
    return np.asarray(cells & ((1 << form.bits) - 1)) if spare else cells


def _decoded(dataset: Dataset, syntax: str) -> tuple[NDArray[Any], str]:
    """Return the array of the first decoder that is there, and its photometric interpretation."""
    decode = _with_pydicom_2 if pydicom.__version__.startswith("2.") else _with_pydicom_3
    for name in _DECODERS[syntax]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = decode(dataset, syntax, name)
        except (MemoryError, KeyboardInterrupt, SystemExit, DicomError):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of Rust code is no Exception
            raise refusal("DECODE_FAILED", f"{name} ended with {type(error).__name__}") from None
        if result is not None:
            return result
    raise refusal("NO_DECODER", f"needs one of {', '.join(_DECODERS[syntax])}")


def _with_pydicom_3(dataset: Dataset, syntax: str, name: str) -> tuple[NDArray[Any], str] | None:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(UID(syntax))
    if name not in decoder.available_plugins:
        return None
    pixels, facts = decoder.as_array(dataset, raw=True, decoding_plugin=name)
    return pixels, str(facts["photometric_interpretation"]).upper()


def _with_pydicom_2(dataset: Dataset, syntax: str, name: str) -> tuple[NDArray[Any], str] | None:
    from pydicom import config

    module = f"pydicom.pixel_data_handlers.{_NAMES_IN_PYDICOM_2.get(name, name)}_handler"
    handlers: dict[str, Any] = {found.__name__: found for found in config.pixel_data_handlers}
    handler = handlers.get(module)
    if handler is None or not handler.is_available():
        return None
    if syntax not in handler.SUPPORTED_TRANSFER_SYNTAXES:
        return None
    pixels = handler.get_pixeldata(dataset)
    photometric = text(dataset, "PhotometricInterpretation").upper()
    if handler.should_change_PhotometricInterpretation_to_RGB(dataset):
        photometric = "RGB"
    planar = integer(dataset, "PlanarConfiguration", 0)
    form = pixel_format(dataset)
    return _by_pixel(pixels, form, planar if syntax.endswith(".5") else 0), photometric
