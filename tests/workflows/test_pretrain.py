from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

import medfuse
from medfuse.config import InputConfig
from medfuse.data.image_file import read_pixels
from medfuse.data.pixel_digest import pixel_digest
from medfuse.errors import CohortError, ConfigError, OutputError, WeightsError
from medfuse.pretraining.settings import parse_settings
from medfuse.registry.described import WEIGHTS
from medfuse.workflows.pretrain import PretrainingOutcome, pretrain
from medfuse.workflows.pretrain_labels import read_labelled, with_held_out
from medfuse.workflows.pretrain_sets import ImageSet
from medfuse.workflows.seen import seen_by_sources
from medfuse.workflows.sources import verify_source

from .conftest import small_experiment

SMALL = {"backbone": "timm:test_resnet", "size": 32, "epochs": 1, "batch_size": 16}


def run(images: Path, out: Path, exclude=(), **changes) -> PretrainingOutcome:
    settings = parse_settings({**SMALL, **changes})
    exclude = [str(path) for path in exclude]
    return pretrain([str(images)], settings, out, exclude=exclude, progress=False)


def digests_of(folder: Path) -> set[str]:
    return {pixel_digest(read_pixels(str(p))[0]) for p in folder.rglob("*.png")}


def seen_in(folder: Path) -> set[str]:
    return set(gzip.decompress((folder / "seen.txt.gz").read_bytes()).decode().split())


@pytest.fixture(scope="module")
def pretrained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> PretrainingOutcome:
    return run(images, tmp_path_factory.mktemp("pretrained") / "first", license="CC-BY-4.0")


def test_the_folder_is_a_source_at_once(pretrained):
    found = verify_source(str(pretrained.folder))
    assert found.published is True
    assert found.license == "CC-BY-4.0"
    assert found.input_size == (48, 48)


def test_the_weights_are_named_as_their_library_names_them(pretrained):
    found = verify_source(f"timm:test_resnet@{pretrained.folder}/weights.safetensors")
    assert found.left_out == ()
    assert "conv1.0.weight" in load_file(pretrained.folder / "weights.safetensors")


def test_the_file_loads_without_its_description_too(pretrained, tmp_path):
    shutil.copy(pretrained.folder / "weights.safetensors", tmp_path)
    found = verify_source(f"timm:test_resnet@{tmp_path}/weights.safetensors")
    assert (found.left_out, found.license) == ((), "LicenseRef-unknown")


def test_every_image_is_listed_as_seen(pretrained, images):
    assert seen_in(pretrained.folder) == digests_of(images)


def test_reports_of_a_run_flag_what_the_source_has_seen(pretrained, images, tmp_path):
    from medfuse.backbones.build import SourceTarget, build_source
    from medfuse.config import SourceConfig
    from medfuse.registry import load_registry

    config = SourceConfig(use=str(pretrained.folder))
    built = build_source(config, load_registry(), SourceTarget(1, (48, 48)))
    assert seen_by_sources([built]) == {built.label: digests_of(images)}


def test_the_card_tells_images_settings_and_features(pretrained):
    card = json.loads((pretrained.folder / "card.json").read_text())
    (one,) = card["sets"]
    assert (card["images"], one["images"], one["left_out"]) == (60, 60, {})
    assert card["settings"]["size"] == 32
    assert card["features"]["after"]["effective_rank"] > 1
    page = (pretrained.folder / "README.md").read_text()
    assert "arXiv:2002.05709" in page
    assert card["sha256"] in page
    assert not (pretrained.folder / "checkpoints").exists()


def test_a_finished_pretraining_is_not_repeated_and_another_one_is_refused(
    pretrained, images, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(pretrained.folder, copy)
    before = (copy / "weights.safetensors").stat().st_mtime_ns
    assert run(images, copy, license="CC-BY-4.0").card == pretrained.card
    assert (copy / "weights.safetensors").stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="holds a pretraining of other images or settings"):
        run(images, copy, seed=1)


