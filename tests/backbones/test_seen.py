"""The lists of images that weights were trained on."""

from __future__ import annotations

import gzip

import pytest

from medfuse.backbones.seen import seen_images
from medfuse.contract import WeightsSpec
from medfuse.errors import WeightsError

DIGESTS = ["a" * 64, "0" * 64]


def test_weights_without_a_list_have_seen_nothing_that_is_known():
    assert seen_images(WeightsSpec(name="w")) == frozenset()


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_digests_are_read_from_a_file(tmp_path, suffix):
    file = tmp_path / f"seen{suffix}"
    text = "\n".join(DIGESTS).encode()
    file.write_bytes(gzip.compress(text) if suffix.endswith(".gz") else text)
    assert seen_images(WeightsSpec(name="w", seen=str(file))) == set(DIGESTS)


@pytest.mark.parametrize("content", [b"\x1f\x8b\x00", b"not a digest\n", b"\xff\xfe"])
@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_a_list_that_is_none_is_an_error(tmp_path, content, suffix):
    file = tmp_path / f"seen{suffix}"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"seen\.txt"):
        seen_images(WeightsSpec(name="w", seen=str(file)))


def test_a_missing_list_is_an_error():
    with pytest.raises(WeightsError, match="cannot be read"):
        seen_images(WeightsSpec(name="w", seen="medfuse:nowhere.txt"))
