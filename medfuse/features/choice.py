"""Which library computes frozen networks: torch, OpenVINO or ONNX Runtime."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from medfuse.errors import ConfigError

EngineName = Literal["torch", "openvino", "onnxruntime"]

# Below so many images the seconds of translating a network are not earned back.
WORTH_TRANSLATING = 256

_NEEDS: dict[EngineName, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnx"),
}
_EXTRA = {"openvino": "fast", "onnxruntime": "onnx"}


def choose_engine(asked: str, device: str, images: int) -> EngineName:
    """Return what computes the features of a request.

    ``auto`` takes the first that is installed of OpenVINO and ONNX Runtime on a processor, for
    `WORTH_TRANSLATING` images and more, else torch. It counts the images that are wanted, not
    those that are missing: what is banked does not decide what computes the rest.

    Args:
        asked: ``auto``, ``torch``, ``openvino`` or ``onnxruntime``.
        device: ``cpu``, ``cuda``, ...
        images: views of images that the request is about.

    Raises:
        ConfigError: what was asked for is not installed, or cannot compute on the device.
    """
    on_processor = device.partition(":")[0] == "cpu"
    if asked == "auto":
        if on_processor and images >= WORTH_TRANSLATING:
            return next((name for name in _NEEDS if not _absent(name)), "torch")
        return "torch"
    if asked == "torch":
        return "torch"
    name: EngineName = "openvino" if asked == "openvino" else "onnxruntime"
    if not on_processor:
        raise ConfigError(
            f"bank.engine: {name} computes on processors, but training.device is {device}. "
            "Use bank.engine: torch, or training.device: cpu."
        )
    if absent := _absent(name):
        raise ConfigError(
            f"bank.engine: {name}, but {' and '.join(absent)} cannot be imported. "
            f'Install it (pip install "medfuse[{_EXTRA[name]}]"), or use bank.engine: auto.'
        )
    return name


def engine_here(asked: str) -> str:
    """Return the engine that a run was made with where its library is installed, else ``auto``."""
    known = next((name for name in _NEEDS if name == asked), None)
    return "auto" if known and _absent(known) else asked


def _absent(name: EngineName) -> list[str]:
    return [module for module in _NEEDS[name] if find_spec(module) is None]
