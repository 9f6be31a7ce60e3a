"""The first layer of a file for gray images in a network for color images, and the reverse."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

_COLORS = 3
_CHANNEL_AXIS = 1


def is_other_stem(found: Sequence[int], wanted: Sequence[int]) -> bool:
    """Tell whether two shapes of a first layer differ by one channel against three alone."""
    if len(found) != len(wanted) or len(found) <= _CHANNEL_AXIS:
        return False
    channels = {found[_CHANNEL_AXIS], wanted[_CHANNEL_AXIS]}
    others = [list(shape[:1]) + list(shape[2:]) for shape in (found, wanted)]
    return channels == {1, _COLORS} and others[0] == others[1]


def with_channels(weight: Tensor, wanted: Sequence[int]) -> Tensor:
    """Return the weight of a first layer for another number of channels.

    One channel becomes a third of itself for each of three, three become their sum for one: of
    an image whose channels are equal, the layer gives what it gave.

    Args:
        weight: ``(features, channels, *kernel)``.
        wanted: shape that the network has.
    """
    if wanted[_CHANNEL_AXIS] == 1:
        return weight.sum(_CHANNEL_AXIS, keepdim=True)
    return (weight / _COLORS).expand(tuple(wanted)).contiguous()
