import logging
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.transforms import Compose

from medfuse.config import InputConfig
from medfuse.errors import ImageError
from medfuse.preprocessing import Preprocessing, resolve_input
from medfuse.preprocessing.nodes import instantiate
from medfuse.preprocessing.straight_grid import straightened
from medfuse.preprocessing.volume_transforms import Respaced, Straightend
from medfuse.registry.vendoring import copy_vendored

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")

SPACING = (1.5, 2.0, 4.0)


def _input(**settings) -> InputConfig:
    return InputConfig(
        **{
            "kind": "volume",
            "modality": "MR",
            "intensity": "percentile",
            "foreground": False,
            "size": (24, 20, 12),
            "fit": "stretch",
            "spacing": "none",
            **settings,
        }
    )


def _field(points: np.ndarray) -> np.ndarray:
    """A smooth function of places in mm ``(..., 3)``, without symmetry."""
    x, y, z = np.moveaxis(points, -1, 0)
    return 100 * np.sin(x / 17) + 60 * np.cos(y / 23 + 1) + 3 * z + 0.5 * x


def _places(shape, affine) -> np.ndarray:
    index = np.moveaxis(np.indices(shape), 0, -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def _affine(columns, origin=(-20.0, 11.0, 5.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns, float).T
    affine[:3, 3] = origin
    return affine


RAS = _affine(np.diag(SPACING))
SHAPE = (32, 30, 14)


def _save(path: Path, shape=SHAPE, affine=RAS, dtype=np.float32) -> str:
    nib.save(nib.Nifti1Image(_field(_places(shape, affine)).astype(dtype), affine), path)
    return str(path)


def _stored(codes: str, path: Path) -> str:
    """The volume of `_save`, its axes stored in another order and direction."""
    image = nib.load(_save(path.with_name("ras.nii")))
    turns = nib.orientations.axcodes2ornt(codes)
    nib.save(image.as_reoriented(nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), turns)), path)  # fmt: skip
    return str(path)


def test_slices_of_pls_stand_upright(tmp_path):
    voxels = np.zeros(SHAPE, np.float32)
    voxels[28:, 26:, 10:] = 1  # right, anterior, superior
    nib.save(nib.Nifti1Image(voxels, RAS), tmp_path / "a.nii")
    config = _input(size=(30, 32, 14), intensity="window", window=(0, 1))
    pixels = Preprocessing(config).load(str(tmp_path / "a.nii")).pixels
    assert pixels.shape == (1, 30, 32, 14)
    # Anterior is at the top, the patient's right at the left, superior last.
    np.testing.assert_array_equal(np.argwhere(pixels[0] > 0.5).min(0), (0, 0, 10))
    np.testing.assert_array_equal(np.argwhere(pixels[0] > 0.5).max(0), (3, 3, 13))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "AIL"])
@pytest.mark.parametrize("spacing", ["none", (3.0, 3.0, 3.0), (1.0, 1.0, 5.0)])
def test_the_way_a_volume_is_stored_changes_nothing(tmp_path, codes, spacing):
    prep = Preprocessing(_input(spacing=spacing, fit="letterbox"))
    one = prep.load(_save(tmp_path / "a.nii"))
    two = prep.load(_stored(codes, tmp_path / "b.nii.gz"))
    np.testing.assert_allclose(two.pixels, one.pixels, atol=1e-5)
    assert two.pixel_digest == one.pixel_digest


@pytest.mark.parametrize("spacing", [(3.0, 3.0, 3.0), (1.0, 4.0, 2.0), (1.5, 2.0, 4.0)])
def test_voxels_lie_where_their_affine_says(spacing):
    image = MetaTensor(torch.tensor(_field(_places(SHAPE, RAS)))[None].float(), affine=RAS)
    result = Respaced("image", spacing)({"image": image})["image"]
    affine = np.asarray(result.affine)
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), spacing)
    expected = _field(_places(result.shape[1:], affine))
    inner = (slice(2, -2),) * 3
    assert np.abs(np.asarray(result[0])[inner] - expected[inner]).max() < 3.5
    shift = np.asarray(result[0])[inner] - expected[inner]
    assert abs(shift.mean()) < 0.5


