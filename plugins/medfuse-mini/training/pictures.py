"""Real training images: read, rid of near duplicates of test images, and named by digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

THUMB = 28


def pixel_digest(pixels: np.ndarray) -> str:
    """The name of decoded pixels, the same as `medfuse.preprocessing.pixel_digest`."""
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    head = f"{little.dtype.str}{little.shape}".encode()
    return hashlib.sha256(head + little.tobytes()).hexdigest()


def archive_train(path: Path) -> list[np.ndarray]:
    """Training images of a MedMNIST archive that are no near duplicate of a held-out one."""
    with np.load(path) as archive:
        held_out = [*archive["val_images"], *archive["test_images"]]
        return without_near_duplicates(list(archive["train_images"]), held_out)


def folder_images(folder: Path) -> list[np.ndarray]:
    """Every image under a folder as gray uint8, in the order of the paths."""
    suffixes = {".png", ".jpg", ".jpeg"}
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes)
    return [np.asarray(Image.open(p).convert("L")) for p in files]


def without_near_duplicates(
    images: list[np.ndarray], held_out: list[np.ndarray], tolerance: float = 0.2
) -> list[np.ndarray]:
    """The images whose thumbnail is farther than ``tolerance`` from every held-out one.

    Thumbnails are standardized ``28 x 28`` images; the distance is the root mean square
    difference, so that a correlation above ``1 - tolerance ** 2 / 2`` counts as a duplicate.
    """
    if not images or not held_out:
        return images
    likeness = _thumbs(images) @ _thumbs(held_out).T
    nearest = likeness.max(axis=1)
    return [image for image, r in zip(images, nearest, strict=True) if r < 1 - tolerance**2 / 2]


def near_duplicate_groups(
    images: list[np.ndarray], keys: list[str] | None = None, tolerance: float = 0.2
) -> np.ndarray:
    """A group number per image: near duplicates, and images of one key, share it."""
    thumbs = _thumbs(images)
    rows, columns = np.nonzero(thumbs @ thumbs.T > 1 - tolerance**2 / 2)
    count = len(images)
    if keys is not None:
        owners = count + np.unique(keys, return_inverse=True)[1]
        rows, columns = np.append(rows, np.arange(count)), np.append(columns, owners)
        count = int(owners.max()) + 1
    links = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    return connected_components(links, directed=False)[1][: len(images)]


def _thumbs(images: Iterable[np.ndarray]) -> np.ndarray:
    rows = []
    for image in images:
        small = Image.fromarray(image).resize((THUMB, THUMB), Image.Resampling.BOX)
        row = np.asarray(small, np.float32).ravel()
        row = row - row.mean()
        rows.append(row / (np.linalg.norm(row) + 1e-6))
    return np.stack(rows)
