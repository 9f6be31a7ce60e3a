import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medfuse.audit.hashing import close_pairs, detail, perceptual_hash
from tests.audit.conftest import picture


@given(
    arrays(np.uint64, st.integers(0, 40), elements=st.integers(0, 2**64 - 1)), st.integers(0, 40)
)
def test_close_pairs_are_those_that_differ_in_few_bits(hashes, most):
    expected = {
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= most
    }
    found = {
        (int(a), int(b))
        for i, j in close_pairs(hashes, hashes, most)
        for a, b in zip(i, j, strict=True)
    }
    assert found == expected


def test_a_brighter_picture_has_the_same_hash_and_the_same_detail():
    dark = np.stack([picture(0, 64) // 2])
    bright = dark + np.uint8(60)
    assert perceptual_hash(dark) == perceptual_hash(bright)
    assert float((detail(dark) * detail(bright)).sum()) > 0.999


def test_pictures_of_one_kind_share_their_shape_but_not_their_detail():
    one, two = (np.stack([picture(seed, 64)]) for seed in (1, 2))
    coarse = np.corrcoef(one.ravel(), two.ravel())[0, 1]
    assert coarse > 0.6
    assert abs(float((detail(one) * detail(two)).sum())) < 0.5


def test_an_empty_picture_is_like_no_other():
    flat = np.full((2, 64, 64), 7, dtype=np.uint8)
    assert float((detail(flat[:1]) * detail(flat[1:])).sum()) == 0
