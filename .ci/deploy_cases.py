"""Write a bundle of volumes, one of pictures, and the DICOM folders that both are shown."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).resolve().parents[1]
TESTS = REPOSITORY / "tests"


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


def main(out: Path) -> None:
    """Write all of it."""
    from medfuse.bundle.write import write_bundle

    volumes = module_at(TESTS / "bundle" / "volume_requests.py")
    pictures = module_at(TESTS / "bundle" / "conftest.py")
    write_bundle(volumes.volume_request(), out / "volume")
    write_bundle(pictures.make_request(), out / "picture")
    write_dicom(out / "dicom", module_at(TESTS / "data" / "dicom" / "synthetic.py"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
