from __future__ import annotations

import torch

from medfuse.pretraining.batches import Drawing, ViewBatches
from medfuse.pretraining.settings import ViewSettings
from tests.pretraining.conftest import pool_of

DRAWING = Drawing(ViewSettings(), (16, 16))


def batches_of(pool, epoch=1, size=8):
    found = ViewBatches(pool, size, DRAWING)
    found.epoch = epoch
    return [batch.views for batch in found]


def test_batches_are_of_one_size_with_two_views_that_differ(pool):
    batches = batches_of(pool)
    assert [tuple(b.shape) for b in batches] == [(8, 2, 1, 16, 16)] * 2
    assert not torch.allclose(batches[0][:, 0], batches[0][:, 1])


def test_an_epoch_is_decided_by_its_number(pool):
    again = zip(batches_of(pool, 2), batches_of(pool, 2), strict=True)
    assert all(torch.equal(a, b) for a, b in again)
    assert not torch.equal(batches_of(pool, 1)[0], batches_of(pool, 2)[0])


def test_few_images_are_one_batch():
    assert [len(b) for b in batches_of(pool_of("1", "2", "3"))] == [3]


def test_labels_go_with_their_images(pool):
    batches = list(ViewBatches(pool, 8, DRAWING, labels=range(100, 120)))
    labels = [label for batch in batches for label in batch.labels.tolist()]
    assert sorted(set(labels)) == sorted(labels)
    still = ViewSettings(crop=(1, 1), rotate=0, gamma=1, contrast=0, brightness=0, blur=0, noise=0)
    for batch in ViewBatches(pool, 8, Drawing(still, (24, 24), views=1), labels=range(100, 120)):
        for view, label in zip(batch.views[:, 0], batch.labels, strict=True):
            errors = [float((view - pool.images([row])[0]).abs().mean()) for row in range(20)]
            assert errors.index(min(errors)) + 100 == int(label)
