"""The device that a text names, checked before anything is computed on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medfuse.errors import ConfigError

if TYPE_CHECKING:
    import torch


def find_device(name: str, where: str = "device") -> torch.device:
    """Return the device a text names; ``auto`` takes the first GPU, else the CPU.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:0`` ...
        where: the setting or option that holds it, for the error text.

    Raises:
        ConfigError: no device has this name, or this machine lacks it.
    """
    import torch

    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        # Values are wanted, not a shape alone: ``meta`` is a device that holds none.
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, TypeError) as error:
        raise ConfigError(
            f"{where}: found {name!r}, expected {_present()}. No other device can be used here."
        ) from error
    return device


def _present() -> str:
    import torch

    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ", ".join(["auto", "cpu", *gpus])
