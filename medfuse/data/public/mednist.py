"""MedNIST: 58,954 images of 64 x 64 in six class folders, as MONAI's tutorials use them."""

from __future__ import annotations

from pathlib import Path

from medfuse.data.public.archive import fetch_archive
from medfuse.data.public.described import Fetched, FetchOptions, PublicSet

_FOLDER = "MedNIST"


def mednist_sets() -> list[PublicSet]:
    """Return MedNIST."""
    return [
        PublicSet(
            "mednist",
            "64 x 64 slices of six body regions and modalities",
            2,
            "CC BY-SA 4.0",
            "MedNIST, B. J. Erickson, Mayo Clinic; images of TCIA, RSNA and NIH",
            _fetch,
        )
    ]


def _fetch(described: PublicSet, options: FetchOptions) -> Fetched:
    folder = options.folder / _FOLDER
    if not folder.is_dir():
        _download(described.name, folder, options)
    classes = sorted(item.name for item in folder.iterdir() if item.is_dir())
    return Fetched(folder, tuple(classes), ("No patients are named, and no parts are given.",))


def _download(name: str, folder: Path, options: FetchOptions) -> None:
    def source() -> tuple[str, str]:
        from monai.apps.datasets import MedNISTDataset

        return MedNISTDataset.resource, MedNISTDataset.md5

    fetch_archive(name, folder, source, options)