@pytest.mark.parametrize("shear", [0.0, 0.2])
def test_a_respaced_volume_still_knows_its_file(shear):
    affine = np.diag([1.0, 1, 2, 1])
    affine[0, 2] = shear
    meta = {"filename_or_obj": "a.nii"}
    data = {"image": MetaTensor(np.zeros((1, 4, 5, 6), np.float32), affine=affine, meta=meta)}
    for transform in (Straightend("image"), Respaced("image", (2.0, 1.0, 1.0))):
        data = transform(data)
    assert data["image"].meta["filename_or_obj"] == "a.nii"


def test_fewer_voxels_are_means_not_samples():
    stripes = torch.zeros(1, 40, 8, 8)
    stripes[:, ::2] = 1
    image = MetaTensor(stripes, affine=torch.eye(4))
    result = Respaced("image", (4.0, 1.0, 1.0))({"image": image})["image"]
    assert result.shape == (1, 10, 8, 8)
    assert np.abs(np.asarray(result) - 0.5).max() < 0.05
    np.testing.assert_array_equal(Respaced("image", (1, 1, 1))({"image": image})["image"], stripes)


def _tilted(degrees: float) -> np.ndarray:
    tangent = 4 * np.tan(np.radians(degrees))
    return _affine([(1.5, 0, 0), (0, 2, 0), (0, tangent, 4)])


@pytest.mark.parametrize("degrees", [-18.5, 16.5, 3.0])
@pytest.mark.parametrize("spacing", ["none", (2.0, 2.0, 4.0)])
def test_a_tilted_volume_shows_the_same_body_as_a_straight_one(tmp_path, degrees, spacing):
    shape, origin = (40, 60, 20), np.array([-30.0, -60, -40])
    straight, tilted = RAS.copy(), _tilted(degrees)
    straight[:3, 3], tilted[:3, 3] = origin, origin
    tilted[1, 3] -= tilted[1, 2] * shape[2] / 2

    def ball(affine):
        places = _places(shape, affine) - np.array([0.0, 0, 0])
        return (1000 * np.exp(-(((places - (2, 1, -3)) / (14, 20, 16)) ** 2).sum(-1))).astype("f4")

    for name, affine in (("s.nii", straight), ("t.nii", tilted)):
        nib.save(nib.Nifti1Image(ball(affine) - 1024, affine), tmp_path / name)
    image = nib.load(tmp_path / "t.nii")
    chain = [Straightend("image")]
    if spacing != "none":
        chain.append(Respaced("image", spacing))
    data = {"image": MetaTensor(torch.tensor(np.asarray(image.dataobj))[None], affine=tilted)}
    result = Compose(chain)(data)["image"]
    affine = np.asarray(result.affine)
    assert straightened(affine) is None
    places = _places(result.shape[1:], affine)
    expected = 1000 * np.exp(-(((places - (2, 1, -3)) / (14, 20, 16)) ** 2).sum(-1)) - 1024
    found = np.asarray(result[0])
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.995
    assert found.min() == pytest.approx(-1024, abs=1)
    corners = _places((2, 2, 2), tilted @ np.diag([*(np.array(shape) - 1), 1.0])).reshape(-1, 3)
    index = (corners - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    assert (index > -1).all()
    assert (index < np.array(result.shape[1:])).all()
    loaded = Preprocessing(_input(spacing=spacing)).load(str(tmp_path / "t.nii"))
    assert loaded.pixels.shape == (1, 24, 20, 12)


def test_a_straight_or_oblique_volume_is_not_touched():
    turn = nib.eulerangles.euler2mat(0.3, 0.2, 0.1)
    oblique = RAS.copy()
    oblique[:3, :3] = turn @ RAS[:3, :3]
    for affine in (RAS, oblique):
        image = MetaTensor(torch.rand(1, 5, 6, 7), affine=affine)
        assert Straightend("image")({"image": image})["image"] is image


def test_a_volume_that_would_fill_the_memory_is_refused(tmp_path):
    path = _save(tmp_path / "a.nii", affine=_affine(np.diag([100.0, 100, 100])))
    with pytest.raises(ImageError, match=r"a\.nii: the volume would become .*larger spacing"):
        Preprocessing(_input(spacing=(0.5, 0.5, 0.5))).load(path)


def test_windows_become_channels(tmp_path):
    path = _save(tmp_path / "a.nii")
    several = _input(intensity="window", modality="CT", windows=["lung", (0, 100), "bone"])
    pixels = Preprocessing(several).load(path).pixels
    assert pixels.shape == (3, 24, 20, 12)
    for channel, window in enumerate([(-1350, 150), (0, 100), (-300, 1200)]):
        one = Preprocessing(_input(intensity="window", modality="CT", window=window)).load(path)
        np.testing.assert_allclose(pixels[channel], one.pixels[0], atol=1e-6)


def test_a_z_score_maps_three_deviations_to_the_unit_interval(tmp_path):
    path = _save(tmp_path / "a.nii")
    config = _input(intensity="zscore", size=(30, 32, 14))
    voxels = np.asarray(nib.load(path).dataobj)
    z = ((voxels - voxels.mean()) / voxels.std() + 3) / 6
    expected = np.clip(z, 0, 1)[::-1, ::-1].transpose(1, 0, 2)
    np.testing.assert_allclose(Preprocessing(config).load(path).pixels[0], expected, atol=1e-5)


@pytest.mark.parametrize("intensity", ["zscore", "percentile"])
def test_statistics_inside_the_foreground_do_not_care_for_the_background(tmp_path, intensity):
    ball = (np.indices((24, 24, 24)) - 11.5) ** 2
    body = np.where(ball.sum(0) < 64, 500 + 50 * np.sin(np.arange(24)), 0).astype(np.float32)
    wide = np.pad(body, 12)
    for name, voxels in (("a.nii", body), ("b.nii", wide)):
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / name)
    prep = Preprocessing(
        _input(intensity=intensity, foreground=True, crop="foreground", size=(16, 16, 16))
    )
    one, two = (prep.load(str(tmp_path / name)).pixels for name in ("a.nii", "b.nii"))
    np.testing.assert_allclose(one, two, atol=1e-4)
    assert one.std() > 0.05
    plain = Preprocessing(_input(intensity=intensity, crop="foreground", size=(16, 16, 16)))
    assert np.abs(plain.load(str(tmp_path / "b.nii")).pixels - two).max() >= 0


