"""Read one 2D image file as it was stored, or say with a code why not.

This file is copied into every bundle, so it imports numpy, Pillow, tifffile and monai alone.
Formats: PNG, JPEG, BMP, TIFF, ``.npy``, and one image of an array in a ``.npz``.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import tifffile
from monai.data.image_reader import ImageReader  # noqa: TID253
from numpy.typing import NDArray
from PIL import Image, ImageOps

MAX_PIXELS = 80_000_000
EXIF_ORIENTATION = 274
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, IndexError)


class ImageFileError(ValueError):
    """A file that cannot be used as an image.

    Args:
        code: ``FILE_NOT_FOUND``, ``NOT_A_FILE``, ``UNREADABLE``, ``EMPTY_FILE``, ``NOT_AN_IMAGE``,
            ``TRUNCATED``, ``CORRUPT``, ``TOO_LARGE``, ``UNSUPPORTED``, ``UNSUPPORTED_SHAPE``,
            ``NON_FINITE``, ``OUT_OF_RANGE`` or ``BIT_DEPTH``.
        reference: the file.
        text: what was found, what is expected.
    """

    def __init__(self, code: str, reference: str, text: str) -> None:
        super().__init__(f"{reference}: {text} [{code}]")
        self.code = code


@dataclass(frozen=True)
class ImageFacts:
    """What a file says of its own pixels.

    Attributes:
        bits: per stored sample: 8 (also for 1, 2 and 4), 16, or 32 for floating point.
        signed: samples may be negative.
        format: ``PNG``, ``JPEG``, ``BMP``, ``TIFF`` or ``NPY``.
        events: ``(code, detail)`` of each conversion that reading took.
    """

    bits: int
    signed: bool
    format: str
    events: tuple[tuple[str, str], ...] = ()


def read_pixels(reference: str) -> tuple[NDArray[Any], ImageFacts]:
    """Return the stored samples, ``(H, W)`` gray or ``(H, W, 3)`` RGB, and what is known of them.

    Gray stored as RGB comes back as gray. Integers keep their type (uint8, uint16, int16); all
    else is float32, finite. The image stands upright (EXIF), and black is low.

    Args:
        reference: a path, or ``FILE.npz::KEY::INDEX``.

    Raises:
        ImageFileError: the file is absent, damaged, or nothing that is read here.
    """
    path, _, inside = str(reference).partition("::")
    _require_regular_file(path)
    try:
        if inside:
            pixels, facts = _read_archive(path, inside)
        else:
            with Path(path).open("rb") as file:
                pixels, facts = _reader_of(file, path)(file, path)
    except ImageFileError:
        raise
    except MemoryError as error:
        raise ImageFileError("TOO_LARGE", path, "does not fit into memory.") from error
    except PermissionError as error:
        raise ImageFileError("UNREADABLE", path, "may not be read by this user.") from error
    except _DECODE_ERRORS as error:
        raise _damaged(path, error) from error
    return _checked(pixels, str(reference)), facts


class ImageFileReader(ImageReader):
    """MONAI's door to `read_pixels`.

    `read` only notes the file and `get_data` decodes it: `monai.transforms.LoadImage` hands a
    file whose `read` fails to its other readers, which would accept what is refused here.

    Args:
        scale: ``dtype`` maps the range of the stored type to [0, 1] (float must lie in it
            already); ``none`` gives the stored values.
        bits: refuse files of another bit depth.
    """

    def __init__(self, scale: str = "dtype", bits: int | None = None) -> None:
        super().__init__()
        self.scale = scale
        self.bits = bits

    def verify_suffix(self, filename: Any) -> bool:
        """Return that any file may be tried: the first bytes decide, not the name."""
        return True

    def read(self, data: Any, **kwargs: Any) -> Any:
        """Return the reference itself; one file only."""
        names = [data] if isinstance(data, str | os.PathLike) else list(data)
        if len(names) != 1:
            raise ValueError(f"one file is read at a time, found {len(names)}")
        return str(names[0])

    def get_data(self, img: Any) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Return float32 ``(H, W)`` or ``(H, W, 3)``, and the metadata that MONAI expects."""
        pixels, facts = read_pixels(img)
        meta = {
            "original_channel_dim": float("nan") if pixels.ndim == 2 else -1,
            "spatial_shape": np.asarray(pixels.shape[:2]),
            "affine": np.eye(4),
            "bits": facts.bits,
        }
        return self.to_float(pixels, facts, img), meta

    def to_float(
        self, pixels: NDArray[Any], facts: ImageFacts, reference: str
    ) -> NDArray[np.float32]:
        """Return the samples as float32, scaled as ``scale`` says.

        Raises:
            ImageFileError: another bit depth than ``bits``, or floats outside [0, 1].
        """
        if self.bits is not None and facts.bits != self.bits:
            raise ImageFileError(
                "BIT_DEPTH", reference, f"found {facts.bits}-bit samples, expected {self.bits}-bit."
            )
        if self.scale != "dtype":
            return pixels.astype(np.float32)
        if pixels.dtype.kind == "f":
            _require_unit_interval(pixels, reference)
            return pixels
        info = np.iinfo(pixels.dtype)
        lifted = pixels.astype(np.float32) - np.float32(info.min)
        return np.asarray(lifted / np.float32(info.max - info.min), dtype=np.float32)


