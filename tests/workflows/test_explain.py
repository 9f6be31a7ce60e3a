"""``explain``: a run or a bundle, and images -> maps, shares, a table and a page."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from medfuse import explain
from medfuse.contract import ExplainerSpec
from medfuse.errors import BundleError, CohortError, ConfigError, OutputError
from medfuse.features import choice
from medfuse.registry import load_registry
from medfuse.workflows.explain import ExplainOptions, explain_cases
from medfuse.workflows.explain_subject import explainers_of, open_subject

pytestmark = pytest.mark.slow

QUIET = ExplainOptions(progress=False)


@pytest.fixture(scope="module")
def two(images):
    return sorted((images / "nodule").glob("*.png"))[:2]


@pytest.fixture(scope="module")
def explained(finished_run, two, tmp_path_factory):
    """Two images explained by the run's bundle, checked, beside their neighbors."""
    options = ExplainOptions(check=True, neighbors=3, progress=False)
    out = tmp_path_factory.mktemp("explained") / "out"
    return explain(finished_run.folder, [str(f) for f in two], out, options=options)


def test_every_source_and_their_sum_have_a_map_of_the_size_of_the_image(explained, two):
    record = explained.summary["cases"][0]
    assert [m["source"] for m in record["maps"]] == [
        "timm:test_resnet.random",
        "timm:test_convnext.random",
        "all sources",
    ]
    overlays = sorted((explained.folder / "cases").glob(f"{record['key']}-image-gradcam-*.png"))
    assert len(overlays) == 3
    assert {size_of(one) for one in overlays} == {size_of(two[0])}


def size_of(path):
    with Image.open(path) as image:
        return image.size


def test_the_table_has_shares_effects_and_scores(explained):
    rows = list(csv.DictReader((explained.folder / "explanations.csv").read_text().splitlines()))
    own = [row for row in rows if row["source"] != "all sources"]
    assert sum(float(row["share"]) for row in own[:2]) == pytest.approx(1, abs=1e-5)
    assert all(row["effect"] and row["deletion"] and row["insertion"] for row in own)
    assert {row["case"] for row in rows} == {"p0020_0.png", "p0020_1.png"}


def test_predictions_are_those_of_the_bundle(explained, finished_run, two):
    from medfuse import load_bundle

    expected = load_bundle(finished_run.bundle).predict([str(f) for f in two])
    for record, prediction in zip(explained.summary["cases"], expected, strict=True):
        assert record["predicted"] == prediction.predicted
        assert record["probabilities"] == pytest.approx(dict(prediction.probabilities), abs=1e-6)


def test_an_own_training_image_is_warned_of_and_is_no_neighbor_of_itself(
    finished_run, images, tmp_path, caplog
):
    rows = [
        line.split(",") for line in (finished_run.folder / "cohort.csv").read_text().splitlines()
    ]
    trained = next(r for r in rows if "train" in r)
    options = ExplainOptions(neighbors=2, progress=False)
    outcome = explain(finished_run.folder, [str(images / trained[-1])], tmp_path, options=options)
    record = outcome.summary["cases"][0]
    for found in record["neighbors"].values():
        assert len(found) == 2
        assert trained[0] not in [one["case_id"] for one in found]
    assert record["same_image_left_out"] == 1
    html = (outcome.folder / "explanations.html").read_text()
    assert "Left out: 1 with this very image." in html
    warning = "1 of 1 explained cases were learned from by this bundle"
    assert warning in html
    assert warning in caplog.text


def test_neighbors_of_a_run_are_found_without_the_library_that_computed_its_features(
    finished_run, two, tmp_path, caplog, monkeypatch
):
    run = shutil.copytree(finished_run.folder, tmp_path / "run")
    config = run / "config.yaml"
    text = config.read_text()
    assert "engine: torch" in text
    config.write_text(text.replace("engine: torch", "engine: openvino"))
    monkeypatch.setattr(choice, "find_spec", lambda _: None)
    found = [
        explain(folder, two[:1], tmp_path / name, options=ExplainOptions(neighbors=1)).summary
        for name, folder in (("one", finished_run.folder), ("other", run))
    ]
    assert found[0]["cases"][0]["neighbors"] == found[1]["cases"][0]["neighbors"]
    assert "computed by openvino, which is not installed here" in caplog.text


def test_images_that_nobody_learned_from_are_not_warned_of(finished_run, images, tmp_path):
    rows = (finished_run.folder / "cohort.csv").read_text().splitlines()
    tested = next(row.split(",") for row in rows if "test" in row.split(","))
    outcome = explain(finished_run.bundle, [images / tested[-1]], tmp_path, options=QUIET)
    assert outcome.summary["seen"] == {"cases": 0, "by": {}}
    assert "learned from by" not in (outcome.folder / "explanations.html").read_text()


def test_randomized_weights_change_the_map(explained):
    last = [r for r in explained.summary["randomization"] if r["randomized"] == "all weights"]
    assert len(last) == 2
    assert all(r["rank_correlation"] < 0.99 for r in last)


def test_the_page_is_self_contained_and_shows_every_case(explained):
    html = (explained.folder / "explanations.html").read_text()
    assert html.count("<figure") == 4  # two maps and two contact sheets
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)


def test_what_is_done_is_not_done_again_and_other_options_are_refused(
    finished_run, two, tmp_path, monkeypatch
):
    first = explain(finished_run.bundle, [str(two[0])], tmp_path, options=QUIET)
    before = (first.folder / "explanations.csv").read_bytes()

    def never(*_, **__):
        raise AssertionError("explained again")

    monkeypatch.setattr("medfuse.workflows.explain.explain_case", never)
    explain(finished_run.bundle, [str(two[0])], tmp_path, options=QUIET)
    assert (first.folder / "explanations.csv").read_bytes() == before
    other = ExplainOptions(class_name="clear", progress=False)
    with pytest.raises(OutputError, match=r"other options\. Choose another --out, or .* --fresh"):
        explain(finished_run.bundle, [str(two[0])], tmp_path, options=other)