def test_a_letterbox_keeps_the_proportions_of_a_volume(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((20, 40, 10), np.float32), np.eye(4)), tmp_path / "a.nii")
    config = _input(size=(40, 40, 40), fit="letterbox", intensity="window", window=(0, 1))
    pixels = Preprocessing(config).load(str(tmp_path / "a.nii")).pixels[0]
    np.testing.assert_array_equal(np.argwhere(pixels).min(0), (0, 10, 15))
    np.testing.assert_array_equal(np.argwhere(pixels).max(0), (39, 29, 24))


def _ball(path: Path, field: float, spacing: float = 1.0, at: tuple[float, ...] = (0, 0, 0)) -> str:
    """A ball of 30 mm across in a cubic field of view of so many mm."""
    side = round(field / spacing)
    places = (np.indices((side, side, side)) - (side - 1) / 2) * spacing
    distance = np.sqrt(((places - np.reshape(at, (3, 1, 1, 1))) ** 2).sum(0))
    voxels = np.clip((15 - distance) / spacing + 0.5, 0, 1).astype(np.float32)
    nib.save(nib.Nifti1Image(1000 * voxels, np.diag([spacing] * 3 + [1])), path)
    return str(path)


def _radius(pixels: np.ndarray) -> float:
    """Radius in voxels of a ball of so many voxels."""
    return float((pixels[0].sum() * 3 / (4 * np.pi)) ** (1 / 3))


FIELDS = (120, 150, 180, 210, 240)
_BALL = {"intensity": "window", "window": (0, 1000), "spacing": (3.0, 3.0, 3.0), "fit": "letterbox"}


@pytest.mark.parametrize("size", [80, 64, 40, 16])
def test_a_ball_is_as_large_in_every_field_of_view(tmp_path, size):
    prep = Preprocessing(_input(**_BALL, size=(size,) * 3))
    files = [_ball(tmp_path / f"{field}.nii", field, 1 + field % 50 / 50) for field in FIELDS]
    radii = [_radius(prep.load(file).pixels) for file in files]
    assert radii == pytest.approx([5.0] * len(FIELDS), rel=0.03)


def test_chosen_spacing_and_size_keep_the_scale_and_hold_every_volume(tmp_path):
    files = [_ball(tmp_path / f"{field}.nii", field, 1.5) for field in FIELDS]
    config, facts = resolve_input(InputConfig(modality="CT", window=(0, 1000)), files)
    images = [Preprocessing(config, facts).load(file) for file in files]
    expected = 15 / config.spacing[0]
    assert [_radius(i.pixels) for i in images] == pytest.approx([expected] * 5, rel=0.03)
    assert [i.events for i in images] == [()] * 5


