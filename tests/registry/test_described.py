from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.config import SourceConfig, parse_experiment
from medfuse.errors import SourceError, WeightsError
from medfuse.registry import load_registry, parse_source
from medfuse.registry.described import SourceDescription, read_description
from medfuse.registry.factories import load_factory
from medfuse.storage import sha256_file

DIGEST = "0" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights of a tiny network that describe themselves."""
    home = tmp_path / "mine"
    home.mkdir()
    _, spec = load_registry().backbone(parse_source("timm:test_resnet.random"))
    state = load_factory(spec)(model="test_resnet").net.state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, home / "weights.safetensors")
    (home / "seen.txt").write_text(f"{DIGEST}\n")
    return described(home, sha256=sha256_file(home / "weights.safetensors"))


def described(home: Path, **changes: object) -> Path:
    data = {
        "name": "simclr", "backbone": "timm:test_resnet", "input_size": [40, 40],
        "normalization": {"mean": [0.25], "std": [0.125]}, "license": "CC-BY-4.0",
        "source_domain": "chests", "remap": {"": "net."}, "seen": "seen.txt",
        "sha256": DIGEST, **changes,
    }  # fmt: skip
    (home / "source.json").write_text(json.dumps(data))
    return home


def built(use: str):
    config = SourceConfig(use=use, levels=1)
    return build_source(config, load_registry(), SourceTarget(1, (48, 48)))


@pytest.mark.parametrize("text", ["{folder}", "timm:test_resnet@{folder}/weights.safetensors"])
def test_a_folder_and_its_file_give_the_described_source(folder, text):
    source = built(text.format(folder=folder))
    assert source.identity["input_size"] == [40, 40]
    assert source.identity["adapter"]["mean"] == [0.25]
    assert source.label == "timm:test_resnet@mine"
    assert (source.card["license"], source.card["domain"]) == ("CC-BY-4.0", "chests")
    assert source.card["contract_assumed"] is False


def test_the_seen_images_of_a_described_source_are_known_to_reports(folder):
    from medfuse.workflows.seen import seen_by_sources

    assert seen_by_sources([built(str(folder))]) == {"timm:test_resnet@mine": {DIGEST}}


def test_another_file_in_the_folder_is_not_described(folder):
    (folder / "weights.safetensors").rename(folder / "other.safetensors")
    source = built(f"timm:test_resnet@{folder}/other.safetensors")
    assert source.card["license"] == "LicenseRef-unknown"
    assert source.card["contract_assumed"] is True


def test_options_of_the_description_build_the_network(folder):
    described(folder, options={"act_layer": "silu"}, sha256=sha256_file(
        folder / "weights.safetensors"))  # fmt: skip
    assert built(str(folder)).identity["options"]["act_layer"] == "silu"


def test_weights_of_another_digest_are_refused(folder):
    described(folder)
    with pytest.raises(WeightsError, match=f"expected {DIGEST}"):
        built(str(folder))


def test_a_file_named_as_weights_of_another_backbone_is_refused(folder):
    use = f"mini:resnet@{folder}/weights.safetensors"
    with pytest.raises(SourceError, match=r"says that these are weights of timm:test_resnet"):
        built(use)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalisation": {}}, "unknown key 'normalisation'. Did you mean \"normalization\""),
        ({"sha256": "12"}, "sha256: string should match"),
        ({"normalization": {"input_range": [1, 0]}}, r"input_range: .*low below high"),
        ({"weights": "../elsewhere.safetensors"}, "weights: string should match"),
        ({"medfuse": {"kind": "source", "version": 2}}, "medfuse.version: input should be 1"),
    ],
)
def test_a_bad_description_is_refused_with_its_place(folder, change, message):
    described(folder, **change)
    with pytest.raises(SourceError, match=message):
        parse_source(str(folder))


def test_a_missing_key_and_damaged_json_are_named(folder):
    (folder / "source.json").write_text("{}")
    with pytest.raises(SourceError, match="'name' is missing"):
        read_description(folder)
    (folder / "source.json").write_text("{")
    with pytest.raises(SourceError, match="cannot be read as JSON"):
        read_description(folder)


def test_a_folder_without_a_description_is_no_source(tmp_path):
    with pytest.raises(SourceError, match=r"no folder with a source\.json"):
        parse_source(f"{tmp_path}/nothing")


def test_a_description_is_read_as_it_is_written(folder):
    before = read_description(folder)
    assert SourceDescription.model_validate_json(before.model_dump_json()) == before


def test_a_folder_in_a_configuration_is_found_from_the_file_s_own_folder(folder):
    data = {"cohort": {"path": "images"}, "sources": [folder.name]}
    found = parse_experiment(data, "x.yaml", folder.parent).sources[0].use
    assert found == str(folder)
    assert torch.equal(*(next(built(u).module.parameters()) for u in (found, str(folder))))


def test_a_description_nested_without_end_is_damaged_json(folder):
    (folder / "source.json").write_text("[" * 100_000)
    with pytest.raises(SourceError, match="cannot be read as JSON"):
        read_description(folder)


def test_a_described_size_of_another_number_of_axes_is_refused(folder):
    described(folder, input_size=[40], sha256=sha256_file(folder / "weights.safetensors"))
    with pytest.raises(SourceError, match=r"declare input_size \[40\], expected 2 numbers"):
        built(str(folder))


def test_a_folder_with_an_at_sign_in_its_path_is_a_source(folder):
    home = folder.rename(folder.parent / "me@home")
    assert parse_source(str(home)).file == str(home / "weights.safetensors")
    data = {"cohort": {"path": "images"}, "sources": [home.name]}
    assert parse_experiment(data, "x.yaml", home.parent).sources[0].use == str(home)


def test_a_name_too_long_for_a_path_is_an_unknown_source(tmp_path):
    data = {"cohort": {"path": "images"}, "sources": ["x" * 300]}
    use = parse_experiment(data, "x.yaml", tmp_path).sources[0].use
    with pytest.raises(SourceError, match="unknown name"):
        load_registry().backbone(parse_source(use))


def test_a_folder_that_is_no_source_is_told_from_a_mistyped_name(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"folder mine holds no source\.json"):
        load_registry().backbone(parse_source("mine"))
