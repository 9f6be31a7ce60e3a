from __future__ import annotations

import json
from pathlib import Path

import pytest

from medfuse.bundle.class_label import ClassLabeld

TRANSFORM = ClassLabeld("label", ["normal", "Covid-19"])


def test_an_index_stays_and_a_file_becomes_the_index_of_the_class_it_names(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"label": "covid-19"}))
    assert TRANSFORM({"label": 0, "image": "x"}) == {"label": 0, "image": "x"}
    assert TRANSFORM({"label": str(tmp_path / "a.json")}) == {"label": 1}


@pytest.mark.parametrize("text", ['{"label": "flu"}', "[]", '{"label": 1}', "3"])
def test_a_file_that_names_no_class_is_an_error_with_those_there_are(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"^a.json: found label .*one of normal, covid-19"):
        TRANSFORM({"label": str(tmp_path / "a.json")})


def test_a_bundle_that_can_be_trained_reads_such_files(
    bundle: Path, monai_run, images: Path, tmp_path: Path
) -> None:
    """As MONAI Label's stock application overrides ``train.json``."""
    files = sorted((images / "ward").iterdir())
    named = []
    for image, name in zip(files, ("normal", "pneumonia", "Covid-19"), strict=True):
        label = tmp_path / f"{image.stem}.json"
        label.write_text(json.dumps({"label": name}))
        named.append({"image": str(image), "label": str(label)})
    settings = {
        "ckpt_dir": str(tmp_path / "models"),
        "train::trainer::max_epochs": 1,
        "train::dataset::data": named,
        "validate::dataset::data": named,
    }
    monai_run(bundle, images, tmp_path / "out", "train.json", **settings)
    assert (tmp_path / "models" / "model_candidate.pt").is_file()
