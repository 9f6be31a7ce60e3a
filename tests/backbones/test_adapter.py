"""The adapter feeds a backbone what its weights expect."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from medfuse.backbones.adapter import Adapter, Resize


@settings(deadline=None, max_examples=30)
@given(
    before=st.tuples(st.integers(3, 40), st.integers(3, 40)),
    after=st.tuples(st.integers(3, 40), st.integers(3, 40)),
)
def test_resizing_equals_torchs_antialiased_interpolation(before, after):
    image = torch.rand(2, 3, *before, generator=torch.Generator().manual_seed(0))
    expected = functional.interpolate(image, size=after, mode="bilinear", antialias=True)
    torch.testing.assert_close(Resize(before, after)(image), expected, atol=1e-5, rtol=0)


def test_bicubic_equals_torch_clamped():
    image = (torch.rand(1, 1, 31, 17) > 0.5).float()
    expected = functional.interpolate(image, size=(12, 20), mode="bicubic", antialias=True)
    resized = Resize((31, 17), (12, 20), "bicubic")(image)
    torch.testing.assert_close(resized, expected.clamp(0, 1), atol=1e-5, rtol=0)


def test_enlarging_a_volume_equals_trilinear_interpolation():
    image = torch.rand(1, 2, 5, 6, 7)
    expected = functional.interpolate(image, size=(8, 9, 10), mode="trilinear")
    torch.testing.assert_close(Resize((5, 6, 7), (8, 9, 10))(image), expected)


def test_a_fine_checkerboard_shrinks_to_gray_not_to_aliases():
    board = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(32, 32)[None, None]
    assert Resize((64, 64), (16, 16))(board).sub(0.5).abs().max() < 0.1


def test_equal_sizes_leave_the_image_untouched():
    image = torch.rand(1, 1, 8, 8)
    assert torch.equal(Adapter(1, image_size=(8, 8), size=(8, 8))(image), image)


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match="image is 9 x 8, expected 8 x 8"):
        Resize((8, 8), (4, 4))(torch.rand(1, 1, 9, 8))


def test_gray_is_repeated_and_normalized_per_channel():
    image = torch.full((1, 1, 2, 2), 0.5)
    out = Adapter(3, mean=(0.5, 0.25, 0.0), std=(1.0, 0.5, 0.25))(image)
    assert out[0, :, 0, 0].tolist() == [0.0, 0.5, 2.0]


def test_three_channels_become_their_mean():
    image = torch.tensor([0.0, 0.3, 0.9]).view(1, 3, 1, 1)
    assert Adapter(1)(image).item() == pytest.approx(0.4)


def test_two_channels_for_three_are_refused():
    with pytest.raises(RuntimeError, match="must match the existing size"):
        Adapter(3)(torch.rand(1, 2, 4, 4))


def test_bgr_reverses_the_channels_before_mean_and_std():
    image = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    out = Adapter(3, mean=(0.3, 0.0, 0.0), color_order="BGR")(image)
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 0.2, 0.1]))


def test_input_range_is_applied_before_mean_and_std():
    image = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    out = Adapter(1, mean=(127.5,), std=(127.5,), input_range=(0, 255))(image)
    assert out.flatten().tolist() == [-1.0, 1.0]


def test_per_image_gives_each_image_mean_0_and_std_1_and_a_constant_one_0():
    images = torch.stack([torch.rand(1, 6, 6), torch.full((1, 6, 6), 0.7)])
    out = Adapter(1, per_image=True)(images)
    assert out[0].mean().item() == pytest.approx(0.0, abs=1e-6)
    assert out[0].std(correction=0).item() == pytest.approx(1.0, abs=1e-5)
    assert out[1].abs().max() < 1e-5


def test_a_std_of_zero_is_refused():
    with pytest.raises(ValueError, match="expected values other than 0"):
        Adapter(1, std=(0.0,))


def test_the_result_does_not_depend_on_the_batch():
    adapter = Adapter(3, per_image=True, image_size=(9, 9), size=(6, 6))
    images = torch.rand(3, 1, 9, 9)
    alone = torch.cat([adapter(image[None]) for image in images])
    torch.testing.assert_close(adapter(images), alone)


def test_a_trace_gives_the_same():
    adapter = Adapter(3, mean=(0.4,), std=(0.2,), image_size=(9, 7), size=(6, 12))
    image = torch.rand(2, 1, 9, 7)
    assert torch.equal(torch.jit.trace(adapter, image)(image), adapter(image))
