from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medfuse.config import CohortConfig, InputConfig
from medfuse.data import read_cohort
from medfuse.preprocessing import Preprocessing, resolve_input

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")

RANDOM = np.random.default_rng(0)
THORAX = (RANDOM.random((64, 48)) * 600 + 1200).astype(np.uint16)  # of 0 to 4095


def _projection(synthetic, path: Path, pixels, photometric="MONOCHROME2", window=None) -> str:
    dataset = synthetic.projection(pixels, 12, photometric)
    if window is not None:
        dataset.WindowCenter, dataset.WindowWidth = window
    return str(synthetic.write(dataset, path))


def test_x_rays_without_a_window_go_by_percentiles(synthetic, tmp_path):
    shown = _projection(synthetic, tmp_path / "a.dcm", THORAX, window=(1500, 600))
    plain = _projection(synthetic, tmp_path / "b.dcm", THORAX)
    found, facts = resolve_input(InputConfig(), [shown])
    assert (found.modality, found.intensity) == ("XR", "range")
    for references in ([plain], [shown, plain]):
        found, facts = resolve_input(InputConfig(), references)
        assert (found.modality, found.intensity) == ("XR", "percentile")
    image = Preprocessing(found, facts).load(plain)
    assert image.pixels.min() < 0.03
    assert image.pixels.max() > 0.97  # stored values fill a seventh of 12 bits
    assert "NO_VOI" in [event.code for event in image.events]


@pytest.mark.parametrize("window", [None, (1500, 600)])
def test_twins_in_both_photometric_interpretations_are_one_canonical_image(
    synthetic, tmp_path, window
):
    flipped = None if window is None else (4096 - window[0], window[1])
    two = _projection(synthetic, tmp_path / "2.dcm", THORAX, window=window)
    one = _projection(synthetic, tmp_path / "1.dcm", 4095 - THORAX, "MONOCHROME1", flipped)
    found, facts = resolve_input(InputConfig(), [one, two])
    prep = Preprocessing(found, facts)
    np.testing.assert_allclose(prep.load(one).pixels, prep.load(two).pixels, atol=1e-6)


def _pictures(folder: Path, shapes) -> list[str]:
    for number, shape in enumerate(shapes):
        pixels = RANDOM.integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [str(folder / f"{number}.png") for number in range(len(shapes))]


@pytest.mark.parametrize(
    ("shapes", "fit"),
    [
        ([(40, 40)] * 9 + [(40, 160)], "stretch"),
        ([(40, 56)] * 10, "stretch"),
        ([(120, 40)] * 10, "letterbox"),
        ([(40, 120)] * 10, "letterbox"),
        ([(40, 40)] * 8 + [(40, 120)] * 2, "letterbox"),
    ],
)
def test_images_are_stretched_unless_that_distorts_much(tmp_path, shapes, fit):
    found, facts = resolve_input(InputConfig(), _pictures(tmp_path, shapes))
    assert found.fit == fit
    assert facts["stretch"][0] == round(max(shapes[0]) / min(shapes[0]), 2)


def test_how_much_is_stretched_depends_on_the_size_and_what_is_given_stays(tmp_path):
    paths = _pictures(tmp_path, [(120, 40)] * 4)
    assert resolve_input(InputConfig(size=(240, 80)), paths)[0].fit == "stretch"
    assert resolve_input(InputConfig(fit="stretch"), paths)[0].fit == "stretch"


@pytest.mark.parametrize("name", ["brain_mri4", "cxr_covid3", "pneumoniamnist/pneumoniamnist.npz"])
def test_the_defaults_of_the_measured_sets_stay(shared_data, name):
    cohort = read_cohort(CohortConfig(path=str(shared_data / name)))
    found, _ = resolve_input(InputConfig(), [case.inputs["image"] for case in cohort.cases])
    settled = found.model_dump(include={"kind", "size", "fit", "intensity", "channels", "crop"})
    assert settled == {
        "kind": "image",
        "size": (224, 224),
        "fit": "stretch",
        "intensity": "range",
        "channels": 1,
        "crop": "none",
    }


@pytest.mark.parametrize(("modality", "told"), [("auto", True), ("MR", False)])
def test_it_is_told_what_images_of_no_named_modality_count_as(tmp_path, caplog, modality, told):
    caplog.set_level("INFO")
    resolve_input(InputConfig(modality=modality), _pictures(tmp_path, [(32, 32)]))
    assert f"images of modality {'other' if told else 'MR'}, intensity by" in caplog.text
    assert ("made as those of X-rays; if it is CT or MR, say so" in caplog.text) == told