def test_a_fresh_start_that_fails_keeps_what_was_there(pretrained, tmp_path):
    copy = shutil.copytree(pretrained.folder, tmp_path / "copy")
    (copy / ".lock").unlink(missing_ok=True)
    before = sorted(file.name for file in copy.iterdir())
    with pytest.raises(CohortError):
        pretrain([str(tmp_path / "nothere")], parse_settings(SMALL), copy, fresh=True)
    assert sorted(file.name for file in copy.iterdir() if file.name != ".lock") == before


@pytest.mark.parametrize("gone", ["card.json", "weights.safetensors", "source.json"])
def test_a_finished_pretraining_that_lacks_a_file_is_not_called_finished(
    pretrained, images, tmp_path, gone
):
    copy = shutil.copytree(pretrained.folder, tmp_path / "copy")
    (copy / gone).unlink()
    with pytest.raises(OutputError, match=rf"without its {gone}\. .*--fresh"):
        run(images, copy, license="CC-BY-4.0")


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_card_of_a_finished_pretraining_is_named(pretrained, images, tmp_path, text):
    copy = shutil.copytree(pretrained.folder, tmp_path / "copy")
    (copy / "card.json").write_text(text)
    with pytest.raises(OutputError, match=r"card\.json: damaged.*--fresh"):
        run(images, copy, license="CC-BY-4.0")


def test_a_lost_list_of_seen_images_is_told_before_training(pretrained, images, tmp_path):
    copy = shutil.copytree(pretrained.folder, tmp_path / "copy")
    (copy / "seen.txt.gz").unlink()
    data = small_experiment(images, bank={"path": str(tmp_path / "bank")}, sources=[str(copy)])
    with pytest.raises(WeightsError, match="list of seen images"):
        medfuse.train(data, tmp_path / "run")
    assert not (tmp_path / "run" / "members").exists()


def test_test_parts_and_their_near_copies_are_not_learned_from(images, tmp_path):
    files = sorted(images.rglob("*.png"))
    data = tmp_path / "data"
    for number, file in enumerate(files[:20]):
        part = data / ("test" if number < 4 else "train") / file.parent.name
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, part)
    brighter = np.clip(np.asarray(Image.open(files[0])).astype(int) + 3, 0, 255).astype(np.uint8)
    Image.fromarray(brighter).save(data / "train" / files[0].parent.name / "copy.png")
    card = run(data, tmp_path / "out").card
    assert card["sets"][0]["left_out"] == {"TEST_PART": 4, "COPY_OF_EXCLUDED": 1}
    assert not seen_in(tmp_path / "out") & digests_of(data / "test")


