"""What the exporter that goes through a trace writes with medfuse's help, ONNX Runtime computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medfuse.exporters.onnx import write_traced
from medfuse.exporters.quiet import quiet_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


class _Pooled(nn.Module):
    def __init__(self, target: tuple[int, ...]) -> None:
        super().__init__()
        self.target = target

    def forward(self, image: Tensor) -> Tensor:
        if len(self.target) == 2:
            return functional.adaptive_avg_pool2d(image, self.target)
        return functional.adaptive_avg_pool3d(image, self.target)


def _written(target: tuple[int, ...], sizes: tuple[int, ...], folder: Path) -> Path:
    path = folder / "pool.onnx"
    axes = {"image": {0: "batch"}, "pooled": {0: "batch"}}
    names = {"input_names": ["image"], "output_names": ["pooled"], "dynamic_axes": axes}
    write_traced(_Pooled(target).eval(), (torch.rand(2, 3, *sizes),), path, **names)
    return path


@pytest.mark.parametrize(
    ("sizes", "target"),
    [
        ((7, 7), (4, 4)),
        ((6, 8), (7, 7)),  # VGG at 192 x 256 pixels
        ((2, 2), (6, 6)),
        ((8, 7), (4, 1)),
        ((8, 4), (4, 4)),
        ((5, 6), (1, 1)),
        ((2, 3, 5), (4, 4, 4)),
        ((7, 2, 6), (2, 5, 3)),
        ((8, 4, 4), (4, 4, 4)),
        ((2, 3, 5), (1, 1, 1)),
    ],
)
def test_pooling_to_any_size_gives_what_torch_gives_for_any_batch(
    sizes: tuple[int, ...], target: tuple[int, ...], tmp_path: Path
) -> None:
    path = _written(target, sizes, tmp_path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = torch.rand(5, 3, *sizes)
    found = torch.from_numpy(session.run(None, {"image": image.numpy()})[0])
    torch.testing.assert_close(found, _Pooled(target)(image))


@pytest.mark.parametrize(
    ("sizes", "target", "operator"),
    [
        ((8, 4), (4, 4), "AveragePool"),
        ((5, 6), (1, 1), "GlobalAveragePool"),
        ((2, 4, 6), (1, 2, 3), "AveragePool"),
    ],
)
def test_sizes_that_divide_become_one_pooling(
    sizes: tuple[int, ...], target: tuple[int, ...], operator: str, tmp_path: Path
) -> None:
    graph = onnx.load(str(_written(target, sizes, tmp_path))).graph
    assert [node.op_type for node in graph.node] == [operator]


class _Unsupported(_Pooled):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).expm1()


@pytest.mark.parametrize("fails", [False, True])
def test_the_exporter_is_left_as_it_was(fails: bool, tmp_path: Path) -> None:
    network, example = _Pooled((4, 4)), (torch.rand(2, 3, 7, 7),)
    if fails:
        with pytest.raises(torch.onnx.errors.OnnxExporterError, match="expm1"):
            write_traced(_Unsupported((4, 4)), example, tmp_path / "m.onnx")
    else:
        write_traced(network, example, tmp_path / "m.onnx")
    with quiet_onnx(), pytest.raises(torch.onnx.errors.OnnxExporterError, match="not factor"):
        torch.onnx.export(network, example, str(tmp_path / "m.onnx"), dynamo=False)


def test_images_of_a_size_that_is_not_known_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="images whose size is not known"):
        write_traced(
            _Pooled((4, 4)), (torch.rand(2, 3, 7, 7),), tmp_path / "m.onnx",
            input_names=["image"], dynamic_axes={"image": {2: "height", 3: "width"}},
        )  # fmt: skip
