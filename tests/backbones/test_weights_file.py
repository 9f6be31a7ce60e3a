"""A weights file is read whatever it is wrapped in, checked, and never run."""

from __future__ import annotations

import argparse
import os
from collections import OrderedDict
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medfuse.backbones.weights import state_digest
from medfuse.backbones.weights_file import load_state, load_weights
from medfuse.errors import WeightsError
from medfuse.storage import sha256_file

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.zeros(2)}


class Harmful:
    """Its unpickling would run a command."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_tensors_come_back(tmp_path, name):
    (save_file if name.endswith("safetensors") else torch.save)(STATE, tmp_path / name)
    state = load_state(tmp_path / name, sha256_file(tmp_path / name))
    assert state_digest(state) == state_digest(STATE)


@pytest.mark.parametrize("container", ["state_dict", "model"])
def test_a_checkpoint_is_unpacked(tmp_path, container):
    torch.save({container: STATE, "epoch": 3}, tmp_path / "w.pt")
    assert set(load_state(tmp_path / "w.pt")) == set(STATE)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"w\.pt: no such weights file"):
        load_state(tmp_path / "w.pt")


def test_another_digest_names_file_found_and_expected(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    found, expected = sha256_file(tmp_path / "w.safetensors"), "0" * 64
    with pytest.raises(
        WeightsError, match=f"w.safetensors: sha256 is {found}, expected {expected}"
    ):
        load_state(tmp_path / "w.safetensors", expected)


def test_a_pickle_that_could_run_code_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Harmful()}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"w\.pt: .* could run code, so it is refused"):
        load_state(tmp_path / "w.pt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs", b"PK\x03\x04 broken", b"root:x:0:0:root:/root\n"]
)
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        load_state(tmp_path / name)


@pytest.mark.parametrize("kept", [10, 200])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_truncated_files_are_named(tmp_path, name, kept):
    (save_file if name.endswith("safetensors") else torch.save)(STATE, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: min(kept, len(whole) - 8)])
    with pytest.raises(WeightsError, match=name):
        load_state(tmp_path / name)


def test_something_else_than_tensors_is_named(tmp_path):
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="holds a list, expected tensors by name"):
        load_state(tmp_path / "w.pt")
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="'epoch' is not a tensor"):
        load_state(tmp_path / "w.pt")


def test_the_name_of_a_file_does_not_matter(tmp_path):
    save_file(STATE, tmp_path / "w.pth")
    assert state_digest(load_state(tmp_path / "w.pth")) == state_digest(STATE)


def test_parts_that_have_no_usual_name_stand_in_front_of_their_keys(tmp_path):
    deep = {"model": {"trunk": STATE}}
    torch.save({"student": STATE, "teacher": STATE, "nested": deep, "epoch": 3}, tmp_path / "w.pt")
    found = load_weights(tmp_path / "w.pt")
    assert found.container == "student, teacher, nested"
    assert {"student.a.bias", "teacher.a.bias", "nested.model.trunk.a.bias"} < set(found.tensors)


def test_a_part_that_is_asked_for_is_looked_into(tmp_path):
    torch.save({"state_dict": STATE, "state_dict_ema": STATE}, tmp_path / "w.pt")
    assert load_weights(tmp_path / "w.pt").container == "state_dict"
    asked = load_weights(tmp_path / "w.pt", prefixes=["", "state_dict_ema."])
    assert "state_dict_ema.a.bias" in asked.tensors


def test_tensors_beside_parts_are_not_lost(tmp_path):
    torch.save({**STATE, "more": dict(STATE)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="'more' is not a tensor"):
        load_state(tmp_path / "w.pt")


def network() -> nn.Module:
    module = nn.Sequential(OrderedDict(stem=nn.Conv2d(1, 2, 3), norm=nn.BatchNorm2d(2)))
    module.register_buffer("passing", torch.zeros(1), persistent=False)
    module.add_module("shared", module.stem)
    return module


@pytest.mark.parametrize("zipped", [True, False])
def test_the_tensors_of_a_whole_pickled_network_are_read(tmp_path, zipped, caplog):
    module = network()
    torch.save(module, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with caplog.at_level("INFO"):
        found = load_weights(tmp_path / "w.pt")
    assert state_digest(found.tensors) == state_digest(module.state_dict())
    assert not any(tensor.requires_grad for tensor in found.tensors.values())
    assert found.container == "pickled network"
    assert "its code is not" in caplog.text


def test_a_network_inside_a_checkpoint_is_read(tmp_path):
    torch.save({"epoch": 3, "model": network()}, tmp_path / "w.pt")
    assert set(load_state(tmp_path / "w.pt")) == set(network().state_dict())


def test_plain_values_beside_the_tensors_do_no_harm(tmp_path):
    beside = {
        "args": argparse.Namespace(lr=0.1, out=PurePosixPath("x")),
        "best": np.float64(0.5),
        "history": np.zeros(3),
        "optimizer": {"state": {0: {"step": torch.zeros(1)}}},
    }
    torch.save({"state_dict": STATE, **beside}, tmp_path / "w.pt")
    assert state_digest(load_state(tmp_path / "w.pt")) == state_digest(STATE)


def test_a_folder_is_told_from_a_file(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"is a folder. Name the file inside, .*model\.safetens"):
        load_state(tmp_path)


def test_a_file_of_another_library_is_named(tmp_path):
    (tmp_path / "w.pt").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(WeightsError, match=r"w\.pt: is an HDF5 file: Keras weights"):
        load_state(tmp_path / "w.pt")


def test_a_name_that_no_file_can_have_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"xxx: cannot be read as weights \(.*name too long"):
        load_state(tmp_path / ("x" * 300))


def test_a_key_that_is_no_name_is_refused(tmp_path):
    torch.save({**STATE, 7: torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="a int stands for a key, expected tensors by name"):
        load_state(tmp_path / "w.pt")
