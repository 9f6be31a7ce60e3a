"""A preview shows files as they are stored, as the networks get them, and augmented."""

from __future__ import annotations

import csv
import json
import re
from functools import partial
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

import medfuse
from medfuse.config import AugmentationConfig, CohortConfig, InputConfig, parse_experiment
from medfuse.errors import CohortError
from medfuse.preprocessing import Preprocessing
from medfuse.workflows.phantom_volumes import write_cases
from medfuse.workflows.preview import PreviewOptions, preview
from medfuse.workflows.preview_panels import PLANES
from medfuse.workflows.settle import settle_cohort

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")

FEW = PreviewOptions(cases=2, views=2)


def _shown(path: Path, inputs="image", options: PreviewOptions = FEW, out: Path | None = None):
    config = CohortConfig(path=str(path))
    return preview(config, out, inputs=inputs, options=options, progress=False)


@pytest.mark.slow
def test_page_table_and_pictures_of_class_folders_are_private_and_whole(images, tmp_path) -> None:
    _shown(images, out=tmp_path / "out")
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*")}
    pictures = {name for name in names if name.endswith(".png")}
    assert names - pictures == {"preview.html", "preview.json"}
    assert len(pictures) == 3
    assert all((tmp_path / "out" / name).stat().st_mode & 0o077 == 0 for name in names)
    page = (tmp_path / "out" / "preview.html").read_text()
    assert page.count('src="data:image/') == 3
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    for text in ("fingerprint", "turned", "224 x 224", "stretch"):
        assert text in page


@pytest.mark.slow
def test_everything_that_was_auto_is_told(images, tmp_path) -> None:
    _shown(images, out=tmp_path / "out")
    found = json.loads((tmp_path / "out" / "preview.json").read_text())
    read = found["inputs"]["image"]
    assert found["classes"] == sorted(folder.name for folder in images.iterdir())
    assert read["given"] == {}
    assert "auto" not in read["resolved"].values()
    assert read["fingerprint"]["bits"] == 8
    assert read["augmentation"]["recipe"] == "xr"
    assert read["augmentation"]["ranges"]["rotate"] == 7
    assert [item["class"] for item in read["shown"]] == [n for n in found["classes"] for _ in "ab"]


def test_columns_are_the_file_its_canonical_image_and_views_of_it(images) -> None:
    (read,) = _shown(images).inputs
    prep = Preprocessing(read.resolved, read.fingerprint)
    for item in read.shown:
        assert list(item.planes) == ["as stored", "canonical", "view 1", "view 2"]
        stored = np.asarray(Image.open(item.case.inputs["image"])) / 255
        np.testing.assert_allclose(item.planes["as stored"][0], stored, atol=1e-6)
        canonical = prep.load(item.case.inputs["image"]).pixels[0]
        np.testing.assert_array_equal(item.planes["canonical"][0], canonical)
        one, two = (item.planes[name][0] for name in ("view 1", "view 2"))
        assert 0.005 < np.abs(one - canonical).mean() < 0.2
        assert np.abs(one - two).max() > 0.01


def test_views_are_those_of_the_seed(images) -> None:
    def views(seed: int) -> list[np.ndarray]:
        options = PreviewOptions(1, 1, AugmentationConfig(seed=seed))
        (read,) = _shown(images, options=options).inputs
        return [item.planes["view 1"][0] for item in read.shown]

    first, again, other = views(0), views(0), views(1)
    for one, two, three in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert np.abs(one - three).max() > 0.01


def test_without_a_recipe_there_are_no_views(images) -> None:
    options = PreviewOptions(1, 4, AugmentationConfig(recipe="none"))
    (read,) = _shown(images, options=options).inputs
    assert list(read.shown[0].planes) == ["as stored", "canonical"]


def _marked(path: Path, codes: str) -> None:
    """A head-like block with a bright corner at the right, anterior, superior end."""
    voxels = np.zeros((40, 40, 20), np.int16)
    voxels[8:32, 4:36, 4:16] = 300
    voxels[17:32, 17:36, 9:16] = 1000  # beyond the middle in every direction, in RAS
    affine = np.diag([2.0, 2, 4, 1])
    image = nib.Nifti1Image(voxels, affine)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    nib.save(image.as_reoriented(turn), path)


@pytest.mark.parametrize("orientation", ["PLS", "RAS", "SAL"])
def test_volumes_stand_upright_in_true_proportions_however_they_are_stored(
    tmp_path, orientation
) -> None:
    for number, codes in enumerate(("RAS", "LPS", "SAR", "PIL")):
        folder = tmp_path / "cohort" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        _marked(folder / f"{codes}.nii.gz", codes)
    config = InputConfig(kind="volume", orientation=orientation, window=(0, 1000))
    (read,) = _shown(tmp_path / "cohort", {"image": config}).inputs
    assert len(read.shown) == 4
    for item in read.shown:
        for column in ("as stored", "canonical"):
            for name, plane in zip(PLANES, item.planes[column], strict=True):
                lit = np.argwhere(plane > 0.25)
                tall, wide = np.ptp(lit, axis=0) + 1
                assert tall / wide == pytest.approx({"axial": 64 / 48, "coronal": 1}.get(
                    name, 48 / 64), rel=0.12)  # fmt: skip
                row, column_ = np.argwhere(plane > 0.9).mean(0) - lit.mean(0)
                assert row < -2  # anterior up, superior up
                assert column_ < -2  # right of the patient at the left; anterior at the left


