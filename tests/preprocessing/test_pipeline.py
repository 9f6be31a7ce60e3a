import inspect
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import set_track_meta
from monai.transforms import Compose, LoadImage, Resized
from PIL import Image

from medfuse.config import CohortConfig, InputConfig, SplitConfig
from medfuse.data import assign_roles, read_cohort, resolve_leaks
from medfuse.data.image_file import read_pixels
from medfuse.errors import ConfigError, ImageError
from medfuse.preprocessing import Preprocessing, image_chain, resolve_input
from medfuse.preprocessing.image_chain import ImageChain
from medfuse.preprocessing.nodes import instantiate
from medfuse.preprocessing.transforms import RequireUnitd, SqueezeTo2Dd
from medfuse.registry.vendoring import copy_vendored

# MONAI says so of its own DICOM reader, which is not used here.
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")

RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (40, 30), np.uint8)
DEEP = RANDOM.integers(0, 65536, (40, 30), np.uint16)
COLOR = RANDOM.integers(0, 256, (40, 30, 3), np.uint8)


def _save(path: Path, array) -> str:
    Image.fromarray(array).save(path)
    return str(path)


def _input(**settings) -> InputConfig:
    return InputConfig(
        **{"kind": "image", "modality": "other", "intensity": "range", "size": (40, 30), **settings}
    )


def test_8_and_16_bit_fill_the_unit_interval(tmp_path):
    for array, full in ((GRAY, 255), (DEEP, 65535)):
        image = Preprocessing(_input()).load(_save(tmp_path / "a.png", array))
        assert image.pixels.dtype == np.float32
        assert image.pixels.shape == (1, 40, 30)
        np.testing.assert_allclose(image.pixels[0], array / full, atol=1e-7)


def test_nothing_is_decoded_beside_the_first_image(tmp_path, monkeypatch):
    good, lock, running = _save(tmp_path / "a.png", GRAY), Lock(), [0]
    (tmp_path / "bad.png").write_bytes(b"no image")
    beside = []

    def read(reference, readers):
        with lock:
            running[0] += 1
        time.sleep(0.05)
        try:
            return read_pixels(reference, readers)
        finally:
            with lock:
                beside.append(running[0])
                running[0] -= 1

    monkeypatch.setattr(image_chain, "read_pixels", read)
    preprocessing = Preprocessing(_input())
    # One that cannot be read sets nothing up; of two that wait, the first is the first image.
    with ThreadPoolExecutor(4) as pool:
        bad = pool.submit(preprocessing.load, str(tmp_path / "bad.png"))
        assert isinstance(bad.exception(), ImageError)
        assert len(list(pool.map(preprocessing.load, [good] * 2))) == 2
        assert beside == [1, 1, 1]
        assert len(list(pool.map(preprocessing.load, [good] * 4))) == 4
    assert max(beside) > 1


