"""Write a bundle of volumes, one of pictures, those that ship, and DICOM folders for each."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
TESTS = REPOSITORY / "tests"
DATA = REPOSITORY.parent / "shared" / "data"
LOOKED_AT = 12
# Modality, a vendor's series, and a folder of images of one class or two.
SHIPPED = {
    "chest-xray": (
        "XR",
        "",
        {"No_findings": "cxr_covid3/No_findings", "Pneumonia": "cxr_covid3/Pneumonia"},
    ),
    "brain-mr": (
        "MR",
        "mr_epi_ge",
        {"notumor": "brain_mri4/Testing/notumor", "pituitary": "brain_mri4/Testing/pituitary"},
    ),
    "chest-ct": ("CT", "ct_head_philips", {"COVID": "ct_covid2/COVID"}),
}


def module_at(path: Path) -> ModuleType:
    """Return a module of the tests: they are in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_dicom(folder: Path, synthetic: ModuleType) -> None:
    """Write series and pictures whose truth is known, and copy a vendor's series if it is here."""
    synthetic.write_series(folder / "volume" / "series", 6)
    several = synthetic.write_series(folder / "volume" / "several" / "one", 6)

    def other(dataset: object, number: int) -> None:
        dataset.SeriesInstanceUID = f"{synthetic.ROOT}5"
        dataset.SOPInstanceUID = f"{synthetic.ROOT}6.{number + 1}"

    synthetic.write_series(several.parent / "other", 6, other)
    pixels = synthetic.samples(1)
    inverted = synthetic.projection(4095 - pixels, photometric="MONOCHROME1")
    synthetic.write(synthetic.projection(pixels), folder / "picture" / "monochrome2" / "a.dcm")
    synthetic.write(inverted, folder / "picture" / "monochrome1" / "a.dcm")
    for number in range(2):
        image = synthetic.projection(synthetic.samples(number))
        image.SOPInstanceUID = f"{synthetic.ROOT}8.{number}"
        synthetic.write(image, folder / "picture" / "several" / f"{number}.dcm")
    vendor = REPOSITORY.parent / "shared" / "data" / "dicom" / "ct_head_philips"
    if vendor.is_dir():
        shutil.copytree(vendor, folder / "volume" / "vendor")
    else:
        print("skipped: a vendor's series (../shared/data/dicom is absent)")


def dicom_picture(pixels: Any, modality: str, synthetic: ModuleType) -> Any:
    """Return an 8-bit picture as 12-bit DICOM: an X-ray with a window, or one slice of CT or MR.

    Of CT the picture is what the window of lungs shows.
    """
    import numpy as np

    if modality == "XR":
        dataset = synthetic.projection(pixels.astype(np.uint16) * 4 + 1024)
        dataset.WindowCenter, dataset.WindowWidth = 1534, 1021  # from 1024 to 2044
        return dataset
    dataset = {"CT": synthetic.ct_slice, "MR": synthetic.mr_slice}[modality](0)
    shown = np.rint(pixels / 255.0 * 1500 - 1350 + 1024) if modality == "CT" else pixels * 8.0 + 900
    dataset.RescaleType = "HU" if modality == "CT" else "US"
    synthetic.set_pixels(dataset, shown.clip(0, 4095).astype(np.uint16), 12)
    return dataset


def write_shipped(out: Path, synthetic: ModuleType) -> None:
    """Copy the bundles that ship; write DICOM for each: an example, a vendor's, and known ones."""
    import numpy as np
    from PIL import Image
    from pydicom.misc import is_dicom

    for name, (modality, vendor, labelled) in SHIPPED.items():
        folder = f"{name}_classification"
        shutil.copytree(REPOSITORY / "bundles" / folder, out / name / folder)
        example = out / name / folder / "examples" / "images" / "generated-1.png"
        pictures = {"generated": example, **known_pictures(out / name / folder, labelled)}
        for label, picture in pictures.items():
            pixels = np.asarray(Image.open(picture).convert("L"))
            dataset = dicom_picture(pixels, modality, synthetic)
            synthetic.write(dataset, out / "dicom" / name / label / "a.dcm")
        found = (DATA / "dicom" / vendor).rglob("*") if vendor else ()
        slices = sorted(path for path in found if path.is_file() and is_dicom(path))
        if slices:
            (out / "dicom" / name / "vendor").mkdir(parents=True)
            shutil.copy(slices[len(slices) // 2], out / "dicom" / name / "vendor" / "a.dcm")


def known_pictures(bundle: Path, labelled: Mapping[str, str]) -> dict[str, Path]:
    """Return, by ``known-CLASS``, an image of each folder that the bundle itself gets right."""
    from medfuse.serving.predict import load_bundle

    predictor, found = load_bundle(bundle, "cpu"), {}
    for label, place in labelled.items():
        images = sorted(path for path in (DATA / place).glob("*") if path.is_file())[:LOOKED_AT]
        for image, said in zip(images, predictor.predict(images), strict=True):
            if (said.status, said.predicted) == ("ok", label):
                found[f"known-{label}"] = image
                break
    if not found:
        print(f"skipped: images of known class for {bundle.name} (../shared/data is absent)")
    return found


def main(out: Path) -> None:
    """Write all of it."""
    from medfuse.bundle.write import write_bundle

    volumes = module_at(TESTS / "bundle" / "volume_requests.py")
    pictures = module_at(TESTS / "bundle" / "conftest.py")
    write_bundle(volumes.volume_request(), out / "volume")
    write_bundle(pictures.make_request(), out / "picture")
    synthetic = module_at(TESTS / "data" / "dicom" / "synthetic.py")
    write_dicom(out / "dicom", synthetic)
    write_shipped(out, synthetic)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
