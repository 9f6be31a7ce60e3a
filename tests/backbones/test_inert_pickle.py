"""No pickle makes anything happen while it is read as data."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from medfuse.backbones import inert_pickle
from medfuse.backbones.inert_pickle import Inert
from medfuse.backbones.weights_file import load_state
from medfuse.errors import WeightsError


class Calls:
    """Its unpickling would call a function."""

    def __init__(self, function, *arguments) -> None:
        self.called = function, arguments

    def __reduce__(self):
        return self.called


CALLS = {
    "os": Calls(os.mkdir, "harm"),
    "subprocess": Calls(subprocess.call, ["mkdir", "harm"]),
    "eval": Calls(eval, "__import__('os').mkdir('harm')"),
    "getattr": Calls(getattr, nn.Module, "forward"),
    "class": Calls(nn.Linear, 2, 2),
    "nested": [{"a": (Calls(os.mkdir, "harm"),)}],
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("content", CALLS.values(), ids=list(CALLS))
def test_a_call_is_refused_by_name_and_not_made(tmp_path, monkeypatch, content, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save(
        {"state_dict": {"a": torch.zeros(1)}, "x": content},
        "w.pt",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(WeightsError, match=r"w\.pt: .*it asks to call \w+\.\w+.*so it is refused"):
        load_state("w.pt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.pt"]


def test_a_state_that_would_act_is_only_recorded(tmp_path, monkeypatch):
    """Of a class with ``__setstate__``, the method is not run."""
    monkeypatch.chdir(tmp_path)
    found = inert_pickle.load(io.BytesIO(pickle.dumps(Acting())))
    assert isinstance(found, Inert)
    assert found.path.endswith("Acting")
    assert found.state == {"folder": "harm"}
    assert not (tmp_path / "harm").exists()


class Acting:
    def __init__(self) -> None:
        self.folder = "harm"

    def __setstate__(self, state) -> None:
        Path(state["folder"]).mkdir()


# Opcodes: GLOBAL, then a state for it by BUILD, as pickle itself never writes them.
@pytest.mark.parametrize(
    "name", [b"torch._utils\n_rebuild_tensor_v2", b"torch._utils\n_rebuild_parameter"]
)
def test_a_pickle_can_set_nothing_on_the_builders_of_tensors(name):
    crafted = b"\x80\x02c" + name + b"\n}X\x0c\x00\x00\x00dump_patches\x88sb."
    with pytest.raises(inert_pickle.UnpicklingError, match="puts something into a _"):
        inert_pickle.load(io.BytesIO(crafted))


def test_nothing_that_is_named_gets_imported():
    crafted = b"\x80\x02cantigravity\nfly\n."
    stand_in = inert_pickle.load(io.BytesIO(crafted))
    assert stand_in.path == "antigravity.fly"
    assert issubclass(stand_in, Inert)


def test_a_network_that_holds_itself_is_refused(tmp_path):
    module = nn.Sequential()
    module._modules["again"] = module
    torch.save(module, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_state(tmp_path / "w.pt")


def test_a_tensor_cannot_be_filled_by_a_pickle():
    """Filling one that repeats a number a billion times would take its time."""
    with pytest.raises(inert_pickle.UnpicklingError, match="puts something into a Tensor"):
        _with_tensor(b"}b.").load()
    with pytest.raises(inert_pickle.UnpicklingError, match="puts something into a Tensor"):
        _with_tensor(b"K\x00K\x01s.").load()
    with pytest.raises(inert_pickle.UnpicklingError, match="makes a set or shape of a Tensor"):
        _with_tensor(b"q\x000cbuiltins\nset\nh\x00\x85R.").load()


def _with_tensor(then: bytes) -> inert_pickle.Unpickler:
    unpickler = inert_pickle.Unpickler(io.BytesIO(b"\x80\x02NQ" + then))
    unpickler.persistent_load = lambda _: torch.zeros(1)
    return unpickler
