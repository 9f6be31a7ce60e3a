"""A checkpoint is this run's own, or an error that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfuse.errors import TrainingError
from medfuse.training.checkpoint import load_checkpoint, save_checkpoint


@pytest.mark.parametrize("content", [b"root:x:0:0:root:/root\n", b"", b"PK\x03\x04 broken"])
def test_something_else_than_a_checkpoint_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(TrainingError, match=r"last\.pt: this checkpoint cannot be read"):
        load_checkpoint(tmp_path / "last.pt", "mine")


def test_a_checkpoint_that_does_not_say_whose_it_is_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {})
    with pytest.raises(TrainingError, match="of another configuration"):
        load_checkpoint(tmp_path / "last.pt", "mine")
