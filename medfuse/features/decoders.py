"""What decides, beside the settings, which pixels come out of a file."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch
from torch.nn import functional as F

from medfuse.threads import one_thread

# Distributions that decode and resize: another version may give other pixels of the same file.
_DECODERS = (
    "medfuse", "monai", "nibabel", "numpy", "pillow", "pydicom", "pyjpegls", "pylibjpeg",
    "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm", "simpleitk", "tifffile", "torch",
)  # fmt: skip


def with_decoders(digest_of_settings: str) -> str:
    """Return a digest of settings, of the versions of all that decodes, and of how it rounds here.

    A bank may lie where machines of several kinds share it, and not all of them round alike.
    """
    digest = hashlib.blake2b(digest_of_settings.encode(), digest_size=32)
    for package in _DECODERS:
        digest.update(f"\0{package} {_version(package)}".encode())
    digest.update(f"\0rounding {_rounding()}".encode())
    return digest.hexdigest()


@cache
def _rounding() -> str:
    """Return a digest of what smoothing, resizing and products give here for fixed numbers.

    The libraries below torch choose by the processor how they compute.
    """
    with one_thread(), torch.no_grad():
        numbers = (torch.arange(250 * 216, dtype=torch.float64) * 0.6180339887498949 % 1).float()
        kernel = torch.erf(torch.linspace(-2, 2, 10)).diff()
        image, volume = numbers.view(1, 1, 250, 216), numbers.view(1, 1, 50, 40, 27)
        smooth = F.conv2d(F.conv2d(image, kernel.view(1, 1, 9, 1)), kernel.view(1, 1, 1, 9))
        along = F.conv1d(image.view(1, 1, -1), kernel.view(1, 1, 9))
        flat = F.interpolate(smooth, (97, 89), mode="bilinear", align_corners=False)
        deep = F.interpolate(volume, (23, 29, 31), mode="trilinear", align_corners=False)
        product = image[0, 0].T @ image[0, 0]
    digest = hashlib.blake2b(digest_size=16)
    for values in (along, flat, deep, product, product.exp(), numbers.double().exp()):
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
