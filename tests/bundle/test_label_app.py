"""What of the MONAI Label app needs no MONAI Label; `label_server.py` runs all of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from medfuse.bundle.label_app.lib.labels import LabelError, divide, read_label
from medfuse.bundle.label_app.lib.served_bundle import ServedBundle, digest_of
from medfuse.storage import sha256_file

CLASSES = ("normal", "Covid-19")


def items(*counts: int) -> list[dict[str, object]]:
    return [
        {"image": f"/x/{label}-{number}.png", "label": label}
        for label, count in enumerate(counts)
        for number in range(count)
    ]


@pytest.mark.parametrize("name", ["Covid-19", "covid-19"])
def test_a_label_file_names_a_class_in_any_case(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"label": name}))
    assert read_label(str(tmp_path / "a.json"), CLASSES) == 1


@pytest.mark.parametrize(
    "text", ["", "normal", "[]", "{}", '{"label": "flu"}', '{"label": 1}', '{"label": ["normal"]}']
)
def test_what_names_no_class_is_refused_with_those_there_are(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(LabelError, match=r'expected {"label": NAME}, NAME one of normal, Covid-19'):
        read_label(str(tmp_path / "a.json"), CLASSES)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_both_parts_have_every_class_and_no_image_twice(share: float) -> None:
    given = items(2, 11)
    training, validation = divide(given, CLASSES, share)
    assert {item["label"] for item in training} == {item["label"] for item in validation} == {0, 1}
    assert sorted(str(i["image"]) for i in training + validation) == sorted(
        str(i["image"]) for i in given
    )
    assert divide(given[::-1], CLASSES, share) == (training, validation)


def test_the_share_of_each_class_validates() -> None:
    _, validation = divide(items(10, 20), CLASSES, 0.2)
    assert [sum(item["label"] == label for item in validation) for label in (0, 1)] == [2, 4]


def test_a_class_with_fewer_than_two_images_is_named_with_all_counts() -> None:
    with pytest.raises(LabelError, match=r"\(normal 5, Covid-19 1\), expected at least two"):
        divide(items(5, 1), CLASSES, 0.2)


@pytest.mark.parametrize("share", [-1.0, 0.0, 1.0])
def test_a_share_that_leaves_a_part_empty_is_refused(share: float) -> None:
    with pytest.raises(LabelError, match="expected a share between 0 and 1"):
        divide(items(5, 5), CLASSES, share)


def test_the_bundle_of_an_app_is_the_only_one(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(FileNotFoundError, match="0 bundles, expected one"):
        ServedBundle.in_app(str(tmp_path))
    (tmp_path / "model" / "a").symlink_to(bundle)
    found = ServedBundle.in_app(str(tmp_path))
    assert found.classes == ["normal", "pneumonia", "Covid-19"]
    assert (found.name, found.volume, found.exclusive) == ("a", False, True)
    assert {".png", ".dcm"} < set(found.suffixes)
    assert found.not_trainable == ""
    (tmp_path / "model" / "b").symlink_to(bundle)
    with pytest.raises(FileNotFoundError, match="2 bundles, expected one"):
        ServedBundle.in_app(str(tmp_path))


def test_weights_are_the_bundle_s_own_as_long_as_their_digest_is(
    bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(bundle, tmp_path / "b")
    served = ServedBundle(tmp_path / "b")
    weights = served.weights("model.pt")
    assert served.is_as_written(weights)
    assert digest_of(weights) == sha256_file(weights)
    shutil.copy(weights, served.weights("model_candidate.pt"))
    assert not served.is_as_written(served.weights("model_candidate.pt"))
    weights.write_bytes(weights.read_bytes()[:-1])
    assert not served.is_as_written(weights)


def test_a_file_of_weights_lies_among_the_weights(bundle: Path) -> None:
    assert ServedBundle(bundle).weights("../../secret.pt") == bundle / "models" / "secret.pt"


def test_the_prediction_is_that_of_the_bundle(bundle: Path, tmp_path: Path) -> None:
    assert ServedBundle(bundle).predicted([0.2, 0.5, 0.3]) == "pneumonia"
    root = tmp_path / "b"
    shutil.copytree(bundle, root)
    path = root / "configs" / "metadata.json"
    document = json.loads(path.read_text())
    limits = {"normal": 0.1, "pneumonia": 0.6, "Covid-19": 0.3}
    document["medfuse"] |= {"link": "sigmoid", "thresholds": limits}
    path.write_text(json.dumps(document))
    served = ServedBundle(root)
    assert served.predicted([0.2, 0.5, 0.3]) == "normal;Covid-19"
    assert served.predicted([0.0, 0.5, 0.2]) == ""


def test_why_a_bundle_cannot_be_trained_is_what_it_was_written_with(
    bundle: Path, tmp_path: Path
) -> None:
    root = tmp_path / "b"
    shutil.copytree(bundle, root)
    (root / "configs" / "train.json").unlink()
    path = root / "configs" / "metadata.json"
    document = json.loads(path.read_text())
    document["medfuse"]["left_out"] = {"configs/train.json": "of a graph"}
    path.write_text(json.dumps(document))
    assert ServedBundle(root).not_trainable == "of a graph"
