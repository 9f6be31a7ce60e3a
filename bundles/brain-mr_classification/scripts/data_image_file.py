"""Read one 2D image file as it was stored, or say with a code why not.

Formats: PNG, JPEG, BMP, TIFF, ``.npy``, one image of an array in a ``.npz``, DICOM of one picture,
and what plugins read. This file is copied into every bundle, so it imports numpy, Pillow and its
neighbors.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from .data_image_array import read_archive; from .data_image_array import read_npy
from .data_image_facts import MAX_PIXELS; from .data_image_facts import ORIENTATION_TAG; from .data_image_facts import ImageFacts; from .data_image_facts import ImageFileError; from .data_image_facts import damaged; from .data_image_facts import require_regular_file; from .data_image_facts import require_size
from .data_image_tiff import read_tiff
from .data_plugin_reader import PluginReader; from .data_plugin_reader import reader_of
from .data_volume_dicom import is_dicom; from .data_volume_dicom import read_dicom_picture

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, IndexError)


def read_pixels(
    reference: str, readers: Sequence[PluginReader] = ()
) -> tuple[NDArray[Any], ImageFacts]:
    """Return the stored samples, ``(H, W)`` gray or ``(H, W, 3)`` RGB, and what is known of them.

    Gray stored as RGB comes back as gray. Integers keep their type (uint8, uint16, int16); all
    else is float32, finite. The image stands upright (EXIF), and black is low.

    Args:
        reference: a path, ``FILE.npz::KEY::INDEX``, or the folder of one DICOM projection.
        readers: of plugins, for files whose ending is theirs.

    Raises:
        ImageFileError: the file is absent, damaged, or nothing that is read here.
    """
    path, _, inside = str(reference).partition("::")
    folder = Path(path).is_dir()
    if not folder:
        require_regular_file(path)
    own = reader_of(path, readers)
    try:
        if own is not None and not inside:
            pixels, facts = own.picture(path)
        elif is_dicom(path):
            pixels, facts = read_dicom_picture(str(reference))
        elif inside:
            pixels, facts = read_archive(path, inside)
        else:
            with Path(path).open("rb") as file:
                pixels, facts = _reader_of(file, path)(file, path)
    except ImageFileError as error:
        if folder and error.code == "NO_IMAGES":
            require_regular_file(path)
        raise
    except MemoryError as error:
        raise ImageFileError("TOO_LARGE", path, "does not fit into memory.") from error
    except PermissionError as error:
        raise ImageFileError("UNREADABLE", path, "may not be read by this user.") from error
    except _DECODE_ERRORS as error:
        raise damaged(path, error) from error
    return _checked(pixels, str(reference)), facts


def _reader_of(file: IO[bytes], path: str) -> Callable[[IO[bytes], str], Any]:
    head = file.read(352)
    file.seek(0)
    if head[:8] == b"\x89PNG\r\n\x1a\n" or head[:3] == b"\xff\xd8\xff" or head[:2] == b"BM":
        return _read_pillow
    if head[:4] in _TIFF_MAGIC:
        return read_tiff
    if head[:6] == b"\x93NUMPY":
        return read_npy
    other = _name_of_other_format(head, path)
    if other:
        raise ImageFileError(
            "UNSUPPORTED", path, f"{other} is not read here. Convert it to 16-bit PNG or TIFF."
        )
    raise ImageFileError("NOT_AN_IMAGE", path, "is no PNG, JPEG, BMP, TIFF or .npy by content.")


def _name_of_other_format(head: bytes, path: str) -> str:
    if head[344:347] in (b"n+1", b"ni1") or path.lower().endswith((".nii", ".nii.gz")):
        return "NIfTI"
    names = {b"GIF8": "GIF", b"RIFF": "WebP", b"%PDF": "PDF", b"PK\3\4": "a zip archive"}
    return names.get(head[:4], "JPEG 2000" if head[4:8] == b"jP  " else "")


def _read_pillow(file: IO[bytes], path: str) -> tuple[NDArray[Any], ImageFacts]:
    try:
        image: Image.Image = Image.open(file, formats=("PNG", "JPEG", "BMP"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageFileError("TOO_LARGE", path, f"has over {MAX_PIXELS} pixels.") from error
    require_size(path, image.height * image.width)
    file_format = image.format or ""
    deep = file_format == "PNG" and _png_depth(file) == 16
    image.load()
    events: list[tuple[str, str]] = []
    if image.getexif().get(ORIENTATION_TAG, 1) not in (0, 1):
        image = ImageOps.exif_transpose(image)
        events.append(("EXIF_ROTATED", "turned upright as its EXIF orientation says"))
    if deep and image.mode in ("I", "I;16", "I;16B"):
        return np.asarray(image).astype(np.uint16), ImageFacts(
            16, False, file_format, tuple(events)
        )
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


def _plain_array(image: Image.Image, path: str, events: list[tuple[str, str]]) -> NDArray[np.uint8]:
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