def test_a_larger_volume_loses_only_what_is_outside_the_foreground_and_it_is_told(tmp_path):
    file = _ball(tmp_path / "a.nii", 180, 1.5, at=(60, -60, 0))
    image = Preprocessing(_input(**_BALL, size=(40, 40, 60))).load(file)
    assert _radius(image.pixels) == pytest.approx(5, rel=0.03)
    # PLS: the right of the patient is at the left; the ball lies at the edges of what stays.
    ball = image.pixels[0]
    center = [float((places * ball).sum() / ball.sum()) for places in np.indices(ball.shape)]
    assert center == pytest.approx((34.5, 4.5, 29.5), abs=1.1)
    (event,) = image.events
    assert event.code == "MARGIN_CUT"
    assert event.detail == "60 x 60 x 60 to 40 x 40 x 60, only outside the foreground"


def test_a_body_that_does_not_fit_is_shrunk_as_a_whole_and_it_is_told(tmp_path):
    body = np.zeros((96, 60, 30), np.float32)
    body[2:94, 5:55, 5:25] = 1
    nib.save(nib.Nifti1Image(body, np.diag([3.0, 3, 3, 1])), tmp_path / "a.nii")
    config = _input(**{**_BALL, "window": (0, 1)}, size=(46, 46, 46))
    image = Preprocessing(config).load(str(tmp_path / "a.nii"))
    assert [e.code for e in image.events] == ["MARGIN_CUT", "SHRUNK_TO_FIT"]
    assert image.events[1].detail == "50 x 92 x 30 by 0.5 into 46 x 46 x 46"
    places = np.argwhere(image.pixels[0] > 0.5)
    np.testing.assert_allclose(np.ptp(places, axis=0) + 1, (25, 46, 10), atol=1)


def test_a_bundle_writes_to_its_log_what_it_cuts_and_shrinks(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("medfuse"), "propagate", True)
    file = _ball(tmp_path / "a.nii", 180, 1.5)
    chain = Compose(instantiate(Preprocessing(_input(**_BALL, size=(40, 8, 40))).monai_config()))
    chain({"image": file})
    told = [r.getMessage() for r in caplog.records if r.name.startswith("medfuse.preprocessing")]
    assert [text.split(":")[0] for text in told] == ["MARGIN_CUT", "SHRUNK_TO_FIT"]


def test_a_volume_without_geometry_is_taken_as_it_lies(tmp_path):
    stack = np.random.default_rng(0).random((12, 24, 20)).astype(np.float32)
    np.save(tmp_path / "a.npy", stack)
    config = _input(intensity="range")
    pixels = Preprocessing(config).load(str(tmp_path / "a.npy")).pixels
    np.testing.assert_allclose(pixels[0], np.moveaxis(stack, 0, -1), atol=1e-6)
    with pytest.raises(ImageError, match=r"a\.npy: says no spacing.*NO_GEOMETRY"):
        Preprocessing(_input(spacing=(1, 1, 1))).load(str(tmp_path / "a.npy"))


