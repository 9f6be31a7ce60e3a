"""Real MONAI Label servers on loopback, in .venvs/label (`.ci/label` makes it and runs this file).

The name keeps it out of the ordinary suite: every server takes a quarter of a minute to start.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfuse.bundle.digests import check_digests
from medfuse.bundle.export import KINDS, export_bundle
from medfuse.bundle.write import write_bundle
from medfuse.cli.main import run as command
from medfuse.serving.predict import load_bundle
from medfuse.serving.prediction import Prediction
from medfuse.storage import sha256_file

from .label_client import Answer, Server, readme_lines, served, start_of

FRESH = Path(os.environ["MEDFUSE_LABEL_FRESH"])  # what .ci/label_bundles.py wrote
STOCK = Path(os.environ["MEDFUSE_LABEL_STOCK_APP"])
TOLERANCE = 1e-5
SHIPPED = {"chest-xray": "XR", "brain-mr": "MR", "chest-ct": "CT"}
FLAT, DEEP = "flat_classification", "deep_classification"


def scores(answer: Answer) -> dict[str, float]:
    assert answer.status == 200, answer
    return {row["label"]: row["score"] for row in answer.body["prediction"]}


def require_same(answer: Answer, expected: Prediction, lower: bool = False) -> None:
    names = {(c.lower() if lower else c): p for c, p in expected.probabilities.items()}
    assert names
    assert scores(answer) == pytest.approx(names, abs=TOLERANCE)
    assert list(scores(answer)) == list(names)


def write_twins(folder: Path, synthetic: Any) -> None:
    """One X-ray in both photometric interpretations."""
    pixels = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1)).T.copy()
    pixels[20:40, 20:50] = 250
    synthetic.write(synthetic.projection(pixels, 8), folder / "dx.dcm")
    other = synthetic.projection(255 - pixels, 8, "MONOCHROME1")
    synthetic.write(other, folder / "twin.dcm")


def fresh(name: str) -> tuple[Path, Path]:
    """A freshly trained bundle and its images."""
    folder = FRESH / name
    return folder / "run" / "bundle" / f"{name}_classification", folder / "images"


@pytest.fixture(scope="module")
def flat() -> tuple[Path, Path]:
    return fresh("flat")


@pytest.fixture(scope="module")
def deep() -> tuple[Path, Path]:
    return fresh("deep")


@pytest.fixture(scope="module")
def studies(flat: tuple[Path, Path], synthetic: Any, tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    for name in sorted(path.name for path in flat[1].iterdir()):
        for image in sorted((flat[1] / name).iterdir())[:4]:
            shutil.copy(image, folder / f"{name}.{image.name}")
    png = next(folder.glob("*.png"))
    Image.open(png).save(folder / "photo.JPEG", format="JPEG")
    (folder / "short.png").write_bytes(png.read_bytes()[:-400])
    write_twins(folder, synthetic)
    return folder


@pytest.fixture(scope="module")
def flat_server(flat: tuple[Path, Path], studies: Path, tmp_path_factory: Any) -> Iterator[Server]:
    app = tmp_path_factory.mktemp("label") / "app"
    assert command(["bundle", "export", str(flat[0]), "--for", "label", "--out", str(app)]) == 0
    with served(app, studies, start_of(app)) as server:
        yield server


@pytest.fixture(scope="module")
def expected(flat: tuple[Path, Path], studies: Path) -> Mapping[str, Prediction]:
    files = sorted(path for path in studies.iterdir() if path.is_file() and path.name[0] != ".")
    files = [path for path in files if path.suffix != ".json"]
    found = load_bundle(flat[0]).predict([str(path) for path in files])
    return {path.stem: one for path, one in zip(files, found, strict=True)}


def test_the_server_names_the_model_its_classes_and_its_training(
    flat: tuple[Path, Path], flat_server: Server
) -> None:
    info = flat_server.ask("GET", "/info/").body
    classes = list(load_bundle(flat[0]).classes)
    assert info["models"][FLAT]["type"] == "classification"
    assert info["models"][FLAT]["labels"] == {name: n for n, name in enumerate(classes)}
    assert info["labels"] == classes
    assert set(info["trainers"][FLAT]["config"]) == {
        "device", "model_filename", "max_epochs", "val_split",
    }  # fmt: skip


def test_every_image_in_the_store_gets_the_answer_of_the_bundle(
    flat_server: Server, expected: Mapping[str, Prediction]
) -> None:
    statuses = set()
    for name, prediction in expected.items():
        answer = flat_server.infer(FLAT, name)
        statuses.add(prediction.status)
        if prediction.status == "refused":
            assert (answer.status, name) == (422, "short")
            assert answer.body["detail"]["reason_code"] == prediction.reason_code
            assert str(flat_server.studies) not in json.dumps(answer.body)
            continue
        require_same(answer, prediction)
        said = answer.body["medfuse"]
        assert said["weights"] == "model.pt"
        for key in ("status", "reason_code", "predicted"):
            assert said[key] == getattr(prediction, key), name
        assert said["set"] == list(prediction.conformal_set)
    assert statuses == {"ok", "abstained", "refused"}


def test_an_x_ray_stored_inverted_gets_the_same_answer(
    flat_server: Server, expected: Mapping[str, Prediction]
) -> None:
    for name in ("dx", "twin"):
        file = flat_server.studies / f"{name}.dcm"
        uploaded = flat_server.ask("POST", f"/infer/{FLAT}", "-F", f"file=@{file}")
        require_same(uploaded, expected["dx"])
        require_same(flat_server.infer(FLAT, name), expected["dx"])


def test_what_cannot_be_answered_says_why(flat_server: Server) -> None:
    weights = ("-F", 'params={"model_filename": "other.pt"}')
    cases = {
        (404, "UNKNOWN_IMAGE"): flat_server.infer(FLAT, "nobody"),
        (404, "UNKNOWN_MODEL"): flat_server.infer("other", "dx"),
        (404, "NO_WEIGHTS"): flat_server.infer(FLAT, "dx", *weights),
        (422, "NO_LABELS"): flat_server.train(FLAT),
        (422, "BAD_LABEL"): flat_server.put_label("dx", {"label": "flu"}),
        (403, "WEIGHTS_ARE_FIXED"): flat_server.ask("DELETE", f"/model/{FLAT}"),
    }
    for (status, code), answer in cases.items():
        assert (answer.status, answer.body["detail"]["reason_code"]) == (status, code)
    assert flat_server.ask("GET", "/datastore/?output=train").body == []


def test_a_refused_image_stops_no_batch(flat_server: Server) -> None:
    answer = flat_server.ask(
        "POST", f"/batch/infer/{FLAT}?run_sync=true",
        "-H", "Content-Type: application/json", "-d", '{"images": ["dx", "short", "twin"]}',
    )  # fmt: skip
    found = {name: one["params"] for name, one in answer.body.items()}
    assert found["short"]["medfuse"]["status"] == "refused"
    assert found["dx"]["prediction"] == found["twin"]["prediction"]


def commands_of(server: Server, image: str) -> list[str]:
    """The lines of the app's README that call curl, for a server and an image; echo is run."""
    places = {
        "http://127.0.0.1:8000": server.at(""),
        "image=ID": f"image={image}",
        "scan.dcm": str(server.studies / "dx.dcm"),
        "label.json": str(server.app.parent / "readme.json"),
    }
    found = []
    for line in readme_lines(server.app):
        changed = line
        for written, meant in places.items():
            changed = changed.replace(written, meant)
        if line.startswith("echo"):
            subprocess.run(changed, shell=True, check=True)
        elif line.startswith("curl"):
            found.append(changed)
    return found