def _require_regular_file(path: str) -> None:
    try:
        status = Path(path).stat()
    except PermissionError as error:
        raise ImageFileError("UNREADABLE", path, "may not be read by this user.") from error
    except (OSError, ValueError) as error:
        raise ImageFileError("FILE_NOT_FOUND", path, "there is no such file.") from error
    if not stat.S_ISREG(status.st_mode):
        raise ImageFileError("NOT_A_FILE", path, "is no regular file, expected an image file.")
    if status.st_size == 0:
        raise ImageFileError("EMPTY_FILE", path, "is empty (0 bytes). Copy it again.")


def _reader_of(file: IO[bytes], path: str) -> Callable[[IO[bytes], str], Any]:
    head = file.read(352)
    file.seek(0)
    if head[:8] == b"\x89PNG\r\n\x1a\n" or head[:3] == b"\xff\xd8\xff" or head[:2] == b"BM":
        return _read_pillow
    if head[:4] in _TIFF_MAGIC:
        return _read_tiff
    if head[:6] == b"\x93NUMPY":
        return _read_npy
    other = _name_of_other_format(head, path)
    if other:
        raise ImageFileError(
            "UNSUPPORTED", path, f"{other} is not read here. Convert it to 16-bit PNG or TIFF."
        )
    raise ImageFileError("NOT_AN_IMAGE", path, "is no PNG, JPEG, BMP, TIFF or .npy by content.")


def _name_of_other_format(head: bytes, path: str) -> str:
    if head[128:132] == b"DICM" or path.lower().endswith((".dcm", ".dicom")):
        return "DICOM"
    if head[344:347] in (b"n+1", b"ni1") or path.lower().endswith((".nii", ".nii.gz")):
        return "NIfTI"
    names = {b"GIF8": "GIF", b"RIFF": "WebP", b"%PDF": "PDF", b"PK\3\4": "a zip archive"}
    return names.get(head[:4], "JPEG 2000" if head[4:8] == b"jP  " else "")


