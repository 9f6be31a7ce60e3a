import numpy as np
import pytest
from PIL import Image

from medfuse.audit import find_duplicates, scan
from tests.audit.conftest import picture


def _groups(cohort):
    return find_duplicates(scan(cohort, progress=False).seen)


def test_one_picture_in_two_formats_is_an_exact_duplicate(save, cohort_of):
    files = [save("a.png", picture(0)), save("b.bmp", picture(0)), save("c.png", picture(1))]
    (group,) = _groups(cohort_of([{"file": file} for file in files]))
    assert (group.kind, group.cases, group.labels) == ("exact", ("c000", "c001"), (0, 1))


def _half(pixels):
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS))


@pytest.mark.parametrize(
    ("change", "options", "mirrored"),
    [
        (lambda p: p, {"quality": 40}, False),
        (lambda p: (p * 0.7 + 30).astype(np.uint8), {"quality": 95}, False),
        (lambda p: (255 * (p / 255) ** 0.7).astype(np.uint8), {"quality": 95}, False),
        (_half, {"quality": 95}, False),
        (lambda p: p[:, ::-1], {"quality": 90}, True),
    ],
    ids=["recompressed", "brightness", "gamma", "half size", "mirrored"],
)
def test_a_changed_copy_is_a_near_duplicate(save, cohort_of, change, options, mirrored):
    original = save("original.png", picture(0, 192))
    copy = save("copy.jpg", change(picture(0, 192)), **options)
    others = [save(f"{seed}.png", picture(seed, 192)) for seed in range(1, 12)]
    rows = [{"file": file} for file in (original, copy, *others)]
    rows[1]["role"] = "test"
    rows[0]["role"] = "train"
    (group,) = _groups(cohort_of(rows))
    assert (group.kind, group.cases) == ("near", ("c000", "c001"))
    assert group.roles == ("test", "train")
    assert group.mirrored is mirrored


def test_different_pictures_of_one_kind_are_not_reported(save, cohort_of):
    rows = [{"file": save(f"{seed}.png", picture(seed))} for seed in range(60)]
    assert _groups(cohort_of(rows)) == []


def test_an_exact_group_is_not_reported_again_as_near(save, cohort_of):
    files = [save("a.png", picture(0)), save("b.png", picture(0))]
    files.append(save("c.jpg", picture(0), quality=50))
    kinds = {g.kind: g.cases for g in _groups(cohort_of([{"file": file} for file in files]))}
    assert kinds == {"exact": ("c000", "c001"), "near": ("c000", "c002")}


@pytest.mark.slow
def test_duplicates_of_the_real_brain_set(shared_data):
    from medfuse.config import CohortConfig
    from medfuse.data import read_cohort

    found = _groups(read_cohort(CohortConfig(path=str(shared_data / "brain_mri4"))))
    exact = [group for group in found if group.kind == "exact"]
    assert len(exact) == 38
    assert sum(len(group.roles) > 1 for group in exact) == 30
    assert sum(group.kind == "near" and len(group.roles) > 1 for group in found) > 100
