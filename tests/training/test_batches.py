from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medfuse.config import TrainingConfig
from medfuse.training.batches import Batch, CaseBatches, Draws, EpochBatches, batch_size_of
from medfuse.training.data import TrainingData
from medfuse.training.run import Unfreeze
from medfuse.training.setup import Stopping, build_setup, stopping_of

from .conftest import make_cases, make_config, make_run


def _numbered(labels: list[int], views: int | list[int] = 3) -> TrainingData:
    """Cases whose only feature is 100 * case + view."""
    most = views if isinstance(views, int) else max(views)
    cases = np.arange(len(labels))
    x = (100 * cases[:, None] + np.arange(most)[None]).astype(np.float32)[..., None]
    return TrainingData.of([x], labels, views=views)


def _drawn(batches: EpochBatches, epoch: int) -> list[int]:
    batches.epoch = epoch
    return [int(x) for batch in batches for x in batch.features[0][:, 0]]


def test_batches_grow_with_the_cases_unless_a_source_learns_or_a_number_is_asked_for() -> None:
    found = [batch_size_of("auto", count, learns=False) for count in (20, 320, 321, 999, 5000)]
    assert found == [32, 32, 33, 100, 128]
    assert batch_size_of("auto", 5000, learns=True) == 32
    assert batch_size_of(7, 5000, learns=False) == batch_size_of(7, 5000, learns=True) == 7


