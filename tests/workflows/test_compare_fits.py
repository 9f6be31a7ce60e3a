"""A fit of a comparison keeps to one thread, also where torch may use several."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from medfuse.threads import one_thread
from medfuse.workflows import compare_fits
from medfuse.workflows.compare_fits import NamedFit


def test_matrix_products_of_a_fit_keep_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """MKL inside torch has a number of its own, which limits from outside do not reach."""
    before, seen = torch.get_num_threads(), {}

    def fit(*_: Any) -> str:
        with one_thread():
            lines = torch.__config__.parallel_info()
        seen.update(re.findall(r"(at|omp|mkl)[:_]+get_(?:num|max)_threads\(\) : (\d+)", lines))
        return "fitted"

    monkeypatch.setattr(compare_fits, "fit_candidate", fit)
    torch.set_num_threads(3)
    try:
        assert compare_fits._fit(None, None, NamedFit("key", None)) == ("key", "fitted")
        assert set(seen.values()) == {"1"}
        assert "at" in seen
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
