"""Checkpoints that are whole or absent, and hold nothing but tensors and plain data."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from medfuse.backbones.weights_file import read_file
from medfuse.errors import TrainingError, WeightsError
from medfuse.storage import atomic_path

CHECKPOINT_VERSION = 1
LAST = "last.pt"
BEST = "best.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the checkpoint at ``path`` in one step; readable by its owner only.

    Raises:
        OutputError: the folder cannot be written or the disk is full.
    """
    buffer = io.BytesIO()
    torch.save({"version": CHECKPOINT_VERSION, **state}, buffer)
    with atomic_path(path, 0o600) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path, identity: str) -> dict[str, Any] | None:
    """Return the checkpoint at ``path`` on the CPU, or ``None`` where there is none.

    Args:
        path: the file.
        identity: digest of the configuration and the data that the run has now.

    Raises:
        TrainingError: the file is damaged, of another version, or of another run.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = read_file(path)
    except WeightsError as error:
        raise TrainingError(
            f"{path}: this checkpoint cannot be read. Remove it to train from the start."
        ) from error
    version = state.get("version") if isinstance(state, dict) else None
    if version != CHECKPOINT_VERSION:
        raise TrainingError(
            f"{path}: found checkpoint version {version}, expected {CHECKPOINT_VERSION}. "
            "Remove it to train from the start."
        )
    if state.get("identity") != identity:
        raise TrainingError(
            f"{path}: this checkpoint is of another configuration or of other cases. "
            "Choose another output folder, or start afresh."
        )
    return state


def cpu_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of the module's parameters and buffers on the CPU."""
    return {k: v.detach().to("cpu", copy=True) for k, v in module.state_dict().items()}