def test_the_same_twice_is_the_same_bytes(finished_run, two, tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        explain(finished_run.bundle, [str(two[0])], folder, options=QUIET)
    names = sorted(f.name for f in (folders[0] / "cases").iterdir())
    assert names == sorted(f.name for f in (folders[1] / "cases").iterdir())
    for name in names:
        assert (folders[0] / "cases" / name).read_bytes() == (
            folders[1] / "cases" / name
        ).read_bytes()


def test_a_mask_of_another_size_is_refused_by_name(finished_run, two, tmp_path):
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones((9, 9), np.uint8)).save(tmp_path / "masks" / two[0].name)
    options = ExplainOptions(masks=tmp_path / "masks", progress=False)
    with pytest.raises(CohortError, match=r"9 x 9, but its image is 160 x 160"):
        explain(finished_run.bundle, [str(two[0])], tmp_path / "out", options=options)


def test_masks_that_fit_no_image_are_refused(finished_run, two, tmp_path):
    options = ExplainOptions(masks=tmp_path, progress=False)
    with pytest.raises(CohortError, match=r"no mask has the relative path of an image"):
        explain(finished_run.bundle, [str(two[0])], tmp_path / "out", options=options)


def test_a_bundle_has_no_cases_and_no_neighbors(finished_run, two, tmp_path):
    with pytest.raises(BundleError, match=r"a bundle holds no cases\. Name images"):
        explain(finished_run.bundle, [], tmp_path / "a", options=QUIET)
    options = ExplainOptions(neighbors=3, progress=False)
    with pytest.raises(BundleError, match=r"no training cases .* Give the run's folder"):
        explain(finished_run.bundle, [str(two[0])], tmp_path / "b", options=options)


def test_an_unknown_class_is_suggested(finished_run, two, tmp_path):
    options = ExplainOptions(class_name="nodul", progress=False)
    with pytest.raises(ConfigError, match=r"class 'nodul': unknown.*nodule"):
        explain(finished_run.bundle, [str(two[0])], tmp_path / "out", options=options)


def test_a_bad_image_is_refused_and_the_others_are_explained(finished_run, two, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    outcome = explain(finished_run.bundle, [str(bad), str(two[0])], tmp_path / "o", options=QUIET)
    assert outcome.refused == 1
    assert [c["reason_code"] for c in outcome.summary["cases"]] == ["NOT_AN_IMAGE", ""]


def test_nothing_of_a_dicom_file_is_in_names_pictures_or_logs(
    finished_run, tmp_path, synthetic, caplog
):
    file = tmp_path / "in" / "IM1"
    file.parent.mkdir()
    pixels = (np.arange(60 * 90, dtype=np.uint16) % 251).reshape(60, 90)
    dataset = synthetic.projection(pixels, bits=8)
    dataset.PatientName, dataset.PatientID = "SECRET^NAME", "SECRET-ID"
    synthetic.write(dataset, file)
    outcome = explain(finished_run.bundle, [str(file)], tmp_path / "out", options=QUIET)
    written = b"".join(f.read_bytes() for f in outcome.folder.rglob("*") if f.is_file())
    assert b"SECRET" not in written
    assert "SECRET" not in caplog.text


def test_the_explainers_of_plugins_are_called(finished_run, two):
    subject = open_subject(finished_run.bundle)

    class Registry:
        def explainer(self, name):
            assert name == "mine"
            return ExplainerSpec(
                name="mine", summary="", factory="tests.workflows.test_explain:make_ones"
            )

    found = explainers_of(subject, [{"use": "mine"}], Registry())
    assert float(found["mine"](torch.zeros(1, 1, 4, 4), 0)["source 0"].sum()) == 16


def make_ones(network):
    return lambda image, class_index: {"source 0": torch.ones(image.shape[2:])}


def test_what_ships_is_listed_as_any_plugins(finished_run):
    names = [spec.name for _, spec in load_registry().components("explainer")]
    assert names[:4] == ["gradcam", "gradcam_pp", "occlusion", "attention"]


def test_pictures_for_a_report_need_no_folder(finished_run, two):
    ((found, pictures),) = explain_cases(finished_run.bundle, [str(two[0])])
    assert found.predicted in found.probabilities
    assert list(pictures) == ["image, gradcam"]
    assert pictures["image, gradcam"].startswith("data:image/png;base64,")


def test_a_traced_graph_is_explained_as_a_whole_by_occlusion(finished_run, two):
    import dataclasses

    subject = open_subject(finished_run.bundle)
    graph = torch.jit.load(str(finished_run.bundle / "models" / "model.ts"))
    traced = dataclasses.replace(subject, network=graph)
    with pytest.raises(BundleError, match=r"only as a traced graph.* Use --method occlusion"):
        explainers_of(traced, [{"use": "gradcam"}])
    coarse = {"use": "occlusion", "patch": 0.5, "overlap": 0.0}
    found = explainers_of(traced, [coarse])["occlusion"](torch.rand(1, 1, 48, 48), 0)
    assert {name: tuple(one.shape) for name, one in found.items()} == {"network": (48, 48)}


def test_the_run_alone_means_its_test_cases(finished_run, tmp_path):
    outcome = explain(finished_run.folder, [], tmp_path / "out", options=QUIET)
    records = outcome.summary["cases"]
    tested = (finished_run.folder / "cohort.csv").read_text().count(",test,")
    assert len(records) == tested
    assert all(record["label"] for record in records)
    assert json.loads((outcome.folder / "explanations.json").read_text()) == outcome.summary
