"""ONNX files of networks, written through a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.onnx import symbolic_helper
from torch.onnx.utils import register_custom_op_symbolic, unregister_custom_op_symbolic

from medfuse.exporters.quiet import quiet_onnx

OPSET = 18
_POOLING = ("aten::adaptive_avg_pool2d", "aten::adaptive_avg_pool3d")


def write_traced(network: nn.Module, example: tuple[Tensor, ...], path: Path, **names: Any) -> None:
    """Write a network by the exporter that goes through a trace.

    It is many times faster than the one that goes through ``torch.export``, but lacks operators.
    Adaptive mean pooling to any size is added here; of itself it takes sizes that divide those of
    the input alone (7 x 7 to 1 x 1, not to 4 x 4).

    Args:
        network: in eval mode, on the CPU.
        example: what it is called with.
        path: the ``.onnx`` file.
        names: ``input_names`` and so on, as `torch.onnx.export` takes them.

    Raises:
        Exception: whatever the exporter raises for a network that it cannot write.
    """
    with quiet_onnx(), _any_pooling():
        torch.onnx.export(
            network, example, str(path), opset_version=OPSET, dynamo=False, verbose=False, **names
        )


class _Graph(Protocol):
    """What a symbolic writes to. Older releases of torch ask that its hint be a class."""

    def op(self, name: str, *inputs: Any, **attributes: Any) -> Any: ...


@contextmanager
def _any_pooling() -> Iterator[None]:
    with ExitStack() as stack:
        for name in _POOLING:
            register_custom_op_symbolic(name, _pooled, OPSET)
            stack.callback(unregister_custom_op_symbolic, name, OPSET)
        yield


@symbolic_helper.parse_args("v", "is")
def _pooled(graph: _Graph, image: Any, target: list[int]) -> Any:
    """Write the pooling of ``(N, C, *spatial)``; of uneven sizes as a matrix for each axis.

    Raises:
        ValueError: the size of the image is not known.
    """
    if all(size == 1 for size in target):
        return graph.op("GlobalAveragePool", image)
    known = image.type().varyingSizes()
    sizes = known[2:] if known else []
    if len(sizes) != len(target) or None in sizes:
        raise ValueError("adaptive mean pooling of images whose size is not known")
    pairs = list(zip(sizes, target, strict=True))
    if all(old % new == 0 for old, new in pairs):
        steps = [old // new for old, new in pairs]
        return graph.op("AveragePool", image, kernel_shape_i=steps, strides_i=steps)
    last_comes_first = [0, 1, len(target) + 1, *range(2, len(target) + 1)]
    for old, new in reversed(pairs):
        shares = functional.adaptive_avg_pool1d(torch.eye(old), new)
        image = graph.op("MatMul", image, graph.op("Constant", value_t=shares))
        image = graph.op("Transpose", image, perm_i=last_comes_first)
    return image
