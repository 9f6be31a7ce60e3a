import sys

import nibabel as nib
import numpy as np
import pytest

from medfuse.config import InputConfig
from medfuse.errors import ImageError
from medfuse.preprocessing import Preprocessing

CONFIG = InputConfig(
    kind="volume", modality="MR", size=(32, 32, 32), spacing="none", fit="stretch",
    intensity="window", window=(0, 1000), bias_field="n4",
)  # fmt: skip


def _head(path) -> str:
    x, y, z = np.indices((32, 32, 32)) - 15.5
    body = (x**2 + y**2 + z**2 < 14**2) * 500.0
    body[(x - 4) ** 2 + y**2 + z**2 < 25] = 800
    field = np.exp(0.03 * x)
    noise = np.random.default_rng(0).normal(0, 5, body.shape)
    nib.save(nib.Nifti1Image((body * field + np.abs(noise)).astype(np.float32), np.eye(4)), path)
    return str(path)


def _unevenness(pixels: np.ndarray) -> float:
    """Log ratio of the brightness of two patches of one tissue, left and right, off the blob."""
    patches = [pixels[0][21:24, columns, 14:18].mean() for columns in (slice(7, 10), slice(22, 25))]
    return float(abs(np.log(patches[0] / patches[1])))


def test_n4_evens_out_a_slope_of_brightness(tmp_path):
    pytest.importorskip("SimpleITK", reason="promise not shown: N4 needs medfuse[n4]")
    path = _head(tmp_path / "a.nii")
    plain = Preprocessing(CONFIG.model_copy(update={"bias_field": "none"})).load(path).pixels
    prep = Preprocessing(CONFIG)
    corrected = prep.load(path).pixels
    assert "SimpleITK" in prep.requires
    assert _unevenness(plain) == pytest.approx(0.03 * 15, rel=0.1)
    assert _unevenness(corrected) < 0.02
    np.testing.assert_array_equal(corrected, prep.load(path).pixels)


def test_without_simpleitk_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ImageError, match=r"needs SimpleITK.*pip install medfuse\[n4\]"):
        Preprocessing(CONFIG).load(_head(tmp_path / "a.nii"))