@pytest.mark.slow
def test_excluded_images_are_not_learned_from_wherever_they_lie(images, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in sorted(images.rglob("*.png"))[:5]:
        shutil.copy(file, other / f"renamed_{file.name}")
    card = run(images, tmp_path / "out", exclude=[other]).card
    assert card["sets"][0]["left_out"]["COPY_OF_EXCLUDED"] >= 5
    assert not seen_in(tmp_path / "out") & digests_of(other)


def test_a_damaged_file_is_counted_by_code(images, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(images, data)
    victim = sorted(data.rglob("*.png"))[7]
    victim.write_bytes(victim.read_bytes()[:300])
    card = run(data, tmp_path / "out").card
    assert sum(card["sets"][0]["refused"].values()) == 1
    assert card["images"] == 59


def test_the_card_names_a_file_to_begin_with_and_inherits_its_license(pretrained, images, tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()
    for name in ("weights.safetensors", "source.json", "seen.txt.gz"):
        if (pretrained.folder / name).exists():
            shutil.copy(pretrained.folder / name, begun)
    described = json.loads((begun / "source.json").read_text())
    (begun / "source.json").write_text(json.dumps({**described, "license": "CC-BY-NC-4.0"}))
    done = run(images, tmp_path / "out", init=str(begun / "weights.safetensors"), license="MIT")
    assert done.card["begun_from"] == done.card["settings"]["init"] == "weights.safetensors"
    assert done.card["license"] == "CC-BY-NC-4.0 AND MIT"
    written = json.loads((done.folder / "source.json").read_text())
    assert written["license"] == "CC-BY-NC-4.0 AND MIT"


def test_another_kind_or_size_than_the_backbone_takes_is_refused(images, tmp_path):
    with pytest.raises(ConfigError, match="timm:test_resnet takes 2D images, of the size that"):
        run(images, tmp_path / "out", input={"kind": "volume"})


def test_a_start_that_fails_leaves_no_folder(images, tmp_path):
    with pytest.raises(CohortError, match="expected at least 2"):
        run(images, tmp_path / "out", exclude=[images])
    assert not (tmp_path / "out").exists()


SUPERVISED = {"method": "supervised", "epochs": 2}


@pytest.fixture(scope="module")
def supervised(images: Path, tmp_path_factory: pytest.TempPathFactory) -> PretrainingOutcome:
    out = tmp_path_factory.mktemp("supervised") / "out"
    return run(images, out, **SUPERVISED, validation=0.2)


def test_labels_are_learned_and_measured_on_images_that_were_not_learned_from(supervised, images):
    card, folder = supervised.card, supervised.folder
    (one,) = card["validation"].values()
    assert (card["images"], one["images"]) == (48, 12)
    assert one["classes"] == sorted(p.name for p in images.iterdir() if p.is_dir())
    assert one["accuracy"]["low"] <= one["accuracy"]["value"] <= one["accuracy"]["high"]
    assert len(seen_in(folder)) == 48
    assert 0 <= card["history"][-1]["validation_accuracy"] <= 1
    page = (folder / "README.md").read_text()
    assert "trained on 48 images with labels" in page
    assert f"| {images.name} | 12 | {', '.join(one['classes'])} | " in page


def test_what_learned_labels_is_a_source_at_once(supervised):
    found = verify_source(f"timm:test_resnet@{supervised.folder}/weights.safetensors")
    assert (found.left_out, found.published) == ((), True)
    assert not any("classifier" in key for key in load_file(supervised.folder / WEIGHTS))


@pytest.mark.slow
def test_held_out_images_are_those_of_a_named_part_and_their_copies_are_not_learned(
    images, tmp_path
):
    files, data = sorted(images.rglob("*.png")), tmp_path / "data"
    for number, file in enumerate(files):
        part = data / ("validation" if number % 5 == 0 else "train") / file.parent.name
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, part)
    shutil.copy(files[0], data / "train" / files[0].parent.name / "copy.png")
    card = run(data, tmp_path / "out", **SUPERVISED).card
    assert card["sets"][0]["left_out"] == {"COPY_OF_EXCLUDED": 1}
    assert not seen_in(tmp_path / "out") & digests_of(data / "validation")
    assert card["validation"]["data"]["images"] == len(files[::5])


def test_labels_that_say_nothing_are_refused(images, tmp_path):
    one_class = next(path for path in sorted(images.iterdir()) if path.is_dir())
    shutil.copytree(one_class, tmp_path / "data" / one_class.name)
    with pytest.raises(CohortError, match="found 1 classes? to learn from, expected at least two"):
        run(tmp_path / "data", tmp_path / "out", **SUPERVISED)
    for number, file in enumerate(sorted(images.rglob("*.png"))[:12]):
        (tmp_path / "patients" / f"P{number // 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "patients" / f"P{number // 2}")
    with pytest.raises(CohortError, match=r"expected at least 5 images of each\. Are its fold"):
        run(tmp_path / "patients", tmp_path / "out", **SUPERVISED)
    assert not (tmp_path / "out").exists()


def test_it_is_told_where_no_patient_can_be_held_out(images, tmp_path, caplog):
    files = sorted(images.rglob("*.png"))
    lines = [f"{file},{file.parent.name},{'p1' if n else 'p0'}" for n, file in enumerate(files)]
    table = tmp_path / "cases.csv"
    for patient, told in (("p1", "of 1 patient,"), ("p0", "")):
        lines[0] = f"{files[0]},{files[0].parent.name},{patient}"
        table.write_text("\n".join(["image,label,patient_id", *lines]) + "\n")
        cohort = read_labelled(str(table), InputConfig(kind="image"))
        caplog.clear()
        divided = with_held_out(ImageSet("one", cohort.cases, {}), parse_settings(SMALL))
        assert len(divided.held) == (not told)
        assert ("nothing tells how well the labels were learned" in caplog.text) == bool(told)
        assert told in caplog.text


@pytest.mark.slow
def test_a_network_of_tokens_learns_by_hiding_them_and_is_a_source_at_once(images, tmp_path):
    outcome = run(images, tmp_path / "out", backbone="timm:test_vit")
    assert outcome.card["method"] == "mae"
    assert outcome.card["settings"]["views"]["noise"] == 0
    assert "10.1109/CVPR52688.2022.01553" in (outcome.folder / "README.md").read_text()
    for name in (f"timm:test_vit@{outcome.folder}/{WEIGHTS}", str(outcome.folder)):
        found = verify_source(name)
        assert (found.left_out, found.published, found.input_size) == ((), True, (32, 32))


def test_a_network_without_tokens_is_refused_before_images_are_read(tmp_path):
    with pytest.raises(ConfigError, match="timm:test_resnet has no tokens to hide"):
        run(tmp_path / "absent", tmp_path / "out", method="mae")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_nothing_that_names_a_patient_or_a_file_is_written(images, tmp_path):
    data = tmp_path / "data"
    lines = ["image,label,patient_id"]
    for number, file in enumerate(sorted(images.rglob("*.png"))):
        copy = data / f"DOE^JANE-{number}.png"
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(file, copy)
        lines.append(f"{copy},{file.parent.name},MRN00{number}")
    (data / "cohort.csv").write_text("\n".join(lines) + "\n")
    out = run(data / "cohort.csv", tmp_path / "out", **SUPERVISED).folder
    for file in out.iterdir():
        content = file.read_bytes()
        content = gzip.decompress(content) if file.suffix == ".gz" else content
        assert b"DOE" not in content, file
        assert b"MRN00" not in content, file
        assert str(tmp_path).encode() not in content, file


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [{}, SUPERVISED, {"backbone": "timm:test_vit"}], ids=["simclr", "supervised", "mae"]
)
def test_a_killed_pretraining_goes_on_to_the_same_weights(images, tmp_path, monkeypatch, how):
    from medfuse.pretraining import session

    how = {**how, "epochs": 3}
    whole = run(images, tmp_path / "whole", **how)
    save = session.Pretraining._save

    def killed(self):
        save(self)
        if len(self.history) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(session.Pretraining, "_save_sometimes", lambda self, _: self._save())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(session.Pretraining, "_save", killed)
        run(images, tmp_path / "killed", **how)
    assert (tmp_path / "killed" / "checkpoints" / "last.pt").is_file()
    assert run(images, tmp_path / "killed", **how).card["sha256"] == whole.card["sha256"]


SMALL_VIT = {"num_layers": 2, "hidden_size": 48, "num_heads": 4, "mlp_dim": 64}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "size", "method"),
    [
        ({"backbone": "monai:resnet10_3d", "size": 16}, (24, 24, 24), "simclr"),
        ({"backbone": "monai:vit_3d", "size": 32, "options": SMALL_VIT}, (32, 32, 32), "mae"),
    ],
    ids=["convolutions", "tokens"],
)
def test_volumes_train_a_network_for_volumes(tmp_path, how, size, method):
    import nibabel

    for seed in range(6):
        values = np.random.default_rng(seed).random((20, 20, 20), dtype=np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"{seed}.nii.gz")
    card = run(tmp_path, tmp_path / "out", batch_size=4, **how).card
    assert (card["images"], card["method"]) == (6, method)
    assert verify_source(str(tmp_path / "out")).input_size == size