def test_the_commands_of_the_readme_label_train_and_ask_the_candidate(
    flat: tuple[Path, Path], flat_server: Server, expected: Mapping[str, Prediction]
) -> None:
    app, classes = flat_server.app, load_bundle(flat[0]).classes
    models = app / "model" / FLAT / "models"
    before = {path.name: sha256_file(path) for path in models.iterdir()}
    images = [name for name in expected if name.partition(".")[0] in classes]
    for name in images:
        assert flat_server.put_label(name, {"label": name.partition(".")[0]}).status == 200

    answers = []
    for line in commands_of(flat_server, images[0]):
        if "model_candidate" in line:
            assert flat_server.trained() == "DONE"
        answers.append(flat_server.run(line))
    assert len(answers) == 6
    assert [answer.status for answer in answers] == [200] * 6
    require_same(answers[0], expected[images[0]])
    require_same(answers[1], expected["dx"])
    assert answers[5].body["medfuse"]["status"] == "not judged"
    assert scores(answers[5]) != scores(answers[0])

    assert {name: sha256_file(models / name) for name in before} == before
    candidate = models / "model_candidate.pt"
    assert sorted(path.name for path in models.iterdir()) == sorted([*before, candidate.name])
    check_digests(models.parent)
    (file,) = (app / "training").iterdir()
    report = json.loads(file.read_text())
    assert report["started_from"]["sha256"] == before["model.pt"]
    assert report["candidate"]["sha256"] == sha256_file(candidate)
    told = {
        row["image"]: row["label"] for part in ("training", "validation") for row in report[part]
    }
    assert len(told) == len(images)
    first = report["validation"][0]
    assert first["started_from"] == pytest.approx(
        dict(expected[Path(first["image"]).stem].probabilities), abs=TOLERANCE
    )
    stats = flat_server.ask("GET", "/info/").body["train_stats"][FLAT]
    assert stats["candidate"] == report["candidate"]
    require_same(flat_server.infer(FLAT, images[1]), expected[images[1]])


