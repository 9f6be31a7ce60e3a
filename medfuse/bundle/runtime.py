"""Build parts of a bundle in this process, apart from every other bundle.

A bundle is a program: its configurations and scripts run with the rights of this process. Open
only bundles from somebody you trust.
"""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import torch

from medfuse.errors import BundleError
from medfuse.exporters.quiet import quiet_torchscript
from medfuse.monai_parser import config_parser

if TYPE_CHECKING:
    from monai.bundle.config_parser import ConfigParser

_LOCK = RLock()


@contextmanager
def open_bundle(root: Path, config: str = "inference.json") -> Iterator[ConfigParser]:
    """Yield the parser of a bundle's configuration; what is built from it outlives the block.

    Every bundle calls its code ``scripts``. While the block runs, that name belongs to this
    bundle alone; afterwards modules and search path are as before, so that the next bundle
    finds its own. Nothing is written into the bundle.

    Raises:
        BundleError: the configuration or the metadata cannot be read.
    """
    parser = config_parser()
    try:
        parser.read_config(str(root / "configs" / config))
        parser.read_meta(str(root / "configs" / "metadata.json"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{root}: not a readable bundle ({error}). Give the bundle's own folder."
        ) from error
    parser["bundle_root"] = str(root.resolve())
    with _own_scripts(), _quiet_readers():
        yield parser


def load_network(parser: ConfigParser, root: Path, device: torch.device) -> torch.nn.Module:
    """Return the bundle's network in eval mode, with its weights loaded strictly.

    Raises:
        BundleError: the weights are absent, unsafe, or do not fit the network.
    """
    with quiet_torchscript():
        network: torch.nn.Module = parser.get_parsed_content("network_def")
    if not isinstance(network, torch.jit.ScriptModule):
        path = root / "models" / "model.pt"
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            network.load_state_dict(state, strict=True)
        except Exception as error:  # every damage of the file raises something else
            cause = (str(error).splitlines() or [type(error).__name__])[0]
            raise BundleError(f"{path}: weights cannot be loaded ({cause}).") from error
    return network.to(device).eval()


@contextmanager
def _own_scripts() -> Iterator[None]:
    with _LOCK:
        kept_path, kept_flag = list(sys.path), sys.dont_write_bytecode
        kept: dict[str, Any] = _take_scripts()
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        try:
            yield
        finally:
            _take_scripts()
            sys.modules.update(kept)
            sys.path[:] = kept_path
            sys.dont_write_bytecode = kept_flag


@contextmanager
def _quiet_readers() -> Iterator[None]:
    """MONAI's loader announces each optional reader that is not installed."""
    logger = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "NvImgCodec", UserWarning)
            yield
    finally:
        logger.setLevel(level)


def _take_scripts() -> dict[str, Any]:
    names = [n for n in sys.modules if n == "scripts" or n.startswith("scripts.")]
    return {name: sys.modules.pop(name) for name in names}