def test_windows_have_a_column_each_and_views_show_one(tmp_path) -> None:
    for number in range(4):
        folder = tmp_path / "cohort" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        _marked(folder / f"{number}.nii.gz", "RAS")
    config = InputConfig(kind="volume", modality="CT", windows=["brain", (0, 1000)])
    (read,) = _shown(tmp_path / "cohort", {"image": config}).inputs
    columns = list(read.shown[0].planes)
    assert columns[:3] == ["as stored", "canonical brain", "canonical 0 to 1000"]
    assert [name.split(maxsplit=2)[:2] for name in columns[3:]] == [["view", "1"], ["view", "2"]]


@pytest.mark.slow
def test_several_inputs_and_tables_are_shown_where_they_are(tmp_path) -> None:
    cohort = write_cases(tmp_path / "cases", 9)
    rows = list(csv.DictReader(cohort.read_text().splitlines()))
    missing = {name: sum(not row[name] for row in rows) for name in ("ct", "xray")}
    assert sum(missing.values())
    inputs = {
        "ct": InputConfig(kind="volume", windows=["brain"]),
        "xray": InputConfig(modality="XR"),
        "clinical": InputConfig(kind="tabular", columns={"age": "number", "sex": "category"}),
    }
    found = _shown(cohort, inputs, PreviewOptions(9, 1), tmp_path / "out")
    counts = {read.name: len(read.shown) for read in found.inputs}
    assert counts["ct"] == 18 - missing["ct"]
    assert counts["xray"] == 18 - missing["xray"]
    table = found.inputs[2]
    assert len(table.shown[0].vector) == 5
    page = (tmp_path / "out" / "preview.html").read_text()
    assert "→ age missing" in page
    assert f">{table.shown[0].case.case_id}<" in page


def _of_series(uid: str, dataset: Dataset, number: int) -> None:
    dataset.SeriesInstanceUID = uid
    dataset.SOPInstanceUID = f"{uid}.{number}"


def test_archives_and_dicom_series_are_shown(tmp_path, synthetic: ModuleType) -> None:
    arrays = {}
    for part, count in (("train", 6), ("val", 2), ("test", 2)):
        arrays[f"{part}_images"] = np.random.default_rng(0).integers(0, 256, (count, 28, 28), "u1")
        arrays[f"{part}_labels"] = np.arange(count)[:, None] % 2
    np.savez(tmp_path / "set.npz", **arrays)
    (read,) = _shown(tmp_path / "set.npz").inputs
    assert [item.facts[0] for item in read.shown] == ["NPY, 8 bits"] * 4
    for name in ("ill/1", "ill/2", "well/3", "well/4"):
        uid = f"{synthetic.ROOT}{name[-1]}"
        synthetic.write_series(tmp_path / "tree" / name, 6, partial(_of_series, uid))
    (read,) = _shown(tmp_path / "tree").inputs
    assert read.resolved.modality == "CT"
    assert [len(item.planes["canonical lung"]) for item in read.shown] == [3] * 4
    assert read.shown[0].facts[0].startswith("DICOM CT")


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_shown(tmp_path) -> None:
    for number in range(4):
        folder = tmp_path / "cohort" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((30, 20), 40 * number, np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "cohort" / "b" / "3.png").write_bytes(b"")
    found = _shown(tmp_path / "cohort", out=tmp_path / "out")
    assert found.inputs[0].refused == (("b/3.png", "EMPTY_FILE"),)
    assert len(found.inputs[0].shown) == 3
    assert "cannot be read: b/3.png" in (tmp_path / "out" / "preview.html").read_text()


def test_an_input_that_no_case_has_is_an_error(images, tmp_path) -> None:
    files = sorted(images.rglob("*.png"))[:4]
    lines = [f"{file},,{'ab'[n % 2]}" for n, file in enumerate(files)]
    (tmp_path / "cohort.csv").write_text("\n".join(["image,ct,label", *lines]))
    inputs = {"image": InputConfig(), "ct": InputConfig()}
    with pytest.raises(CohortError, match="no case has the input 'ct', expected"):
        _shown(tmp_path / "cohort.csv", inputs)


def test_settings_are_those_of_training_where_a_test_part_is_given(tmp_path) -> None:
    rows = ["image,label,role"]
    for number in range(12):
        role, width = ("test", 160) if number > 7 else ("train", 48)
        pixels = np.full((48, width), 20 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]},{role}")
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    cohort = {"path": str(tmp_path / "cases.csv")}
    asked = parse_experiment({"cohort": cohort, "sources": [{"use": "mini:resnet"}]})
    (read,) = preview(asked.cohort, options=FEW, progress=False).inputs
    assert read.resolved.fit == "stretch"
    assert read.resolved == settle_cohort(asked).inputs["image"].config
    assert any(item.case.role == "test" for item in read.shown)


def test_it_is_part_of_the_python_api() -> None:
    assert medfuse.preview is preview


@pytest.mark.slow
def test_a_head_of_a_scanner_stands_upright(shared_data, tmp_path) -> None:
    table = tmp_path / "cohort.csv"
    series = shared_data / "dicom" / "ct_head_philips"
    table.write_text(f"case_id,image,label\nhead,{series},a\nagain,{series / 'S2010'},b\n")
    (read,) = _shown(table, options=PreviewOptions(1, 1)).inputs
    axial, coronal, _ = read.shown[0].planes["canonical bone"]
    # The head rest embraces the posterior half, at the edges of the axial slice.
    assert axial[:40, :8].max() < 0.05
    assert axial[100:150, :8].max() > 0.2
    # The base of the skull, full of bone, is inferior; its vault is a thin line.
    assert (coronal[120:144] > 0.05).mean() > 3 * (coronal[24:48] > 0.05).mean()
