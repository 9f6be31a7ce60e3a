"""A second run on the same files decodes none of them."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from medfuse.config import InputConfig, parse_experiment
from medfuse.features.bank import FeatureBank
from medfuse.preprocessing import image_chain, resolve_volumes
from medfuse.workflows.prepare import prepare_cohort
from medfuse.workflows.settle_memo import resolve_known

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")


@pytest.fixture
def cohort(synthetic: ModuleType, tmp_path: Path) -> Path:
    """Series of DICOM, a 4D NIfTI file of which two volumes are named, and two plain ones."""
    random = np.random.default_rng(0)
    folder = tmp_path / "cohort"
    rows = []
    for number in range(2):
        synthetic.write_series(folder / f"series{number}", 5 + number)
        rows.append(f"series{number}")
    shapes = {"four": (16, 16, 8, 3), "one": (16, 16, 8), "two": (16, 16, 8)}
    for name, shape in shapes.items():
        voxels = random.integers(-1000, 1000, shape).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([0.4, 0.5, 2, 1])), folder / f"{name}.nii.gz")
    rows += ["four.nii.gz::0", "four.nii.gz::2", "one.nii.gz", "two.nii.gz"]
    lines = [f"c{i},{row},{'ab'[i % 2]},train" for i, row in enumerate(rows)]
    (folder / "cohort.csv").write_text("\n".join(["case_id,image,label,role", *lines]))
    return folder / "cohort.csv"


class Reads:
    """Counts the volumes that are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for module, name in (
            (image_chain, "read_volume"),
            (resolve_volumes, "read_volume"),
            (resolve_volumes, "volume_header"),
        ):
            monkeypatch.setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, read):
        def counted(reference: str, *readers: object):
            self.calls.append(reference)
            return read(reference, *readers)

        return counted


def _prepare(cohort: Path, bank: FeatureBank):
    data = {
        "cohort": {"path": str(cohort)},
        "inputs": {"image": {"kind": "volume"}},
        "sources": [{"use": "any"}],
    }
    return prepare_cohort(parse_experiment(data), bank, progress=False).inputs["image"]


def test_a_second_run_on_volumes_decodes_nothing(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr(logging.getLogger("medfuse"), "propagate", True)
    caplog.set_level("INFO", logger="medfuse")
    bank, reads = FeatureBank(tmp_path / "bank"), Reads(monkeypatch)
    first = _prepare(cohort, bank)
    assert len(set(reads.calls)) == 6
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("input: ")]
    assert said
    reads.calls.clear()
    caplog.clear()
    second = _prepare(cohort, bank)
    assert reads.calls == []
    assert (second.config, second.fingerprint) == (first.config, first.fingerprint)
    assert second.facts == first.facts
    assert second.preprocessing.digest() == first.preprocessing.digest()
    assert [r.getMessage() for r in caplog.records if r.getMessage().startswith("input: ")] == said


def test_a_changed_series_or_setting_is_looked_at_again(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = FeatureBank(tmp_path / "bank")
    references = [str(cohort.parent / f"series{n}") for n in range(2)]
    config = InputConfig(kind="volume")
    resolve_known(config, references, bank)
    reads = Reads(monkeypatch)
    resolve_known(config, references, bank)
    assert reads.calls == []
    os.utime(cohort.parent / "series1" / "000.dcm", ns=(1, 1))
    resolve_known(config, references, bank)
    assert len(reads.calls) == 2
    resolve_known(InputConfig(kind="volume", fit="stretch"), references, bank)
    assert len(reads.calls) == 4


def test_how_a_file_cannot_be_read_is_not_remembered(cohort: Path, tmp_path: Path) -> None:
    bank = FeatureBank(tmp_path / "bank")
    references = [str(cohort.parent / "series0"), str(cohort.parent / "absent.nii")]
    for _ in range(2):
        _, fingerprint = resolve_known(InputConfig(kind="volume"), references, bank)
        assert fingerprint["unreadable"] == 1
    assert not [file for file in bank.stats().files if file.rows]
