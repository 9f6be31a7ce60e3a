"""Generated images: reproducible, and different where the finding is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medfuse.workflows.phantoms import (
    CLASSES,
    phantom,
    phantom_and_mask,
    with_and_without_nodule,
    write_phantoms,
)


def test_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write_phantoms(tmp_path / name, 2, seed=3) for name in ("a", "b"))
    files = sorted(file.relative_to(first) for file in first.rglob("*.png"))
    assert len(files) == len(CLASSES) * 2 * 2
    assert all((first / f).read_bytes() == (second / f).read_bytes() for f in files)


def test_no_two_images_are_alike(tmp_path: Path) -> None:
    files = list(write_phantoms(tmp_path, 4, seed=0).rglob("*.png"))
    assert len({file.read_bytes() for file in files}) == len(files)


def test_finding_adds_density_inside_one_lung() -> None:
    clear, effusion = (
        phantom(name, np.random.default_rng(5), anatomy_seed=1).astype(float)
        for name in ("clear", "effusion")
    )
    assert (effusion - clear).sum() > 0
    assert np.abs(effusion - clear)[:40].mean() < np.abs(effusion - clear)[80:130].mean()


def test_unknown_finding_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of clear, effusion, nodule"):
        phantom("cat", np.random.default_rng(0), 0)


def test_the_image_without_its_nodule_is_the_same_image_elsewhere() -> None:
    nodule, mask = phantom_and_mask("nodule", np.random.default_rng(5), 1)
    drawn, plain = with_and_without_nodule(np.random.default_rng(5), 1)
    assert np.array_equal(drawn, nodule)
    assert (drawn.astype(int) - plain)[mask].min() > 0
    assert np.mean(drawn != plain) < 6 * mask.mean()
