"""On generated images with a known nodule the maps point at it, and with random weights do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medfuse import train, write_phantoms
from medfuse.explanation.randomize import randomized
from medfuse.explanation.scores import points_at
from medfuse.serving.cases import named_case
from medfuse.workflows.explain_case import AskedCase, read_case
from medfuse.workflows.explain_subject import explainers_of, open_subject

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lesion")
    experiment = {
        "cohort": {
            "path": str(write_phantoms(folder / "images")),
            "group_pattern": r"p(\d+)_",
        },
        "sources": [
            {"use": name, "input_size": [224, 224]} for name in ("mini:resnet", "mini:densenet")
        ],
        "training": {"source_heads": False},
        "evaluation": {"baselines": False, "bootstrap": 20},
    }
    return open_subject(train(experiment, folder / "run", progress=False).bundle, "cpu")


@pytest.fixture(scope="module")
def nodules(subject, tmp_path_factory):
    """Nodules that are found, of another draw, and where they are."""
    folder = tmp_path_factory.mktemp("nodules")
    new = write_phantoms(folder / "images", 16, seed=7, masks=folder / "masks")
    found = []
    for file in sorted((new / "nodule").glob("*.png")):
        read = read_case(subject, AskedCase(named_case(0, str(file), None, str(folder))))
        (image,) = read.images
        if int(subject.network(image).argmax()) == subject.class_index("nodule"):
            with Image.open(folder / "masks" / "nodule" / file.name) as drawn:
                mask = drawn.resize(image.shape[:1:-1], Image.Resampling.NEAREST)
            found.append((image, np.asarray(mask) > 0))
    return found


def pointing_rates(subject, network, nodules):
    explain = explainers_of(replace(subject, network=network), [{"use": "gradcam"}])["gradcam"]
    hits: dict[str, list[bool]] = {}
    for image, mask in nodules:
        maps = explain(image, subject.class_index("nodule"))
        for name, one in {**maps, "all sources": sum(maps.values())}.items():
            hits.setdefault(name, []).append(points_at(one.numpy(), mask))
    return {name: float(np.mean(found)) for name, found in hits.items()}


def test_grad_cam_points_at_the_nodule_in_nine_of_ten_true_positives(subject, nodules):
    assert len(nodules) >= 25
    rates = pointing_rates(subject, subject.network, nodules)
    assert len(rates) == 3
    assert min(rates.values()) >= 0.9, rates


def test_with_random_weights_it_does_not(subject, nodules):
    rates = pointing_rates(subject, randomized(subject.network), nodules)
    assert max(rates.values()) <= 0.1, rates
