"""A frozen network that gives the same bits for an image whatever lies beside it in a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from medfuse.errors import SourceError
from medfuse.features.forward import Network, laid_out
from medfuse.features.request import ExtractionRequest, FeatureSource

# The first layers of a 3D ResNet hold about 600 bytes for each voxel, whatever its channels.
VOXELS_AT_ONCE = 2**20


def batch_size_for(source: FeatureSource, request: ExtractionRequest) -> int:
    """Return how many images of a request go through a source at once.

    Always the same for one shape of image, since a batch of another size gives other bits. Of
    whole volumes as few as have a million voxels, at least one; of images and slices
    ``batch_size``.
    """
    if not sees_volumes(source, request):
        return request.batch_size
    return volumes_at_once(request.shape, request.batch_size)


def volumes_at_once(shape: Sequence[int], most: int) -> int:
    """Return how many volumes ``(C, *spatial)`` go through a network at once, at most ``most``."""
    return max(1, min(most, VOXELS_AT_ONCE // math.prod(shape[1:])))


def sees_volumes(source: FeatureSource, request: ExtractionRequest) -> bool:
    """Return whether a source takes whole volumes."""
    return len(request.shape) == 4 and not source.slices


class Engine:
    """Runs one source on batches padded to one size.

    Args:
        source: says which shape its features have.
        forward: computes a batch of images.
        batch_size: the size of every batch.
    """

    def __init__(self, source: FeatureSource, forward: Network, batch_size: int) -> None:
        self._source = source
        self._forward = forward
        self._size = batch_size

    def run(self, images: Sequence[torch.Tensor]) -> np.ndarray:
        """Return features ``(n, F)`` or ``(n, tokens, F)``, float32, of n images ``(C, *spatial)``.

        Raises:
            SourceError: the network gives another shape than its description says.
            EngineRefusedError: see `medfuse.features.forward.TranslatedForward`.
        """
        batch = torch.zeros((self._size, *images[0].shape), dtype=torch.float32)
        torch.stack(list(images), out=batch[: len(images)])
        output = self._forward(batch)
        self._check(output)
        values: np.ndarray = output[: len(images)].float().cpu().numpy()
        return values

    def _check(self, output: torch.Tensor) -> None:
        source = self._source
        inner = (source.tokens, source.feature_dim) if source.tokens else (source.feature_dim,)
        expected = (self._size, *inner)
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        if found != expected:
            raise SourceError(
                f"source {source.label}: found features {found}, expected {expected}. "
                "The network gives another shape for a batch than for one image; "
                "medfuse sources verify tells more."
            )


@contextmanager
def ready(modules: Sequence[torch.nn.Module], device: torch.device) -> Iterator[None]:
    """Put the modules on ``device`` in eval mode, in full FP32, while the block runs.

    On a processor weights lie channels last meanwhile, and so does what goes into the parts of the
    modules, which a first layer would rearrange at greater cost: measured 10 to 40 % faster for
    convolutional networks and equal to 2e-7 (relative) on five timm networks. A module that says
    ``as_in_training`` is left as it is, for the bits that training would give.
    """
    for module in modules:
        module.to(device).eval()
    with ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(_full_precision())
        if device.type == "cpu":
            for module in filter(_may_be_laid_out, modules):
                # Back again: safetensors refuses to save what does not lie in order.
                stack.callback(module.to, memory_format=torch.contiguous_format)
                module.to(memory_format=torch.channels_last)
                for part in module.children():
                    stack.callback(part.register_forward_pre_hook(lay_out).remove)
        yield


def lay_out(_module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the inputs of a module with images channels last: the hook of `ready`."""
    return tuple(laid_out(x) if isinstance(x, torch.Tensor) else x for x in inputs)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Switch TF32 off, which keeps 10 bits of the mantissa: the bank promises FP32."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        matmul.allow_tf32 = before


def _may_be_laid_out(module: torch.nn.Module) -> bool:
    if getattr(module, "as_in_training", False):
        return False
    return all(p.dim() <= 4 for p in (*module.parameters(), *module.buffers()))
