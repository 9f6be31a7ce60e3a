"""What an ONNX export prints on its way does not reach the terminal."""

from __future__ import annotations

import os
from inspect import signature

import pytest
import torch

from medfuse.bundle import onnx_model


class _Network(torch.nn.Module):
    def features(self, image: torch.Tensor) -> torch.Tensor:
        return image

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image

    def with_features(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self(image), self.features(image)


def test_a_failing_export_is_silent_and_the_terminal_comes_back(tmp_path, monkeypatch, capfd):
    def fail(*_: object, **__: object) -> None:
        os.write(1, b"graph(%image) of C++")
        os.write(2, b"graph(%image) of C++")
        raise RuntimeError("no luck")

    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(torch.onnx, "export", fail)
    example = {"image": torch.zeros(2, 1, 4, 4)}
    reason = onnx_model.write_onnx(_Network(), example, tmp_path / "m.onnx")
    os.write(1, b"back")
    captured = capfd.readouterr()
    assert "no luck" in reason
    assert (captured.out, captured.err) == ("back", "")


class _OfTwo(_Network):
    """Its trace keeps the batch size 2, as an ONNX file that fails with another one."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * torch.ones(len(image), 1, 1, 1)


def test_a_file_that_takes_one_batch_size_only_is_not_kept_and_nothing_is_printed(
    tmp_path, monkeypatch, capfd
):
    pytest.importorskip("onnxruntime")
    attempt = onnx_model._attempt
    monkeypatch.setattr(
        onnx_model, "_attempt", lambda *given, dynamo: dynamo or attempt(*given, dynamo=False)
    )
    network, example = _OfTwo().eval(), {"image": torch.rand(2, 1, 4, 4)}
    assert onnx_model.write_onnx(network, example, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


class _WithoutSymbol(_Network):
    """It takes an operator that the exporter through a trace lacks."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.special.expm1(image).flatten(1).sum(1, keepdim=True)


@pytest.mark.slow
def test_what_the_first_exporter_lacks_the_second_writes(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    if "dynamic_shapes" not in signature(torch.onnx.export).parameters:
        pytest.skip("the second exporter of this torch writes one batch size only")
    attempt, tried = onnx_model._attempt, []

    def noted(*given, dynamo):
        tried.append((dynamo, attempt(*given, dynamo=dynamo)))
        return tried[-1][1]

    monkeypatch.setattr(onnx_model, "_attempt", noted)
    example = {"image": torch.rand(2, 1, 4, 4)}
    found = onnx_model.write_onnx(_WithoutSymbol().eval(), example, tmp_path / "m.onnx")
    assert "expm1" in tried[0][1]
    assert [dynamo for dynamo, _ in tried] == [False, True]
    assert found < 1e-5
