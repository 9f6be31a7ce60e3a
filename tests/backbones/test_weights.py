"""Weights are renamed as told and fit key by key, or are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfuse.backbones.weights import (
    load_strictly,
    remap_keys,
    require_dense,
    state_digest,
    weights_digest,
)
from medfuse.errors import WeightsError

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.zeros(2)}


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
    with pytest.raises(
        WeightsError, match=r"here: 1 key missing \(a\.bias\) and 1 key too many \(z\)"
    ):
        load_strictly(network(), state, "here")
    with pytest.raises(WeightsError, match=r"Set cut: MODULE .* remap: \{old prefix: new prefix"):
        load_strictly(network(), state, "here")


def test_remedies_that_are_known_to_work_are_named_instead():
    with pytest.raises(WeightsError, match=r"\(z\)\. Set remap: this, or remap: that\.$"):
        load_strictly(
            network(), {"z": torch.zeros(1)}, "here", lambda: ["remap: this", "remap: that"]
        )


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


def test_a_network_has_one_digest_whatever_its_file_was_like():
    module, other = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    half = {k: v.half() for k, v in module.state_dict().items() if "num_batches" not in k}
    load_strictly(other, half, "here")
    other.num_batches_tracked += 7
    assert weights_digest(other) == weights_digest(module)
    other.running_mean += 1e-3
    assert weights_digest(other) != weights_digest(module)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(number):
    module = nn.Linear(1, 1)
    state = {**module.state_dict(), "bias": torch.tensor([number])}
    with pytest.raises(WeightsError, match="bias holds NaN or infinity"):
        load_strictly(module, state, "source x")


@pytest.mark.parametrize(
    "tensor", [torch.ones(2).to_sparse(), torch.ones(2, device="meta"), torch.ones(2) * 1j]
)
def test_tensors_that_are_not_plain_are_refused(tensor):
    with pytest.raises(WeightsError, match="a is sparse, quantized, complex"):
        require_dense({"a": tensor}, "source x")
