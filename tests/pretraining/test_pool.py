from __future__ import annotations

import torch

from tests.pretraining.conftest import canonical, pool_of


def test_a_bad_file_is_counted_by_code_and_set():
    pool = pool_of("1", "bad", "2")
    assert len(pool) == 2
    assert pool.refused == {"set": {"TRUNCATED": 1}}


def test_a_picture_in_two_files_is_learned_from_once():
    pool = pool_of("1", "2", "1")
    assert (len(pool), pool.repeated) == (2, 1)


def test_a_copy_of_a_forbidden_image_is_not_learned_from():
    pool = pool_of("1", "2", forbidden=(canonical(2).pixel_digest,))
    assert pool.digests == [canonical(1).pixel_digest]
    assert pool.refused == {"set": {"EXCLUDED_COPY": 1}}


def test_what_does_not_fit_into_memory_is_read_again_with_the_same_values():
    room = canonical(1).pixels.size * 2
    pool = pool_of("1", "2", memory=room)
    assert pool.in_memory == 1
    for row, seed in enumerate((1, 2)):
        exact = torch.from_numpy(canonical(seed).pixels)
        torch.testing.assert_close(pool.images([row])[0], exact, atol=5e-4, rtol=0)