def test_volumes_are_files_and_folders_of_slices(
    deep: tuple[Path, Path], synthetic: Any, tmp_path: Path
) -> None:
    bundle, images = deep
    studies = tmp_path / "studies"
    studies.mkdir()
    shutil.copy(next(images.rglob("*.nii.gz")), studies / "a.b.nii.gz")
    synthetic.write_series(studies / "1.2.840.99", 12)
    export_bundle(bundle, "label", tmp_path / "app")
    predictor = load_bundle(bundle)
    with served(tmp_path / "app", studies, start_of(tmp_path / "app")) as server:
        (later,) = [synthetic.write_series(studies / "later", 10)]
        for name, place in {
            "a.b": studies / "a.b.nii.gz",
            "1.2.840.99": studies / "1.2.840.99",
            "later": later,
        }.items():
            (expected,) = predictor.predict([str(place)])
            require_same(server.infer(DEEP, name), expected)
        (later / "004.dcm").unlink()
        answer = server.infer(DEEP, "later")
        assert (answer.status, answer.body["detail"]["reason_code"]) == (422, "IRREGULAR_SPACING")


@pytest.fixture(scope="module")
def others(request_: Any, flat: tuple[Path, Path], tmp_path_factory: Any) -> dict[str, Path]:
    """A bundle whose network exists only as a graph, and one of labels that exclude nothing."""
    folder = tmp_path_factory.mktemp("others")
    graph = replace(request_, name="graph", network_node=None, graph_only=("head x: no recipe",))
    labels = replace(request_, name="labels", link="sigmoid", thresholds=(0.3, 0.4, 0.5))
    return {request.name: write_bundle(request, folder) for request in (graph, labels)}


@pytest.mark.parametrize("name", ["graph", "labels"])
def test_what_cannot_be_trained_is_served_and_says_so(
    name: str, others: dict[str, Path], images: Path, tmp_path: Path
) -> None:
    studies = tmp_path / "studies"
    shutil.copytree(images / "ward", studies)
    done = export_bundle(others[name], "label", tmp_path / "app")
    assert "cannot be trained" in done.remarks[0]
    (expected,) = load_bundle(others[name]).predict([str(studies / "patient-000.png")])
    with served(done.folder, studies, start_of(done.folder)) as server:
        answer = server.infer(others[name].name, "patient-000")
        require_same(answer, expected)
        assert answer.body["medfuse"]["predicted"] == expected.predicted
        assert server.ask("GET", "/info/").body["trainers"] == {}
        refused = server.train(others[name].name)
        assert (refused.status, refused.body["detail"]["reason_code"]) == (422, "NOT_TRAINABLE")


def write_dicom(picture: Path, file: Path, modality: str, synthetic: Any) -> Path:
    """Write a picture as 12-bit DICOM: an X-ray, or one slice of CT or MR."""
    pixels = np.asarray(Image.open(picture)).astype(np.uint16) * 8 + 900
    if modality == "XR":
        return synthetic.write(synthetic.projection(pixels), file)
    dataset = {"CT": synthetic.ct_slice, "MR": synthetic.mr_slice}[modality](0)
    synthetic.set_pixels(dataset, pixels, 12)
    return synthetic.write(dataset, file)


