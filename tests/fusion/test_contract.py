"""What every fusion promises, whatever it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medfuse.exporters.onnx import write_traced

from .conftest import CLASSES, DIMS, SPECS, _build, _inputs, _spoiled

S = len(DIMS)


def test_an_absent_source_changes_nothing(fusion: str) -> None:
    module, given_ = _build(fusion), _inputs(fusion)
    mask = torch.ones(5, S)
    mask[:, 1] = 0
    expected, shares = module(given_, mask)
    for value in (0.0, 1e6, float("nan"), float("inf")):
        found, _ = module(_spoiled(given_, 1, value), mask)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    if shares is not None:
        assert (shares[:, 1] == 0).all()


def test_with_no_source_the_result_is_the_stated_neutral_one(fusion: str) -> None:
    fused, shares = _build(fusion)(_inputs(fusion), torch.zeros(5, S))
    if SPECS[fusion].handles_missing is False:  # type: ignore[union-attr]
        pytest.fail("every built-in fusion handles missing sources")
    if fused.shape[1] == CLASSES:
        torch.testing.assert_close(fused.exp(), torch.full((5, CLASSES), 1 / CLASSES))
    elif fusion != "weighted":
        assert (fused == 0).all()
    assert torch.isfinite(fused).all()
    assert shares is None or (shares == 0).all()


@settings(max_examples=20, deadline=None)
@given(bits=st.lists(st.booleans(), min_size=S * 5, max_size=S * 5), seed=st.integers(0, 99))
def test_shares_are_non_negative_and_sum_to_one_over_the_sources_present(
    fusion: str, bits: list[bool], seed: int
) -> None:
    mask = torch.tensor(bits, dtype=torch.float32).view(5, S)
    _, shares = _build(fusion)(_inputs(fusion, seed=seed), mask)
    if shares is None:
        return
    assert (shares >= 0).all()
    assert (shares[mask == 0] == 0).all()
    torch.testing.assert_close(shares.sum(1), (mask.sum(1) > 0).float())


def test_the_result_of_a_case_does_not_depend_on_its_batch(fusion: str) -> None:
    module, given_ = _build(fusion), _inputs(fusion, rows=7)
    whole, _ = module(given_, torch.ones(7, S))
    one = given_[3:4] if isinstance(given_, Tensor) else [x[3:4] for x in given_]
    alone, _ = module(one, torch.ones(1, S))
    torch.testing.assert_close(alone, whole[3:4])


def test_the_width_is_as_declared(feature_fusion: str) -> None:
    module = _build(feature_fusion)
    fused, _ = module(_inputs(feature_fusion), torch.ones(5, S))
    assert fused.shape == (5, module.out_dim)
    assert fused.dtype == torch.float32


class _Flat(nn.Module):
    """Takes tensors as separate arguments, as exporters need."""

    def __init__(self, fusion: nn.Module, many: bool) -> None:
        super().__init__()
        self.fusion = fusion
        self.many = many

    def forward(self, *inputs: Tensor) -> Tensor:
        given_: Any = list(inputs) if self.many else inputs[0]
        rows = inputs[0].flatten(1)[:, :1]
        fused: Tensor = self.fusion(given_, torch.ones_like(rows).expand(-1, S))[0]
        return fused


def test_the_traced_graph_gives_the_same_for_other_batch_sizes(fusion: str) -> None:
    many = SPECS[fusion].factory.split(":")[1] != "" and isinstance(_inputs(fusion), list)
    flat = _Flat(_build(fusion), many)
    small, large = _inputs(fusion, rows=2), _inputs(fusion, rows=9, seed=1)
    graph = torch.jit.trace(flat, tuple(small) if many else (small,))
    arguments = tuple(large) if many else (large,)
    torch.testing.assert_close(graph(*arguments), flat(*arguments))


def test_onnx_gives_the_same_for_other_batch_sizes(fusion: str, tmp_path: Any) -> None:
    runtime = pytest.importorskip("onnxruntime")
    given_ = _inputs(fusion, rows=3)
    many = isinstance(given_, list)
    flat = _Flat(_build(fusion), many).eval()
    arguments = tuple(given_) if many else (given_,)
    path = tmp_path / "fusion.onnx"
    names = [f"source_{i}" for i in range(len(arguments))]
    write_traced(
        flat, arguments, path, input_names=names, dynamic_axes={n: {0: "batch"} for n in names}
    )
    session = runtime.InferenceSession(path)
    larger = _inputs(fusion, rows=7, seed=3)
    feed = [x.numpy() for x in (larger if many else [larger])]
    found = session.run(None, dict(zip(names, feed, strict=True)))[0]
    expected = flat(*(larger if many else (larger,))).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
