"""The list of images that a bundle learned from."""

from __future__ import annotations

import pytest

from medfuse.bundle.seen import SEEN, read_seen, write_seen
from medfuse.errors import BundleError


def test_what_is_written_is_read(tmp_path):
    seen = {"training": frozenset({"a" * 64, "b" * 64}), "timm:a b": frozenset({"a" * 64})}
    write_seen(tmp_path, seen)
    assert read_seen(tmp_path) == seen


def test_the_same_images_give_the_same_file(tmp_path):
    for name, order in (("one", "abc"), ("two", "cba")):
        write_seen(tmp_path / name, {"t": frozenset(letter * 64 for letter in order)})
    assert (tmp_path / "one" / SEEN).read_bytes() == (tmp_path / "two" / SEEN).read_bytes()


def test_a_bundle_without_the_list_has_none(tmp_path):
    assert read_seen(tmp_path) == {}


def test_a_damaged_list_is_an_error(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / SEEN).write_text("abc")
    with pytest.raises(BundleError, match=r"seen_images\.txt: cannot be read"):
        read_seen(tmp_path)