def write_studies(bundle: Path, modality: str, folder: Path, synthetic: Any) -> list[Path]:
    """Write three images and one as DICOM, then two for each class to learn from."""
    examples = sorted((bundle / "examples" / "images").iterdir())
    folder.mkdir()
    files = [Path(shutil.copy(example, folder)) for example in examples]
    files.append(write_dicom(examples[0], folder / "scan.dcm", modality, synthetic))
    rng = np.random.default_rng(0)
    for number, name in enumerate(load_bundle(bundle).classes):
        for again in "ab":
            noise = rng.integers(0, 40, (256, 256)) + 50 * number
            Image.fromarray(noise.astype(np.uint8)).save(folder / f"{name}.{again}.png")
    return files


@pytest.mark.parametrize("name", SHIPPED)
def test_a_bundle_that_ships_is_served_and_trained(
    name: str, repository: Path, synthetic: Any, tmp_path: Path
) -> None:
    bundle = repository / "bundles" / f"{name}_classification"
    studies, predictor = tmp_path / "studies", load_bundle(bundle)
    files = write_studies(bundle, SHIPPED[name], studies, synthetic)
    app = export_bundle(bundle, "label", tmp_path / "app").folder
    with served(app, studies, start_of(app)) as server:
        info = server.ask("GET", "/info/").body["models"][bundle.name]
        assert info["labels"] == {label: n for n, label in enumerate(predictor.classes)}
        for file, expected in zip(files, predictor.predict(files), strict=True):
            answer = server.infer(bundle.name, file.stem)
            require_same(answer, expected)
            for key in ("status", "reason_code", "predicted"):
                assert answer.body["medfuse"][key] == getattr(expected, key)
        for label in predictor.classes:
            for again in "ab":
                assert server.put_label(f"{label}.{again}", {"label": label}).status == 200
        models = app / "model" / bundle.name / "models"
        before = sha256_file(models / "model.pt")
        assert server.train(bundle.name, max_epochs=1, val_split=0.5, device="cpu").status == 200
        asked = ("-F", 'params={"model_filename": "model_candidate.pt"}')
        candidate = server.infer(bundle.name, files[0].stem, *asked)
        assert candidate.body["medfuse"]["status"] == "not judged"
        require_same(server.infer(bundle.name, files[0].stem), predictor.predict(files[:1])[0])
    assert sha256_file(models / "model.pt") == before
    assert sha256_file(models / "model_candidate.pt") != before


def test_the_stock_application_serves_and_trains_the_bundles_too(
    flat: tuple[Path, Path], deep: tuple[Path, Path], others: dict[str, Path], studies: Path,
    expected: Mapping[str, Prediction], requests_: dict[str, Any], repository: Path,
    synthetic: Any, tmp_path: Path,
) -> None:  # fmt: skip
    app, store = tmp_path / "monaibundle", tmp_path / "studies"
    shutil.copytree(STOCK, app)
    volumes = [deep[0], write_bundle(requests_["sliced"], tmp_path)]
    shipped = {repository / "bundles" / f"{n}_classification": kind for n, kind in SHIPPED.items()}
    bundles = [flat[0], *volumes, *others.values(), *shipped]
    for bundle in bundles:
        shutil.copytree(bundle, app / "model" / bundle.name)
    shutil.copytree(studies, store, ignore=shutil.ignore_patterns("labels", ".*", "*.json"))
    volume = store / "head.nii.gz"
    shutil.copy(next(deep[1].rglob("*.nii.gz")), volume)
    models = ",".join(bundle.name for bundle in bundles)
    offline = ("--conf", "zoo_source", "ngc", "--conf", "sam2", "false", "--conf", "models", models)
    with served(app, store, KINDS["label"].start, *offline) as server:
        for bundle in bundles:
            images = [volume if bundle in volumes else store / "dx.dcm"]
            if bundle in shipped:
                example = bundle / "examples" / "images" / "generated-2.png"
                file = tmp_path / f"{bundle.name}.dcm"
                images = [example, write_dicom(example, file, shipped[bundle], synthetic)]
            for image, wanted in zip(images, load_bundle(bundle).predict(images), strict=True):
                answer = server.ask("POST", f"/infer/{bundle.name}", "-F", f"file=@{image}")
                require_same(answer, wanted, lower=True)
        classes = load_bundle(flat[0]).classes
        for name in [name for name in expected if name.partition(".")[0] in classes]:
            assert server.put_label(name, {"label": name.partition(".")[0]}).status == 200
        place = app / "model" / FLAT / "models"
        before = sha256_file(place / "model.pt")
        assert server.train(FLAT, max_epochs=1, device="cpu").status == 200
    assert (place / "model_candidate.pt").is_file()
    assert sha256_file(place / "model.pt") == before
