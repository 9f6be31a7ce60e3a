"""A frozen network computed by OpenVINO, in FP32.

The trace goes to OpenVINO's reader of PyTorch directly: ``openvino.convert_model`` reports its use
to the vendor unless it is told not to.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import openvino
import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import Tensor, nn

from medfuse.exporters.quiet import quiet_torchscript
from medfuse.features.forward import Network


def translate(module: nn.Module, example: Tensor, lanes: int) -> Network:
    """Return a network of ``module`` for batches like ``example``; see `Translate`.

    Raises:
        Exception: what OpenVINO raises for a module that it cannot compute.
    """
    return compiled(read_model(module, example), lanes)


def read_model(module: nn.Module, example: Tensor) -> openvino.Model:
    """Return OpenVINO's graph of ``module`` for batches like ``example``, in FP32.

    Raises:
        Exception: as `translate`.
    """
    with torch.no_grad(), quiet_torchscript():
        traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
        frozen = torch.jit.freeze(traced)
        decoder = TorchScriptPythonDecoder(frozen, example_input=(example,), skip_freeze=True)
    reader = FrontEndManager().load_by_framework("pytorch")
    graph = reader.load(decoder)
    (images,) = graph.get_inputs()
    graph.set_element_type(images, openvino.Type.f32)
    graph.set_partial_shape(images, openvino.PartialShape(list(example.shape)))
    return reader.convert(graph)


def compiled(model: openvino.Model, lanes: int) -> Network:
    """Return the network of a graph for ``lanes`` threads, which share those of torch."""
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",  # else BF16, where the processor has it
        "NUM_STREAMS": str(lanes),
        "INFERENCE_NUM_THREADS": str(lanes * torch.get_num_threads()),
    }
    return _Requests(openvino.Core().compile_model(model, "CPU", settings), lanes)


class _Requests:
    """As many requests as there are lanes; each has its own memory for what lies in between."""

    def __init__(self, compiled: Any, count: int) -> None:
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(count):
            self._idle.put(compiled.create_infer_request())

    def __call__(self, batch: Tensor) -> Tensor:
        request = self._idle.get()
        try:
            outputs = request.infer({0: batch.contiguous().numpy()}, share_inputs=True)
            return torch.from_numpy(outputs[0].copy())
        finally:
            self._idle.put(request)
