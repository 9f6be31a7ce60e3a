"""A frozen network computed by ONNX Runtime, in FP32."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import torch
from torch import Tensor, nn

from medfuse.exporters.onnx import write_traced
from medfuse.features.forward import Network


def translate(module: nn.Module, example: Tensor, lanes: int) -> Network:
    """Return a network of ``module`` for batches like ``example``; see `Translate`.

    Raises:
        Exception: what the exporter raises for a module that it cannot write.
    """
    del lanes  # a session is called by several threads at once
    with TemporaryDirectory(prefix="medfuse-onnx-") as folder:
        file = Path(folder) / "network.onnx"
        write_traced(module, (example,), file, input_names=["images"])
        content = file.read_bytes()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, and not to be printed as well
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def network(batch: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": batch.contiguous().numpy()})[0])

    return network