CONFIGS = [
    _input(),
    _input(spacing=(2.0, 2.0, 4.0), fit="letterbox", crop="foreground", foreground=True),
    _input(intensity="zscore", foreground=True, orientation="RAS"),
    _input(intensity="window", windows=["lung", "bone"], spacing=(3.0, 3.0, 3.0)),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_the_monai_list_gives_what_training_saw(tmp_path, config):
    prep = Preprocessing(config)
    chain = Compose(instantiate(prep.monai_config()))
    for affine in (RAS, _tilted(12)):
        path = _save(tmp_path / "a.nii.gz", affine=affine)
        served = torch.as_tensor(chain({"image": path})["image"])
        assert served.dtype == torch.float32
        np.testing.assert_array_equal(served.numpy(), prep.load(path).pixels)


def test_a_host_that_drops_the_affine_is_refused(tmp_path):
    chain = Compose(instantiate(Preprocessing(_input()).monai_config()))
    path = _save(tmp_path / "a.nii")
    set_track_meta(False)
    try:
        with pytest.raises(RuntimeError) as caught:
            chain({"image": path})
    finally:
        set_track_meta(True)
    # Older MONAI refuses by itself, before the transform is asked.
    text = str(caught.value.__cause__)
    assert "without its affine" in text or "Metadata not available" in text


ISOLATED = """
import json, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "medfuse":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
torch.set_num_threads(1)  # as medfuse reads: the same bits
nodes = json.loads(open(sys.argv[2]).read())
chain = Compose(ConfigParser({"t": nodes}).get_parsed_content("t"))
np.save(sys.argv[4], chain({"image": sys.argv[3]})["image"].numpy())
assert "medfuse" not in sys.modules
"""


def _served_without_medfuse(prep: Preprocessing, reference: str, folder: Path) -> np.ndarray:
    import json

    copy_vendored(prep.vendored_modules, folder / "scripts")
    (folder / "nodes.json").write_text(json.dumps(prep.monai_config()))
    arguments = [str(folder), str(folder / "nodes.json"), reference, str(folder / "out.npy")]
    subprocess.run([sys.executable, "-I", "-W", "ignore", "-c", ISOLATED, *arguments], check=True)
    return np.load(folder / "out.npy")


@pytest.mark.slow
def test_the_list_runs_from_copied_files_where_medfuse_is_absent(tmp_path):
    prep = Preprocessing(CONFIGS[1])
    path = _save(tmp_path / "a.nii.gz", affine=_tilted(12))
    served = _served_without_medfuse(prep, path, tmp_path)
    np.testing.assert_array_equal(served, prep.load(path).pixels)


def _philips_as_nifti(shared_data, path: Path) -> str:
    from medfuse.data.volume_file import read_volume

    volume = read_volume(str(shared_data / "dicom/ct_head_philips/S2010"))
    nib.save(nib.Nifti1Image(volume.pixels.astype(np.int16), volume.affine), path)
    return str(path)


def test_dicom_and_nifti_of_one_volume_are_one_image(shared_data, tmp_path):
    path = _philips_as_nifti(shared_data, tmp_path / "a.nii.gz")
    turned = nib.as_closest_canonical(nib.load(path))
    nib.save(turned, tmp_path / "ras.nii.gz")
    config = _input(
        modality="CT", intensity="window", windows=["brain", "bone"], spacing=(2.0, 2.0, 5.0),
        size=(96, 96, 32), fit="letterbox", crop="foreground",
    )  # fmt: skip
    prep = Preprocessing(config)
    dicom = prep.load(str(shared_data / "dicom/ct_head_philips"))
    assert dicom.pixels.std() > 0.1
    for name in ("a.nii.gz", "ras.nii.gz"):
        nifti = prep.load(str(tmp_path / name))
        np.testing.assert_allclose(nifti.pixels, dicom.pixels, atol=1e-4)
        assert nifti.pixel_digest == dicom.pixel_digest


@pytest.mark.slow
@pytest.mark.long
def test_a_bundle_reads_a_dicom_folder_where_medfuse_is_absent(shared_data, tmp_path):
    prep = Preprocessing(_input(modality="CT", intensity="window", window=(0, 80)))
    reference = str(shared_data / "dicom/ct_head_philips/S2010")
    served = _served_without_medfuse(prep, reference, tmp_path)
    np.testing.assert_array_equal(served, prep.load(reference).pixels)
    package = Path("medfuse/data/dicom")
    for file in package.glob("*.py"):
        assert (tmp_path / "scripts/data_dicom" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("numbers", [[3, 1, 2, 0, 5, 4], [7] * 6, [None] * 6])
def test_the_model_input_does_not_know_instance_numbers_or_file_names(synthetic, tmp_path, numbers):
    def renumber(dataset, number: int) -> None:
        del dataset.InstanceNumber
        if numbers[number] is not None:
            dataset.InstanceNumber = numbers[number]

    straight = synthetic.write_series(tmp_path / "a", 6)
    other = synthetic.write_series(tmp_path / "b", 6, renumber)
    for place, path in enumerate(sorted(other.iterdir())):
        path.rename(other / f"{(place * 5 + 2) % 6}-renamed")
    found, facts = resolve_input(InputConfig(kind="volume"), [str(straight)])
    prep = Preprocessing(found, facts)
    one, two = prep.load(str(straight)), prep.load(str(other))
    assert (one.digest, one.pixel_digest) == (two.digest, two.pixel_digest)
    assert one.pixels.std() > 0.01