def test_every_case_comes_once_an_epoch() -> None:
    batches = EpochBatches(_numbered([0, 1] * 11), 2, 5, Draws())
    assert sorted(x // 100 for x in _drawn(batches, 1)) == list(range(22))


def test_an_epoch_is_decided_by_seed_and_epoch_alone() -> None:
    data = _numbered([0, 1] * 11)
    batches = EpochBatches(data, 2, 5, Draws(seed=3))
    first, second = _drawn(batches, 1), _drawn(batches, 2)
    assert first != second
    torch.rand(7)
    assert _drawn(EpochBatches(data, 2, 5, Draws(seed=3)), 2) == second
    assert _drawn(EpochBatches(data, 2, 5, Draws(seed=4)), 2) != second


def test_all_existing_views_are_drawn_and_no_others() -> None:
    batches = EpochBatches(_numbered([0, 1], views=[1, 3]), 2, 2, Draws())
    seen = {x for epoch in range(60) for x in _drawn(batches, epoch)}
    assert seen == {0, 100, 101, 102}


def test_batches_differ_by_one_case_at_most_so_that_none_is_tiny() -> None:
    batches = EpochBatches(_numbered([0, 1] * 16 + [0]), 2, 32, Draws())
    assert [len(b.targets) for b in batches] == [17, 16]
    assert len(batches) == 2


def test_oversampling_gives_every_class_the_count_of_the_largest() -> None:
    labels = [0] * 20 + [1] * 6 + [2] * 3
    batches = EpochBatches(_numbered(labels), 3, 8, Draws(oversample=True))
    drawn = [x // 100 for x in _drawn(batches, 1)]
    assert np.bincount(np.array(labels)[drawn]).tolist() == [20, 20, 20]
    often = np.bincount(drawn)
    assert set(often[:20]) == {1}
    assert set(often[20:26]) == {3, 4}
    assert set(often[26:]) == {6, 7}
    assert len(batches) == len(list(batches))


def test_mixup_mixes_the_targets_as_it_mixes_the_cases() -> None:
    batches = EpochBatches(make_cases(), 3, 9, Draws(mixup=0.4))
    plain = EpochBatches(make_cases(), 3, 9, Draws())
    for mixed, pure in zip(batches, plain, strict=True):
        assert 0.5 <= mixed.mix <= 1
        assert mixed.partner is not None
        expected = mixed.mix * pure.targets + (1 - mixed.mix) * pure.targets[mixed.partner]
        torch.testing.assert_close(mixed.targets, expected)
        torch.testing.assert_close(mixed.features, pure.features)


def test_evaluation_takes_clean_views_in_order() -> None:
    batches = CaseBatches(_numbered([0, 1, 0]), 2, 2)
    assert [x for b in batches for x in b.features[0][:, 0].tolist()] == [0, 100, 200]


def test_a_source_without_features_gets_the_image_of_the_same_view() -> None:
    def load(case: int, view: int) -> tuple[torch.Tensor]:
        return (torch.full((1, 2, 2), 100.0 * case + view),)

    cases = np.arange(5)
    x = (100 * cases[:, None] + np.arange(3)[None]).astype(np.float32)[..., None]
    data = TrainingData.of([x, None], [0, 1, 0, 1, 0], load_view=load).select([4, 2, 3])
    batch: Batch
    for batch in EpochBatches(data, 2, 2, Draws()):
        assert batch.features[1] is None
        assert torch.equal(batch.images[0][:, 0, 0, 0], batch.features[0][:, 0])


def test_half_precision_tokens_become_float32() -> None:
    tokens = np.zeros((4, 1, 9, 5), dtype=np.float16)
    batch = next(iter(CaseBatches(TrainingData.of([tokens], [0, 1, 0, 1]), 2, 4)))
    assert batch.features[0].shape == (4, 9, 5)
    assert batch.features[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([np.zeros((3, 2))], r"Source 1 has features of shape \(3, 2\)"),
        ([np.zeros((4, 1, 2))], r"expected \(3, views, width\)"),
        ([None], "Source 1 has neither features nor images"),
        ([np.full((3, 1, 2), np.nan)], "Source 1 gives features that are not finite for case 0"),
    ],
)
def test_unusable_features_are_named(features: list[np.ndarray | None], message: str) -> None:
    from medfuse.errors import TrainingError

    with pytest.raises(TrainingError, match=message):
        TrainingData.of(features, [0, 1, 0])


def test_a_training_takes_batches_of_its_cases_and_small_ones_where_a_source_learns() -> None:
    data, config = make_cases(400), make_config(batch_size="auto")
    frozen = build_setup(data, make_cases(40), config, make_run())
    later = make_run(unfreeze=(Unfreeze(0, 1, "all", 0.1),))
    learns = build_setup(data, make_cases(40), config, later)
    assert (frozen.batches.batch_size, learns.batches.batch_size) == (40, 32)
    assert (len(frozen.validation), len(learns.validation)) == (1, 2)
    assert (frozen.stopping, learns.stopping) == (Stopping(5, 5e-3), Stopping(10, 1e-3))
    assert (frozen.ema_decay, learns.ema_decay) == (0.5, 0.0)
    member = build_setup(data, make_cases(40), config, make_run(members=5))
    assert (member.stopping, member.ema_decay) == (Stopping(7, 1e-3), 0.0)
    asked = make_config(early_stopping={"patience": 3, "min_delta": 0.5})
    assert build_setup(data, make_cases(40), asked, later).stopping == Stopping(3, 0.5)
    assert build_setup(data, None, asked, later).stopping is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [(5, 5e-3), (10, 1e-3), (7, 1e-3)]),
        ({"ema_decay": 0.0}, [(7, 1e-3), (10, 1e-3), (7, 1e-3)]),
        ({"ema_decay": 0.9}, [(5, 5e-3), (10, 1e-3), (7, 1e-3)]),
        ({"early_stopping": {"patience": 4}}, [(4, 5e-3), (4, 1e-3), (4, 1e-3)]),
        ({"early_stopping": {"min_delta": 0}}, [(5, 0), (10, 0), (7, 0)]),
    ],
)
def test_training_waits_longer_without_a_mean_where_a_source_learns_and_for_members(
    changes: dict[str, Any], expected: list[tuple[int, float]]
) -> None:
    config, kinds = TrainingConfig(**changes), [(False, True), (True, True), (False, False)]
    found = [stopping_of(config, learns=learns, alone=alone) for learns, alone in kinds]
    assert found == [Stopping(*one) for one in expected]
