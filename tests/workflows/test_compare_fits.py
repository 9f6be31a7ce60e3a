"""Fits of a comparison: one thread each, each kept, networks shared by those made of them."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.fusion.average import AverageFusion
from medfuse.threads import one_thread
from medfuse.training.candidate import BankedCases, Fit, Fitted, Recipe, fit_candidate
from medfuse.training.composed import compose
from medfuse.workflows import compare_fits
from medfuse.workflows.compare_fits import FitStore, NamedFit, Workshop, named_fit


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
        assert compare_fits._fit(None, None, NamedFit("key", None, "")) == ("key", "fitted")
        assert set(seen.values()) == {"1"}
        assert "at" in seen
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


TRAINING = TrainingConfig(epochs=2)
RECIPE = Recipe(ComponentConfig(use="mlp", hidden=4), TRAINING)


def _cases() -> BankedCases:
    rng = np.random.default_rng(0)
    return BankedCases(
        values=tuple(rng.standard_normal((60, 1, width), np.float32) for width in (6, 4, 5)),
        slices=(0, 0, 0),
        labels=np.arange(60) % 2,
        views=np.ones(60, dtype=np.int64),
        groups=np.arange(60),
        known=np.ones((60, 1), dtype=bool),
        inputs=(0, 0, 0),
        classes=("no", "yes"),
    )


def _named(fusion: str, *sources: int) -> NamedFit:
    rows = np.arange(60)
    fit = Fit("network", sources, ComponentConfig(use=fusion), rows[20:], rows[:20], seed=3)
    return named_fit(fit, "context")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(_cases(), RECIPE, FitStore(tmp_path), progress=False)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """What was trained, in the order of it."""
    found: list[tuple[str, tuple[int, ...]]] = []

    def fit(cases: BankedCases, fit: Fit, recipe: Recipe) -> Fitted:
        found.append((fit.fusion.use, fit.sources))
        return fit_candidate(cases, fit, recipe)

    monkeypatch.setattr(compare_fits, "fit_candidate", fit)
    return found


def test_an_average_shares_the_networks_of_its_sources(
    workshop: Workshop,
    trained: list[tuple[str, tuple[int, ...]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are put together in order, which a mean would not show."""
    asked = [_named("concat", 0), _named("concat", 0, 1), _named("average", 0, 1, 2)]
    monkeypatch.setattr(AverageFusion, "forward", lambda _, logits, mask: (logits[:, -1], None))
    found = workshop.run([*asked, _named("average", 0, 2)], "comparing")
    alone = [("concat", (i,)) for i in range(3)]
    assert sorted(trained) == sorted([*alone, ("concat", (0, 1))])
    networks = [found[_named("concat", i).key] for i in (0, 2)]
    pair = compose(workshop.cases, _named("average", 0, 2).fit, RECIPE, networks)
    np.testing.assert_array_equal(
        found[_named("average", 0, 2).key].probabilities, pair.probabilities
    )


def test_what_is_kept_needs_no_training_and_gives_the_same(
    workshop: Workshop, trained: list[tuple[str, tuple[int, ...]]]
) -> None:
    asked = [_named("average", 0, 1), _named("attention", 0, 1)]
    first = workshop.run(asked, "comparing")
    trained.clear()
    again = workshop.run(asked, "comparing")
    assert trained == []
    for key, fitted in first.items():
        for field in fields(Fitted):
            np.testing.assert_array_equal(
                getattr(fitted, field.name), getattr(again[key], field.name)
            )


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_a_damaged_file_is_trained_again(
    workshop: Workshop, trained: list[tuple[str, tuple[int, ...]]], content: bytes
) -> None:
    workshop.run([_named("average", 0, 1)], "comparing")
    trained.clear()
    (workshop.store.folder / f"{_named('concat', 1).key}.npz").write_bytes(content)
    workshop.run([_named("average", 0, 1)], "comparing")
    assert trained == [("concat", (1,))]


def test_it_is_told_how_much_is_here_already(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "medfuse")
    workshop.run([_named("average", 0, 1)], "comparing")
    assert not any("already" in text for text in caplog.messages)
    workshop.run([_named("average", 0, 1, 2)], "comparing")
    assert "comparing: 2 of 3 fits are here already" in caplog.messages
    workshop.run([_named("average", 0, 1, 2)], "comparing")
    assert caplog.messages[-1] == "comparing: all 3 fits are here already"
