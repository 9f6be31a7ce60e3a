from __future__ import annotations

from pathlib import Path

import pytest

from medfuse.registry import load_registry
from medfuse.workflows.local_sources import local_sources


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty weights caches; the checkpoints of torchvision are the folder that is returned."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_embedded_weights_are_here_and_published_ones_are_not(caches: Path) -> None:
    found = local_sources(load_registry(), 2)
    assert {"mini:resnet.distilled", "mini:densenet.distilled"} <= set(found)
    assert not [use for use in found if use.startswith("torchvision:")]


def test_weights_in_a_cache_are_found_by_the_name_of_their_file(caches: Path) -> None:
    (caches / "resnet18-f37072fd.pth").touch()
    found = local_sources(load_registry(), 2)
    assert "torchvision:resnet18.imagenet1k_v1" in found
    assert not [use for use in found if use.startswith("torchvision:resnet50")]
