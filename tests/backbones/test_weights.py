"""Weights are checked before they are used, and never run code."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medfuse.backbones.weights import load_state, load_strictly, remap_keys, state_digest
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


def test_the_longest_prefix_is_used_and_dropped_keys_are_told():
    state = {key: torch.zeros(1) for key in ("module.fc.w", "module.a.w", "b")}
    renamed, left_out = remap_keys(state, {"": "net.", "module.": "net.", "module.fc.": "-"})
    assert set(renamed) == {"net.a.w", "net.b"}
    assert left_out == ("module.fc.w",)


def test_an_empty_new_prefix_removes_the_old():
    renamed, _ = remap_keys({"module.a": torch.zeros(1)}, {"module.": ""})
    assert set(renamed) == {"a"}


def test_two_keys_for_one_name_are_refused():
    state = {"x.a": torch.zeros(1), "y.a": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"two keys become 'a', the second is 'y\.a'"):
        remap_keys(state, {"x.": "", "y.": ""})


def network() -> nn.Module:
    module = nn.Sequential()
    module.add_module("a", nn.Linear(3, 2))
    return module


def test_matching_tensors_are_copied():
    module = network()
    load_strictly(module, STATE, "here")
    assert torch.equal(module.a.weight, STATE["a.weight"])


def test_missing_and_extra_keys_are_listed_with_a_remedy():
    state = {"a.weight": STATE["a.weight"], "z": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"here: 1 keys missing \(a\.bias\) and 1 keys too many"):
        load_strictly(network(), state, "here")
    with pytest.raises(WeightsError, match=r"Set cut: MODULE .* remap: \{old prefix: new prefix"):
        load_strictly(network(), state, "here")


def test_many_missing_keys_are_counted_and_some_listed():
    with pytest.raises(WeightsError, match=r"12 keys missing \(0\.weight, .*, \.\.\.\)"):
        load_strictly(nn.Sequential(*(nn.Linear(1, 1) for _ in range(6))), {}, "here")


def test_another_shape_is_named_before_anything_is_copied():
    module = network()
    before = state_digest(module.state_dict())
    state = {**STATE, "a.bias": torch.zeros(5)}
    with pytest.raises(WeightsError, match=r"a\.bias is \(5,\), expected \(2,\)"):
        load_strictly(module, state, "here")
    assert state_digest(module.state_dict()) == before


def test_a_missing_count_of_batches_is_no_error():
    module = nn.BatchNorm2d(2)
    state = {k: v + 1 for k, v in module.state_dict().items() if "num_batches" not in k}
    load_strictly(module, state, "here")
    assert module.running_mean.tolist() == [1.0, 1.0]


def test_the_digest_sees_name_type_shape_and_bytes_and_not_the_order():
    digest = state_digest(STATE)
    assert state_digest(dict(reversed(STATE.items()))) == digest
    changed = [
        {"b.weight": STATE["a.weight"], "a.bias": STATE["a.bias"]},
        {**STATE, "a.bias": STATE["a.bias"].half()},
        {**STATE, "a.weight": STATE["a.weight"].view(3, 2)},
        {**STATE, "a.bias": STATE["a.bias"] + 1},
    ]
    assert len({digest, *map(state_digest, changed)}) == 5