def _read_pillow(file: IO[bytes], path: str) -> tuple[NDArray[Any], ImageFacts]:
    try:
        image: Image.Image = Image.open(file, formats=("PNG", "JPEG", "BMP"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageFileError("TOO_LARGE", path, f"has over {MAX_PIXELS} pixels.") from error
    _require_size(path, image.height * image.width)
    file_format = image.format or ""
    deep = file_format == "PNG" and _png_depth(file) == 16
    image.load()
    events: list[tuple[str, str]] = []
    if image.getexif().get(EXIF_ORIENTATION, 1) not in (0, 1):
        image = ImageOps.exif_transpose(image)
        events.append(("EXIF_ROTATED", "turned upright as its EXIF orientation says"))
    if deep and image.mode in ("I", "I;16", "I;16B"):
        return np.asarray(image).astype(np.uint16), ImageFacts(16, False, file_format, tuple(events))
    if deep:
        events.append(("REDUCED_TO_8_BIT", "16-bit color or alpha, read as 8-bit"))
    pixels = _plain_array(image, path, events)
    return pixels, ImageFacts(8, False, file_format, tuple(events))


def _png_depth(file: IO[bytes]) -> int:
    position = file.tell()
    file.seek(24)
    depth = file.read(1)
    file.seek(position)
    return depth[0] if depth else 0


def _plain_array(
    image: Image.Image, path: str, events: list[tuple[str, str]]
) -> NDArray[np.uint8]:
    """Return 8-bit gray or RGB of any mode that Pillow gives for the accepted formats."""
    if image.mode == "P":
        events.append(("PALETTE_EXPANDED", "palette colors written out"))
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("CMYK", "YCbCr"):
        events.append(("COLOR_CONVERTED", f"{image.mode} to RGB"))
        image = image.convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        image = _without_alpha(image.convert("RGBA"), events)
    if image.mode not in ("1", "L", "RGB"):
        raise ImageFileError("UNSUPPORTED", path, f"color mode {image.mode} is not read here.")
    return np.asarray(image.convert("L") if image.mode == "1" else image)


def _without_alpha(image: Image.Image, events: list[tuple[str, str]]) -> Image.Image:
    if image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    events.append(("ALPHA_ON_BLACK", "transparent pixels laid on black"))
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, image).convert("RGB")


def _read_tiff(file: IO[bytes], path: str) -> tuple[NDArray[Any], ImageFacts]:
    with tifffile.TiffFile(file) as tiff:
        pages = [page for page in tiff.pages if not getattr(page, "is_reduced", False)]
        if len(pages) != 1:
            raise ImageFileError(
                "UNSUPPORTED", path, f"holds {len(pages)} pages, expected one 2D image."
            )
        page = tiff.pages.first
        _require_size(path, int(np.prod(page.shape)))
        _require_whole_segments(tiff, page, path)
        pixels = _tiff_samples(file, page, path)
        orientation = int(page.tags.valueof(EXIF_ORIENTATION, 1) or 1)
        photometric = int(page.photometric)
        events: list[tuple[str, str]] = []
        pixels = _tiff_colors(pixels, page, photometric, events, path)
    if orientation != 1:
        pixels = _oriented(pixels, orientation)
        events.append(("EXIF_ROTATED", "turned upright as its orientation tag says"))
    return pixels, _facts_of_array(pixels, "TIFF", events)


def _require_whole_segments(tiff: Any, page: Any, path: str) -> None:
    # tifffile fills what lies behind the end of the file with zeros.
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    size = tiff.filehandle.size
    if not segments or any(not count or start + count > size for start, count in segments):
        raise ImageFileError("TRUNCATED", path, "ends before its last pixel. Copy it again.")


def _tiff_samples(file: IO[bytes], page: Any, path: str) -> NDArray[Any]:
    try:
        return np.asarray(page.asarray())
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
    file.seek(0)
    image = Image.open(file, formats=("TIFF",))
    if image.mode not in ("L", "RGB", "I;16", "I;16B") or int(page.photometric) == 0:
        compression = getattr(page.compression, "name", page.compression)
        raise ImageFileError(
            "UNSUPPORTED", path, f"{compression} TIFF of this kind needs the package imagecodecs."
        )
    pixels = np.asarray(image)
    return pixels.astype(np.uint16) if image.mode.startswith("I;16") else pixels


def _tiff_colors(
    pixels: NDArray[Any], page: Any, photometric: int, events: list[tuple[str, str]], path: str
) -> NDArray[Any]:
    if pixels.ndim == 3 and int(page.planarconfig) == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    if photometric == 3 and page.colormap is not None:
        events.append(("PALETTE_EXPANDED", "palette colors written out"))
        return np.moveaxis((np.asarray(page.colormap) >> 8).astype(np.uint8)[:, pixels], 0, -1)
    if photometric not in (0, 1, 2, 6):
        name = getattr(page.photometric, "name", photometric)
        raise ImageFileError("UNSUPPORTED", path, f"{name} TIFF is not read here.")
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype == np.uint8 and page.bitspersample < 8:
        pixels = (pixels * np.uint8(255 // (2**page.bitspersample - 1))).astype(np.uint8)
    if photometric == 0:
        events.append(("INVERTED", "stored with white as zero"))
        low, high = _bounds(pixels)
        pixels = (high - pixels.astype(np.float64) + low).astype(pixels.dtype)
    return _channels_without_alpha(pixels, page, events)


def _channels_without_alpha(
    pixels: NDArray[Any], page: Any, events: list[tuple[str, str]]
) -> NDArray[Any]:
    if pixels.ndim == 3 and pixels.shape[-1] in (2, 4) and len(page.extrasamples) == 1:
        color, alpha = pixels[..., :-1], pixels[..., -1:]
        full = _bounds(pixels)[1]
        if not np.all(alpha == full):
            events.append(("ALPHA_ON_BLACK", "transparent pixels laid on black"))
            color = np.rint(color * (alpha.astype(np.float64) / full)).astype(pixels.dtype)
        return color
    return pixels


def _bounds(pixels: NDArray[Any]) -> tuple[float, float]:
    if pixels.dtype.kind in "iu":
        info = np.iinfo(pixels.dtype)
        return float(info.min), float(info.max)
    return (0.0, 1.0) if pixels.max() <= 1 else (float(pixels.min()), float(pixels.max()))


def _oriented(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    turned = np.swapaxes(pixels, 0, 1) if orientation >= 5 else pixels
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def _read_npy(file: IO[bytes], path: str) -> tuple[NDArray[Any], ImageFacts]:
    version = np.lib.format.read_magic(file)
    read_header: Any = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise ImageFileError("UNSUPPORTED", path, "holds pickled Python objects, expected numbers.")
    _require_size(path, int(np.prod(shape)))
    if os.fstat(file.fileno()).st_size - file.tell() < int(np.prod(shape)) * dtype.itemsize:
        raise ImageFileError("TRUNCATED", path, "ends before its last pixel. Copy it again.")
    file.seek(0)
    pixels = np.load(file, allow_pickle=False)
    return _from_array(pixels, path)


def _read_archive(path: str, inside: str) -> tuple[NDArray[Any], ImageFacts]:
    key, _, index = inside.partition("::")
    status = Path(path).stat()
    stack = _archive_array(path, key, status.st_mtime_ns, status.st_size)
    if not index.isdigit() or int(index) >= len(stack):
        raise ImageFileError("FILE_NOT_FOUND", path, f"{key} has {len(stack)} images, not {index}.")
    return _from_array(stack[int(index)], f"{path}::{inside}")


@lru_cache(maxsize=4)
def _archive_array(path: str, key: str, _changed: int, _size: int) -> NDArray[Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if key not in archive.files:
                raise ImageFileError("FILE_NOT_FOUND", path, f"holds no array {key!r}.")
            return np.asarray(archive[key])
    except (zipfile.BadZipFile, AttributeError) as error:
        raise ImageFileError("TRUNCATED", path, "is no whole .npz archive.") from error


def _from_array(pixels: NDArray[Any], path: str) -> tuple[NDArray[Any], ImageFacts]:
    """Return rows and columns first, and a type that the rest of this file knows."""
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3) and pixels.shape[0] in (1, 3):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind not in "iuf":
        raise ImageFileError("UNSUPPORTED", path, f"holds {pixels.dtype}, expected numbers.")
    return pixels, _facts_of_array(pixels, "NPY", [])


def _facts_of_array(
    pixels: NDArray[Any], file_format: str, events: Sequence[tuple[str, str]]
) -> ImageFacts:
    known = pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2
    bits = pixels.dtype.itemsize * 8 if known else 32
    return ImageFacts(bits, pixels.dtype.kind != "u", file_format, tuple(events))


def _checked(pixels: NDArray[Any], reference: str) -> NDArray[Any]:
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3)) or not pixels.size:
        raise ImageFileError(
            "UNSUPPORTED_SHAPE",
            reference,
            f"has shape {pixels.shape}, expected (H, W), (H, W, 3) or (3, H, W).",
        )
    if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 2:
        pixels = _finite_float32(pixels, reference)
    if pixels.ndim == 3 and np.array_equal(pixels[..., 0], pixels[..., 1]):
        pixels = pixels[..., 0] if np.array_equal(pixels[..., 0], pixels[..., 2]) else pixels
    return np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))


def _finite_float32(pixels: NDArray[Any], reference: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        converted = pixels.astype(np.float32)
    bad = int(np.count_nonzero(~np.isfinite(converted)))
    if bad:
        raise ImageFileError(
            "NON_FINITE", reference, f"holds {bad} NaN or infinite values of {pixels.size}."
        )
    return converted


def _require_unit_interval(pixels: NDArray[Any], reference: str) -> None:
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        raise ImageFileError(
            "OUT_OF_RANGE",
            reference,
            f"floats go from {low:g} to {high:g}, expected [0, 1]. Use percentile or window.",
        )


def _require_size(path: str, pixels: int) -> None:
    if pixels > MAX_PIXELS:
        raise ImageFileError("TOO_LARGE", path, f"has {pixels} pixels, at most {MAX_PIXELS}.")


def _damaged(path: str, error: Exception) -> ImageFileError:
    text = str(error).lower()
    short = isinstance(error, EOFError | struct.error) or "truncated" in text or "incomplete" in text
    if short:
        return ImageFileError("TRUNCATED", path, "ends before its last pixel. Copy it again.")
    return ImageFileError("CORRUPT", path, f"cannot be decoded ({type(error).__name__}).")
