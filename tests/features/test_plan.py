from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from medfuse.features.plan import Plan, describe_known, describe_size
from medfuse.features.request import CaseImage
from medfuse.features.sizes import readable
from medfuse.features.wanted import Places


def rows(images: int, views: int) -> np.ndarray:
    return np.ones((images, views, 1), dtype=bool)


def test_a_row_goes_to_all_cases_that_show_its_image_and_want_its_view() -> None:
    shown = [("x", 2), ("y", 0), ("x", 0), ("z", 1), ("x", 1)]
    cases = [CaseImage(str(i), image, views) for i, (image, views) in enumerate(shown)]
    facts = {image: SimpleNamespace(digest=image) for image in "xyz"}
    plan = Plan(cases, facts, "01")  # type: ignore[arg-type]
    asked = [(2, 1), (0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]
    which, found = plan.cases_with(Places.of([(image, view, 0) for image, view in asked]))
    pairs = list(zip(which.tolist(), found.tolist(), strict=True))
    expected = [
        (number, case)
        for number, (image, view) in enumerate(asked)
        for case, (name, views) in enumerate(shown)
        if name == "xyz"[image] and view <= views
    ]
    assert pairs == expected
    assert [len(part) for part in plan.cases_with(Places.of([]))] == [0, 0]


def test_the_size_is_told_as_a_product() -> None:
    missing = [rows(1600, 5), rows(1600, 5)]
    told = "bank: 1600 images x 5 views x 2 sources = 9.2 MB new"
    assert describe_size(missing, 9_200_000) == told


def test_unequal_numbers_of_views_are_told_as_a_sum() -> None:
    missing = [rows(2, 2), ~rows(2, 2)]
    missing[0][0, 1] = False
    told = "bank: 2 images, 3 views with the clean ones, 1 source = 10 B new"
    assert describe_size(missing, 10) == told


@pytest.mark.parametrize(
    ("new", "lines"),
    [
        ({"a": 12, "b": 12}, ["1600 images: 1588 known, 12 new"]),
        (
            {"a": 0, "b": 12},
            ["a: 1600 images: 1600 known, 0 new", "b: 1600 images: 1588 known, 12 new"],
        ),
        ({"a": 0}, ["1600 images: 1600 known, 0 new; no backbone forward was needed"]),
    ],
)
def test_known_and_new_are_told_per_source_only_where_they_differ(new, lines) -> None:
    assert describe_known(1600, new) == lines


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_600, "1.0 MB"), (8e12, "8.0 TB")],
)
def test_sizes_are_readable(size: float, text: str) -> None:
    assert readable(size) == text
