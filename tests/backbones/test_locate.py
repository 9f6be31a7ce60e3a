"""Weights are found here, and fetched only when that is allowed."""

from __future__ import annotations

import hashlib

import pytest
import torch

from medfuse.backbones.locate import locate_weights
from medfuse.contract import WeightsSpec
from medfuse.errors import WeightsError
from medfuse.registry.references import parse_source

PLAIN = parse_source("lab:net.w")


def test_a_named_file_is_taken_as_it_is():
    assert locate_weights(parse_source("lab:net@a/b.pt"), None).parts == ("a", "b.pt")


def test_a_file_inside_a_package_is_found():
    weights = WeightsSpec(name="w", path="medfuse.contract:options.py")
    assert locate_weights(PLAIN, weights).is_file()


@pytest.mark.parametrize("weights", [None, WeightsSpec(name="w")])
def test_weights_that_nobody_publishes_need_a_file(weights):
    with pytest.raises(
        WeightsError, match=r"Give a file, as in lab:net\.w@FILE, .*lab:net\.random"
    ):
        locate_weights(PLAIN, weights, download=True)


def test_the_network_is_not_used_unasked():
    weights = WeightsSpec(name="w", url="file:///nowhere/w.pt")
    with pytest.raises(WeightsError, match=r"not on this machine. Allow the network with\s+--down"):
        locate_weights(PLAIN, weights)


def test_a_url_is_fetched_once_and_then_found_without_the_network(tmp_path):
    digest = hashlib.sha256(b"tensors").hexdigest()[:8]
    remote = tmp_path / f"net-{digest}.pt"
    remote.write_bytes(b"tensors")
    weights = WeightsSpec(name="w", url=remote.as_uri())
    first = locate_weights(PLAIN, weights, download=True)
    remote.unlink()
    assert locate_weights(PLAIN, weights) == first
    assert first.read_bytes() == b"tensors"


def test_a_fetched_file_with_another_hash_than_its_name_is_refused(tmp_path):
    remote = tmp_path / "net-0123abcd.pt"
    remote.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"lab:net\.w: the download of .* failed"):
        locate_weights(PLAIN, WeightsSpec(name="w", url=remote.as_uri()), download=True)


def test_torchs_own_cache_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "net.pt").write_bytes(b"x")
    weights = WeightsSpec(name="w", url="https://example.org/net.pt")
    assert locate_weights(PLAIN, weights) == tmp_path / "checkpoints" / "net.pt"


def test_the_hubs_cache_is_used(tmp_path, monkeypatch):
    import huggingface_hub

    file = tmp_path / "model.safetensors"
    cached = {("timm/net", "model.safetensors"): str(file), ("o/n", "own.pth"): str(file)}
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda repo, name: cached.get((repo, name))
    )
    assert locate_weights(PLAIN, WeightsSpec(name="w", hub_id="timm/net")) == file
    assert locate_weights(PLAIN, WeightsSpec(name="w", hub_id="o/n/own.pth")) == file
    with pytest.raises(WeightsError, match="not on this machine"):
        locate_weights(PLAIN, WeightsSpec(name="w", hub_id="timm/other"))


def test_the_hub_is_asked_only_with_download(tmp_path, monkeypatch):
    import huggingface_hub

    def fetch(repository, file):
        return str(tmp_path / repository / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda _repo, _name: None)
    found = locate_weights(PLAIN, WeightsSpec(name="w", hub_id="timm/net"), download=True)
    assert found == tmp_path / "timm/net/model.safetensors"
