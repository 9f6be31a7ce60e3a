"""What lies beyond the part of a file that is read is not taken on trust."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medfuse.bundle.verifier import inert
from medfuse.bundle.verifier.failure import CheckFailedError
from medfuse.bundle.verifier.inert import require_inert


class Acting:
    def __reduce__(self) -> tuple[object, ...]:
        return os.getcwd, ()


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_behind_much_text_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
) -> None:
    monkeypatch.setattr(inert, "_LARGEST", 1 << 16)
    file = tmp_path / "notes.bin"
    file.write_bytes(pickle.dumps(["a" * (1 << 17), Acting()], protocol))
    with pytest.raises(CheckFailedError, match="notes: a pickle that calls") as refused:
        require_inert(file, "notes")
    assert refused.value.code == "PICKLED_CODE"


def test_large_weights_whose_header_looks_like_a_pickle_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inert, "_LARGEST", 1 << 12)
    random = np.random.default_rng(0)
    for length in range(1, 300, 3):  # of the name, so that the header has every kind of length
        file = tmp_path / f"{length}.safetensors"
        values = torch.from_numpy(random.standard_normal(2000).astype(np.float32))
        save_file({"w" * length: values}, file)
        require_inert(file, "weights")
