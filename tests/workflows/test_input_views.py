"""Views of a source that learns: read and drawn once where they fit into memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medfuse.config import Experiment, parse_experiment
from medfuse.features.bank import FeatureBank
from medfuse.features.images import ImageIndex
from medfuse.workflows.input_views import InputViews
from medfuse.workflows.prepare import PreparedCohort, prepare_cohort

from .conftest import small_experiment

_BYTES = 48 * 48 * 4


@pytest.fixture(scope="module")
def learned_from(
    images: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Experiment, PreparedCohort]:
    experiment = parse_experiment(small_experiment(images))
    bank = FeatureBank(tmp_path_factory.mktemp("bank"))
    return experiment, prepare_cohort(experiment, bank, progress=False)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every image that is taken, in order."""
    taken: list[str] = []
    take = ImageIndex.take

    def noted(index: ImageIndex, reference: str) -> object:
        taken.append(reference)
        return take(index, reference)

    monkeypatch.setattr(ImageIndex, "take", noted)
    return taken


def _epochs(views: InputViews, count: int) -> list[torch.Tensor]:
    return [views(row, view)[0] for _ in range(count) for row in (0, 1) for view in (0, 1)]


def test_a_view_is_read_once_for_all_epochs(learned_from, reads: list[str]) -> None:
    found = _epochs(InputViews(*learned_from, [0]), 3)
    assert len(reads) == 4
    for first, later in zip(found[:4], found[8:], strict=True):
        assert torch.equal(first, later)


def test_what_does_not_fit_is_read_again_with_the_same_values(
    learned_from, reads: list[str]
) -> None:
    kept = _epochs(InputViews(*learned_from, [0]), 1)
    size = kept[0].nbytes
    assert size >= _BYTES
    reads.clear()
    found = _epochs(InputViews(*learned_from, [0], memory=2.5 * size), 3)
    assert len(reads) == 4 + 2 * 2
    for again, same in zip(found, kept * 3, strict=True):
        assert torch.equal(again, same)
