"""The MONAI Deploy application of an export; with the SDK itself it runs in `.ci/deploy`."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pydicom
import pytest
import yaml

from medfuse.bundle.digests import check_digests
from medfuse.bundle.export import KINDS, export_bundle
from medfuse.bundle.export.deploy import write_app
from medfuse.bundle.export.subject import Subject, read_subject
from medfuse.errors import BundleError

needs_highdicom = pytest.mark.skipif(
    importlib.util.find_spec("highdicom") is None,
    reason="promise not shown: reports need medfuse[dicom]",
)
Part = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def app(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "app"
    export_bundle(bundle, "deploy", out)
    return out


@pytest.fixture
def part(app: Path) -> Iterator[Part]:
    """Import a module of the application, under a name that no other application has."""
    name = "deploy_app_lib"
    spec = importlib.util.spec_from_file_location(name, app / "lib" / "__init__.py")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    yield lambda module: importlib.import_module(f"{name}.{module}")
    for found in [m for m in sys.modules if m.partition(".")[0] == name]:
        del sys.modules[found]


@pytest.fixture
def judged(part: Part, app: Path):
    return part("judged_bundle").JudgedBundle.found(app / "nowhere", app)


@pytest.fixture
def chest(tmp_path: Path, synthetic: ModuleType) -> Path:
    """A folder with one projection."""
    folder = tmp_path / "DOE^JANE"
    synthetic.write(synthetic.projection(synthetic.samples(1)), folder / "MRN-4711.dcm")
    return folder


def test_an_application_is_code_description_requirements_and_the_bundle_as_it_was(
    app: Path, bundle: Path
) -> None:
    assert sorted(path.name for path in app.iterdir()) == [
        "LICENSE", "README.md", "__main__.py", "app.py", "app.yaml", "lib", "model",
        "requirements.txt",
    ]  # fmt: skip
    (copied,) = (app / "model").iterdir()
    check_digests(copied)
    assert (copied / "SHA256SUMS").read_bytes() == (bundle / "SHA256SUMS").read_bytes()
    described = yaml.safe_load((app / "app.yaml").read_text(encoding="utf-8"))
    metadata = json.loads((copied / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert described["application"]["title"] == metadata["name"]
    assert described["application"]["version"] == metadata["version"]


def test_its_modules_import_nothing_of_medfuse(app: Path) -> None:
    modules = [path for path in app.rglob("*.py") if "model" not in path.relative_to(app).parts]
    found = set()
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module))
    assert len(modules) == 13
    assert "monai.deploy.core" in found
    assert not {name for name in found if name.partition(".")[0] in ("medfuse", "scripts")}


def test_the_requirements_pin_what_was_measured_what_the_bundle_needs_and_decoders(
    app: Path,
) -> None:
    lines = (app / "requirements.txt").read_text(encoding="utf-8").splitlines()[1:]
    pins = dict(line.split("==") for line in lines)
    assert pins["monai-deploy-app-sdk"] == "4.0.0"
    assert pins["pydicom"].startswith("3.")
    assert {"highdicom", "monai", "timm", "torch", "fire", "pylibjpeg"} <= set(pins)
    assert len(pins) == len(lines)


def test_the_readme_names_the_bundle_its_classes_the_start_and_every_status(app: Path) -> None:
    text = (app / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# tiny_classification in MONAI Deploy\n")
    assert "Classes: normal, pneumonia, Covid-19." in text
    assert KINDS["deploy"].start in text
    assert all(f"`{status}`" in text for status in ("ok", "abstained", "refused", "failed"))
    assert "SEVERAL_IMAGES" in text
    assert "$" not in text


def test_bundles_that_deploy_cannot_feed_are_refused_before_anything_is_written(
    bundle: Path, tmp_path: Path
) -> None:
    subject = read_subject(bundle)
    several = Subject(bundle, subject.metadata, {**subject.inference, "case_inputs": "{}"})
    no_dicom = Subject(bundle, {**subject.metadata, "data_type": ".png"}, subject.inference)
    with pytest.raises(BundleError, match="MONAI Deploy hands a network one image"):
        write_app(several, tmp_path)
    with pytest.raises(BundleError, match="reads no DICOM"):
        write_app(no_dicom, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_bundle_s_own_gates_choose_the_case(
    part: Part, judged, chest: Path, synthetic: ModuleType
) -> None:
    (chest / "again.dcm").write_bytes((chest / "MRN-4711.dcm").read_bytes())
    (chest / "MRN-4711.dcm.tags").write_text("{}")
    scout = synthetic.projection(synthetic.samples(2))
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    synthetic.write(scout, chest / "scout.dcm")
    found = part("find").find_reference(judged, chest)
    assert Path(found).name in ("MRN-4711.dcm", "again.dcm")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("several", "SEVERAL_IMAGES"),
        ("slices", "OTHER_MODALITY"),
        ("scout", "NOT_DIAGNOSTIC"),
        ("nothing", "NO_IMAGES"),
    ],
)
def test_what_is_not_one_image_is_refused_by_name(
    part: Part, judged, synthetic: ModuleType, tmp_path: Path, kind: str, code: str
) -> None:
    if kind == "slices":
        synthetic.write_series(tmp_path, 3)
    for number in range({"several": 2, "scout": 1}.get(kind, 0)):
        image = synthetic.projection(synthetic.samples(number))
        image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if kind == "scout" else ""]
        synthetic.write(image, tmp_path / f"{number}.dcm")
    with pytest.raises(Exception, match=r"match this model|no DICOM image") as caught:
        part("find").find_reference(judged, tmp_path)
    assert caught.value.code == code
    assert caught.value.status == "refused"


@needs_highdicom
def test_the_answer_is_that_of_monai_s_run_in_json_and_report(
    part: Part, judged, chest: Path, bundle: Path, tmp_path: Path, run_rows, synthetic: ModuleType
) -> None:
    reference = part("find").find_reference(judged, chest)
    prediction = part("classify").classify(judged, reference)
    outcome = part("outcome")
    part("report").write_case(judged, outcome.Case(reference, prediction), tmp_path / "out")
    text = (tmp_path / "out" / "result.json").read_text(encoding="utf-8")
    (case,) = json.loads(text)["cases"]
    (row,) = run_rows(bundle, chest, tmp_path / "monai")
    assert case["predicted"] == row["predicted"]
    for name, chance in case["probabilities"].items():
        assert chance == pytest.approx(float(row[f"prob_{name}"]), abs=1e-5)
    report = pydicom.dcmread(tmp_path / "out" / case["report"])
    assert (report.PatientID, report.Modality) == ("MRN-4711", "SR")
    evaluations = report.ContentSequence[-1].ContentSequence
    assert evaluations[1].ConceptCodeSequence[0].CodeMeaning == row["predicted"]
    assert not any(secret in text for secret in synthetic.SECRETS)


@needs_highdicom
def test_an_image_that_cannot_be_read_is_refused_in_json_without_number_and_report(
    part: Part, judged, chest: Path, tmp_path: Path, synthetic: ModuleType
) -> None:
    file = chest / "MRN-4711.dcm"
    file.write_bytes(file.read_bytes()[:-100])
    outcome = part("outcome")
    with pytest.raises(outcome.RefusedError) as caught:
        part("classify").classify(judged, str(file))
    case = outcome.Case(str(file)).refused(caught.value)
    part("report").write_case(judged, case, tmp_path / "out")
    text = (tmp_path / "out" / "result.json").read_text(encoding="utf-8")
    (said,) = json.loads(text)["cases"]
    assert (said["status"], said["reason_code"]) == ("refused", "TRUNCATED")
    assert (said["probabilities"], said["predicted"], said["report"]) == ({}, "", None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result.json"]
    assert not any(secret in text for secret in synthetic.SECRETS)


@needs_highdicom
def test_a_model_that_abstains_has_a_report_without_class(
    part: Part, judged, chest: Path, tmp_path: Path
) -> None:
    said = {"status": "abstained", "reason_code": "LOW_CONFIDENCE", "reason": "unsure"}
    said |= {"predicted": "", "probabilities": {"normal": 0.5, "pneumonia": 0.5}}
    case = part("outcome").Case(str(chest / "MRN-4711.dcm"), said)
    result = part("report").write_case(judged, case, tmp_path / "out")
    assert result["report_status"] == "WRITTEN"
    text = str(pydicom.dcmread(tmp_path / "out" / "report.dcm"))
    assert "Imaging Measurements" not in text
    assert "'abstained'" in text


def test_labels_hold_from_their_thresholds_on(part: Part, judged) -> None:
    said = {"status": "ok", "probabilities": {"a": 0.6, "b": 0.4, "c": 0.55}}
    assert judged.findings(said) == ("a",)
    judged._block = {"link": "sigmoid", "thresholds": {"b": 0.3, "c": 0.9}}
    assert judged.findings(said) == ("a", "b")
    assert judged.findings({**said, "status": "abstained"}) == ()


def test_a_bundle_that_was_changed_or_is_not_alone_is_not_run(
    part: Part, app: Path, tmp_path: Path
) -> None:
    module = part("judged_bundle")
    own = tmp_path / "own"
    shutil.copytree(app / "model", own)
    assert module.JudgedBundle.found(own, app).root.parent == own
    (own / "tiny_classification" / "LICENSE").write_text("mine")
    with pytest.raises(ValueError, match="LICENSE: absent or changed"):
        module.JudgedBundle.found(own, app)
    with pytest.raises(FileNotFoundError, match="not exactly one bundle"):
        module.JudgedBundle.found(tmp_path / "x", tmp_path / "y")
