"""A device is one that this machine has, or an error that names those it has."""

from __future__ import annotations

import pytest
import torch

from medfuse.device import find_device
from medfuse.errors import ConfigError


@pytest.mark.parametrize("name", ["cuda:99", "toaster", "", "meta", "cpu:-3"])
def test_a_device_that_is_not_here_is_named_with_those_that_are(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"training\.device: found '{name}', expected auto, cpu"):
        find_device(name, "training.device")


def test_auto_is_the_first_gpu_or_the_processor() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
