"""Write a bundle of each kind, images of each format for each, and what `medfuse predict` says.

Below OUT: NAME/bundle/*_classification, NAME/in/FORMAT/..., NAME/expected.json. The bundles that
ship are taken as they lie in `bundles/`.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
from deploy_cases import REPOSITORY, TESTS, module_at
from label_bundles import write_fresh
from PIL import Image
from pydicom.dataset import Dataset

from medfuse.bundle.write import write_bundle
from medfuse.serving.inputs import expand_inputs
from medfuse.serving.predict import load_bundle

SHIPPED = ("chest-xray", "brain-mr", "chest-ct")


def write_bundles(out: Path) -> None:
    """Put a bundle of every kind into ``OUT/NAME/bundle``."""
    for name in SHIPPED:
        folder = f"{name}_classification"
        shutil.copytree(REPOSITORY / "bundles" / folder, out / name / "bundle" / folder)
    for name, run in write_fresh(out / "trained").items():
        shutil.copytree(run / "bundle", out / name / "bundle")
    pictures = module_at(TESTS / "bundle" / "conftest.py")
    volumes = module_at(TESTS / "bundle" / "volume_requests.py")
    public = pictures.make_request()
    only = ("head x: no recipe",)
    requests = {
        "public-target": public,
        "graph-only": replace(public, name="graph", network_node=None, graph_only=only),
        "several-labels": replace(public, name="labels", link="sigmoid"),
        "sliced-volumes": volumes.sliced_request(),
    }
    for name, request in requests.items():
        write_bundle(request, out / name / "bundle")


def write_inputs(bundle: Path, folder: Path, synthetic: ModuleType) -> None:
    """Write a folder of each format that the bundle's input can have."""
    predictor = load_bundle(bundle, "cpu")
    if predictor.volumes:
        write_volumes(folder, synthetic)
        return
    # like an X-ray: smooth, and bright where it is dense
    x, y = np.meshgrid(np.linspace(0, 3, 200), np.linspace(0, 2, 180))
    pixels = ((np.sin(x) * np.cos(y) + 1) * 127).astype(np.uint8)
    for name in ("jpeg", "png16", "dicom"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "jpeg" / "a.jpg", quality=95)
    Image.fromarray(pixels.astype(np.uint16) * 257).save(folder / "png16" / "a.png")
    for name, dataset in dicom_of(pixels, predictor.modality, synthetic).items():
        synthetic.write(dataset, folder / "dicom" / f"{name}.dcm")


def dicom_of(pixels: np.ndarray, modality: str, synthetic: ModuleType) -> dict[str, Dataset]:
    """Return a picture as DICOM of its modality; an X-ray in both photometric interpretations."""
    deep = pixels.astype(np.uint16) * 8 + 900
    if modality in ("CT", "MR"):
        make = {"CT": synthetic.ct_slice, "MR": synthetic.mr_slice}[modality]
        dataset = make(0)
        synthetic.set_pixels(dataset, deep, 12)
        return {modality.lower(): dataset}
    found = {}
    for number, stored in ((2, deep), (1, 4095 - deep)):
        dataset = synthetic.projection(stored, photometric=f"MONOCHROME{number}")
        dataset.SOPInstanceUID = f"{synthetic.ROOT}7.{number}"
        dataset.SeriesInstanceUID = f"{synthetic.ROOT}8.{number}"
        found[f"monochrome{number}"] = dataset
    return found


def write_volumes(folder: Path, synthetic: ModuleType) -> None:
    """Write a volume as NIfTI and one as a series of DICOM."""
    module_at(TESTS / "bundle" / "volume_requests.py").write_volumes(folder / "nifti", 1)
    synthetic.write_series(folder / "dicom" / "series", 12)


def expected_of(bundle: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Return the probabilities of medfuse itself, by the name that MONAI's table has."""
    predictor = load_bundle(bundle, "cpu")
    listed = expand_inputs([str(folder)], predictor.suffixes, predictor.volumes, predictor.modality)
    found = predictor.predict([reference for _, reference in listed])
    refused = [one.reason for one in found if one.status == "refused"]
    if refused:
        raise SystemExit(f"{bundle.name}: {refused}")
    return {
        Path(reference).relative_to(folder).as_posix(): dict(one.probabilities)
        for (_, reference), one in zip(listed, found, strict=True)
    }


def main(out: Path) -> None:
    """Write all of it."""
    write_bundles(out)
    synthetic = module_at(TESTS / "data" / "dicom" / "synthetic.py")
    for bundle in sorted(out.glob("*/bundle/*_classification")):
        place = bundle.parents[1]
        write_inputs(bundle, place / "in", synthetic)
        answers = expected_of(bundle, place / "in")
        (place / "expected.json").write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
