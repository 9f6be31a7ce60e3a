from __future__ import annotations

import pytest

from medfuse.errors import ConfigError
from medfuse.pretraining.settings import parse_settings


def test_images_are_half_as_large_again_as_views_unless_given():
    assert parse_settings({"backbone": "b", "size": 64}).stored_size == 96
    assert parse_settings({"backbone": "b", "size": 64, "image_size": 70}).stored_size == 70


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"epoch": 3}, "unknown key 'epoch'. Did you mean \"epochs\""),
        ({"views": {"crop": [0.5, 0.2]}}, r"views: crop is \[0.5, 0.2\], expected \[low, high\]"),
        ({"views": {"flip": "left-right"}}, "expected none | left_right | all"),
        ({"epochs": 0}, "epochs: found 0"),
        ({"method": "simclx"}, "method: found 'simclx'"),
    ],
)
def test_a_bad_setting_is_refused_with_its_place(data, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings({"backbone": "mini:resnet", **data})
