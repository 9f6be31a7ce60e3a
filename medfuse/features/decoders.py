"""What decides, beside the settings, which pixels come out of a file."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

# Distributions that decode and resize: another version may give other pixels of the same file.
_DECODERS = (
    "medfuse", "monai", "nibabel", "numpy", "pillow", "pydicom", "pyjpegls", "pylibjpeg",
    "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm", "simpleitk", "tifffile", "torch",
)  # fmt: skip


def with_decoders(digest_of_settings: str) -> str:
    """Return a digest of settings, of the versions of all that decodes and resizes, and of the CPU.

    Processors without fused multiplication round otherwise when they resize, and a bank may lie
    where machines of several kinds share it.
    """
    digest = hashlib.blake2b(digest_of_settings.encode(), digest_size=32)
    for package in _DECODERS:
        digest.update(f"\0{package} {_version(package)}".encode())
    digest.update(f"\0{platform.machine()} {torch.backends.cpu.get_cpu_capability()}".encode())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