def test_enlarging_is_that_of_pillow_not_shifted(tmp_path):
    small = Image.fromarray(RANDOM.random((28, 28), np.float32))
    np.save(tmp_path / "a.npy", np.asarray(small))
    image = Preprocessing(_input(size=(224, 224))).load(str(tmp_path / "a.npy"))
    expected = np.asarray(small.resize((224, 224), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(image.pixels[0], expected, atol=1e-5)


def test_shrinking_smooths_first(tmp_path):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    image = Preprocessing(_input(size=(16, 16))).load(_save(tmp_path / "a.png", stripes))
    inner = image.pixels[0, 2:-2, 2:-2]
    assert np.abs(inner - 0.5).max() < 0.02


def test_rgb_becomes_gray_by_luma_and_gray_becomes_rgb(tmp_path):
    gray = Preprocessing(_input()).load(_save(tmp_path / "c.png", COLOR)).pixels
    np.testing.assert_allclose(gray[0], COLOR @ [0.299, 0.587, 0.114] / 255, atol=1e-6)
    three = Preprocessing(_input(channels=3)).load(_save(tmp_path / "g.png", GRAY)).pixels
    assert three.shape == (3, 40, 30)
    np.testing.assert_array_equal(three[0], three[2])


def test_a_window_cuts_in_stored_units(tmp_path):
    np.save(tmp_path / "a.npy", np.linspace(-1000, 1000, 1200).reshape(40, 30).astype(np.int16))
    config = _input(intensity="window", window=(-160, 240))
    pixels = Preprocessing(config).load(str(tmp_path / "a.npy")).pixels[0]
    stored = np.load(tmp_path / "a.npy")
    np.testing.assert_allclose(pixels, np.clip((stored + 160) / 400, 0, 1), atol=1e-6)


def test_percentiles_do_not_care_for_offset_and_scale(tmp_path):
    prep = Preprocessing(_input(intensity="percentile"))
    np.save(tmp_path / "a.npy", DEEP.astype(np.float32))
    np.save(tmp_path / "b.npy", DEEP.astype(np.float32) * 3 - 700)
    one, two = (prep.load(str(tmp_path / name)).pixels for name in ("a.npy", "b.npy"))
    np.testing.assert_allclose(one, two, atol=1e-5)
    assert one.min() == 0
    assert one.max() == 1


def test_an_image_of_one_value_becomes_black_not_nan(tmp_path):
    prep = Preprocessing(_input(intensity="percentile"))
    assert not prep.load(_save(tmp_path / "a.png", np.full((9, 9), 77, np.uint8))).pixels.any()


def test_a_letterbox_keeps_proportions_on_black(tmp_path):
    path = _save(tmp_path / "a.png", np.full((40, 20), 255, np.uint8))
    pixels = Preprocessing(_input(size=(60, 80), fit="letterbox")).load(path).pixels[0]
    assert pixels.shape == (60, 80)
    np.testing.assert_allclose(pixels[:, 25:55], 1, atol=1e-6)
    assert pixels.sum() == pytest.approx(60 * 30)


def test_floats_outside_the_unit_interval_are_refused_in_range_mode(tmp_path):
    np.save(tmp_path / "a.npy", DEEP.astype(np.float64))
    with pytest.raises(ImageError, match=r"a\.npy: floats go from .*Use percentile or window"):
        Preprocessing(_input()).load(str(tmp_path / "a.npy"))


# MONAI 1.5.0 itself refuses every file there: "Metadata not available".
NEEDS_NO_METADATA = pytest.mark.skipif(
    "meta_dict=" not in inspect.getsource(LoadImage.__call__),
    reason="this MONAI finds no channels without metadata",
)
CONFIGS = [
    _input(),
    _input(size=(224, 224), channels=3),
    _input(size=(17, 23), fit="letterbox"),
    _input(size=(20, 20), intensity="percentile"),
    _input(size=(20, 20), intensity="window", window=(10, 200)),
]


@pytest.fixture
def threads():
    """Set torch's threads for a test; training reads in one."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_more_threads_than_training_has_move_no_value_by_more_than_rounding(tmp_path, threads):
    prep = Preprocessing(CONFIGS[1])
    chain = Compose(instantiate(prep.monai_config()))
    path = _save(tmp_path / "a.png", COLOR)
    threads(4)
    served = torch.as_tensor(chain({"image": path})["image"])
    np.testing.assert_allclose(served.numpy(), prep.load(path).pixels, rtol=0, atol=5e-6)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("track", [True, pytest.param(False, marks=NEEDS_NO_METADATA)])
def test_the_monai_list_gives_what_training_saw_with_and_without_metadata(
    tmp_path, config, track, threads
):
    threads(1)
    prep = Preprocessing(config)
    chain = Compose(instantiate(prep.monai_config()))
    for array in (GRAY, COLOR):
        path = _save(tmp_path / "a.png", array)
        expected = prep.load(path).pixels
        set_track_meta(track)
        try:
            served = torch.as_tensor(chain({"image": path})["image"])
        finally:
            set_track_meta(True)
        assert served.dtype == torch.float32
        np.testing.assert_array_equal(served.numpy(), expected)


def test_the_list_runs_from_copied_files_alone(tmp_path, monkeypatch):
    prep = Preprocessing(CONFIGS[2])
    copy_vendored(prep.vendored_modules, tmp_path / "scripts")
    assert "medfuse." not in "".join(p.read_text() for p in (tmp_path / "scripts").glob("*.py"))
    monkeypatch.syspath_prepend(str(tmp_path))
    chain = Compose(ConfigParser({"t": prep.monai_config()}).get_parsed_content("t"))
    path = _save(tmp_path / "a.png", DEEP)
    np.testing.assert_array_equal(chain({"image": path})["image"].numpy(), prep.load(path).pixels)


def test_monai_does_not_hand_a_refused_file_to_another_reader(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[np.nan, 0.5]]))
    chain = Compose(instantiate(Preprocessing(_input()).monai_config()))
    with pytest.raises(RuntimeError) as caught:
        chain({"image": str(tmp_path / "a.npy")})
    assert "NON_FINITE" in str(caught.value.__cause__)


def test_digests_tell_pictures_files_and_settings_apart(tmp_path):
    prep = Preprocessing(_input())
    png, bmp = (prep.load(_save(tmp_path / n, GRAY)) for n in ("a.png", "a.bmp"))
    assert (png.pixel_digest, png.digest) == (bmp.pixel_digest, bmp.digest)
    turned = prep.load(_save(tmp_path / "b.png", GRAY[::-1].copy()))
    assert turned.pixel_digest != png.pixel_digest
    wider = Preprocessing(_input(size=(50, 50)))
    assert wider.load(str(tmp_path / "a.png")).pixel_digest == png.pixel_digest
    assert wider.load(str(tmp_path / "a.png")).digest != png.digest
    assert wider.digest() != prep.digest() == Preprocessing(_input()).digest()


def test_threads_share_one_preprocessing(tmp_path):
    paths = [_save(tmp_path / f"{i}.png", GRAY + np.uint8(i)) for i in range(20)]
    prep = Preprocessing(_input())
    one = [prep.load(path).digest for path in paths]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda path: prep.load(path).digest, paths)) == one
    assert len(set(one)) == 20


def test_auto_takes_the_range_of_8_bit_and_percentiles_of_16_bit(tmp_path):
    config = InputConfig()
    gray, facts = resolve_input(config, [_save(tmp_path / "a.png", GRAY)])
    assert (gray.intensity, gray.modality, facts["bits"]) == ("range", "other", 8)
    deep, facts = resolve_input(config, [_save(tmp_path / "b.png", DEEP)])
    assert (deep.intensity, facts["bits"], facts["size_max"]) == ("percentile", 16, [40, 30])


def test_a_16_bit_image_beside_8_bit_ones_is_named(tmp_path):
    paths = [_save(tmp_path / f"{i}.png", GRAY) for i in range(3)]
    paths.append(_save(tmp_path / "deep.png", DEEP))
    with pytest.raises(ImageError, match=r"deep\.png: 16-bit image beside 8-bit ones"):
        resolve_input(InputConfig(), paths)
    resolved, facts = resolve_input(InputConfig(intensity="percentile"), paths)
    assert Preprocessing(resolved, facts).load(paths[-1]).pixels.max() > 0.9


def test_a_16_bit_image_behind_the_sample_is_refused_when_loaded(tmp_path):
    resolved, facts = resolve_input(InputConfig(), [_save(tmp_path / "a.png", GRAY)])
    with pytest.raises(ImageError, match=r"deep\.png: found 16-bit samples, expected 8-bit"):
        Preprocessing(resolved, facts).load(_save(tmp_path / "deep.png", DEEP))


def test_a_sample_without_one_readable_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ImageError, match="EMPTY_FILE.* None of 1 images can be read"):
        resolve_input(InputConfig(), [str(tmp_path / "a.png")])


def test_an_unresolved_input_is_refused():
    with pytest.raises(ConfigError, match="intensity is auto"):
        Preprocessing(InputConfig())


def test_hosts_that_replace_the_reader_are_caught():
    with pytest.raises(ValueError, match="intensities go from 0 to 4000 after preprocessing"):
        RequireUnitd("image")({"image": torch.tensor([[[0.0, 4000.0]]])})
    with pytest.raises(ValueError, match="intensities go from nan"):
        RequireUnitd("image")({"image": torch.tensor([[[float("nan")]]])})
    squeeze = SqueezeTo2Dd("image")
    assert squeeze({"image": torch.zeros(1, 4, 5, 1)})["image"].shape == (1, 4, 5)
    with pytest.raises(ValueError, match="expected one 2D image"):
        squeeze({"image": torch.zeros(1, 4, 5, 2)})


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "kind", "groups"),
    [("brain_mri4", "pixels", 30), ("pneumoniamnist/pneumoniamnist.npz", "pixels", 8)],
)
def test_the_known_leaks_of_public_sets_are_found_and_dropped(shared_data, name, kind, groups):
    cohort = read_cohort(CohortConfig(path=str(shared_data / name)))
    prep = Preprocessing(_input(size=(8, 8)))
    digests = {c.case_id: prep.load(c.inputs["image"]).pixel_digest for c in cohort.cases}
    clean, report = resolve_leaks(cohort, digests, "drop_from_training")
    assert report.summary()["found"] == {kind: groups}
    assert len(clean.part("test")) == len(cohort.part("test"))
    split = assign_roles(clean, SplitConfig(calibration=0.1), digests)
    assert resolve_leaks(split, digests)[1].leaks == ()


def test_a_file_is_read_by_one_thread_and_the_others_come_back(tmp_path, monkeypatch):
    seen = []
    prep = Preprocessing(_input())
    path = _save(tmp_path / "a.png", GRAY)
    transformed = ImageChain._transformed

    def noting(self, image):
        seen.append(torch.get_num_threads())
        return transformed(self, image)

    monkeypatch.setattr(ImageChain, "_transformed", noting)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        prep.load(path)
        assert (seen, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(before)


def test_an_image_that_has_its_size_is_not_resized(tmp_path, monkeypatch):
    path = _save(tmp_path / "a.png", GRAY)
    exact, larger = Preprocessing(_input()), Preprocessing(_input(size=(48, 30)))
    asked = []
    monkeypatch.setattr(Resized, "__call__", lambda _, data: asked.append(1) or data)
    exact.load(path)
    assert not asked
    larger.load(path)
    assert asked


@pytest.mark.slow
def test_what_takes_long_to_import_is_imported_when_it_is_used(tmp_path):
    path = _save(tmp_path / "a.png", GRAY)
    program = f"""
import sys
import medfuse.workflows.compare
print(bool({{"pydicom", "scipy.stats", "sklearn", "torch._dynamo"}} & set(sys.modules)))
import medfuse.workflows.fit_imports
from medfuse.config import AugmentationConfig, InputConfig
from medfuse.preprocessing import Preprocessing, drawing_for, resolve_input

given, seen = resolve_input(InputConfig(size=(8, 8)), [{str(path)!r}])
preprocessing = Preprocessing(given, seen)
preprocessing.digest(), preprocessing.monai_config(), drawing_for(AugmentationConfig(), given, seen)
print("monai" in sys.modules)
preprocessing.load({str(path)!r})
print("monai" in sys.modules)
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["False", "False", "True"]
