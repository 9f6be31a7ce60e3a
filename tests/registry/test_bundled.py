"""Networks are taken out of bundles as data: right ones, with their contract, or a named reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medfuse.backbones.build import BuiltSource, SourceTarget, build_source
from medfuse.bundle.digests import write_digests
from medfuse.config import SourceConfig, load_experiment, parse_experiment
from medfuse.errors import BundleError, MedfuseError, OutputError, SourceError
from medfuse.registry import load_registry, parse_source
from medfuse.registry.bundled import OWN_TRAINING, SEEN, bundled_uses
from medfuse.workflows.bundled_sources import refuse_own_bundle
from medfuse.workflows.seen import seen_by_sources
from medfuse.workflows.train import train

REGISTRY = load_registry()
A, B, C = ("0" * 64, "1" * 64, "2" * 64)
_TRUNK = {"_target_": "scripts.n.TimmBackbone", "model": "test_resnet"}
_CUT = {"_target_": "scripts.c.CutBackbone", "backbone": _TRUNK, "module_path": "net.layer2"}
_LEVELS = {"_target_": "scripts.l.LevelsBackbone", "backbone": _TRUNK, "stages": []}


def _source(backbone: dict[str, Any], **adapter: Any) -> dict[str, Any]:
    fed = {"channels": 3, "mean": [0.25], "std": [0.125], "image_size": [48, 48], "size": [40, 56]}
    return {"_target_": "scripts.s.Source", "backbone": backbone, "adapter": {**fed, **adapter}}


def _record(label: str, **changes: Any) -> dict[str, Any]:
    return {
        "label": label, "license": "MIT", "digest": A, "backbone": "test_resnet",
        "options": {"model": "test_resnet"}, "domain": "natural images",
        "training_data": ["imagenet1k"], "citation": "Someone (2020)", "trained": True, **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """Tensors of one network, below its own keys."""
    config = SourceConfig(use="timm:test_resnet.random", levels=1)
    module = build_source(config, REGISTRY, SourceTarget(1, (48, 48), seed=3)).module
    return {k.removeprefix("backbone."): v for k, v in module.state_dict().items() if "net" in k}


@pytest.fixture
def bundle(tmp_path: Path, state: dict[str, torch.Tensor]) -> Callable[..., Path]:
    """Return a function that writes a bundle of four sources, with changes to its documents."""

    def write(
        change: Callable[[dict[str, Any], dict[str, Any]], None] = lambda _m, _n: None,
    ) -> Path:
        root = tmp_path / "run" / "bundle" / "chest_classification"
        for name in ("configs", "models", "docs"):
            (root / name).mkdir(parents=True)
        metadata = {
            "name": "chest",
            "task": "Classification of X-ray images",
            "medfuse": {
                "format": 1,
                "license": "CC-BY-NC-4.0",
                "split_digest": "ab" * 32,
                "sources": [
                    _record("timm:test_resnet.r160_in1k"),
                    _record("timm:test_resnet@own.pt to layer2", cut="net.layer2", trained=False),
                    _record("timm:test_resnet.random", trained=False, domain="none"),
                    _record("tabular:age", backbone=""),
                ],
            },
        }
        nodes = [_source(_TRUNK), _source(_CUT), {"source": _source(_LEVELS), "slices": 4}, {}]
        network = {"network_def": {"sources": nodes}}
        change(metadata, network)
        (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
        (root / "configs" / "inference.json").write_text(json.dumps(network))
        lines = [f"{A}  {OWN_TRAINING}", f"{B}  timm:test_resnet.r160_in1k", f"{C}  other"]
        (root / SEEN).write_text("\n".join(lines) + "\n")
        lower = {k: v for k, v in state.items() if "layer3" not in k and "layer4" not in k}
        places = {
            "sources.0.backbone.": state,
            "sources.1.backbone.body.": lower,
            "sources.2.source.backbone.backbone.": state,
        }
        whole = {p + k: v for p, tensors in places.items() for k, v in tensors.items()}
        torch.save({**whole, "temperature": torch.ones(())}, root / "models" / "model.pt")
        write_digests(root)
        return tmp_path / "run"

    return write


def _built(use: str, **changes: Any) -> BuiltSource:
    return build_source(
        SourceConfig(use=use, **{"levels": 1, **changes}),
        load_registry(),
        SourceTarget(1, (48, 48)),
    )


def test_a_run_and_its_bundle_stand_for_every_network_in_them(bundle) -> None:
    run = bundle()
    inside = run / "bundle" / "chest_classification"
    for path in (run, inside):
        assert bundled_uses(f"bundle:{path}") == tuple(f"bundle:{path}#{n}" for n in (1, 2, 3))
    assert bundled_uses(f"bundle:{run}#2") == (f"bundle:{run}#2",)
    assert bundled_uses("timm:resnet18") == ("timm:resnet18",)


@pytest.mark.parametrize("number", [1, 3])
def test_a_network_has_the_weights_of_the_bundle(bundle, state, number) -> None:
    built = _built(f"bundle:{bundle()}#{number}")
    found = built.module.state_dict()
    assert all(torch.equal(found[f"backbone.{key}"], tensor) for key, tensor in state.items())
    assert built.label == "timm:test_resnet@chest_classification"
    assert built.card["sha256_checked"] == "description"


def test_a_network_is_named_by_its_own_weights_and_not_by_those_beside_it(bundle) -> None:
    run = bundle()
    one, cut, same = (_built(f"bundle:{run}#{number}") for number in (1, 2, 3))
    assert one.card["digest"] == same.card["digest"] == one.identity["weights"]
    assert one.card["digest"] != cut.card["digest"]
    assert one.card["sha256"] == cut.card["sha256"], "that of the file, which holds them all"


def test_a_frozen_network_is_the_one_that_it_was_before(bundle, state, tmp_path) -> None:
    kept = {k[4:]: v for k, v in state.items() if "num_batches" not in k}
    torch.save(kept, tmp_path / "own.pt")
    fed = {"input_range": (0.0, 1.0), "mean": (0.25,), "std": (0.125,)}
    own = f"timm:test_resnet@{tmp_path / 'own.pt'}"
    before = _built(own, normalization=fed, input_size=(40, 56))
    assert _built(f"bundle:{bundle()}#1").identity == before.identity, "so the bank knows it"


def test_a_network_that_was_cut_ends_there_again(bundle) -> None:
    built = _built(f"bundle:{bundle()}#2")
    assert built.identity["cut"]["module_path"] == "net.layer2"
    assert built.feature_dim == 48


def test_the_input_contract_is_that_of_the_bundle(bundle) -> None:
    adapter = _built(f"bundle:{bundle()}#1").identity["adapter"]
    assert (adapter["mean"], adapter["std"], adapter["size"]) == ([0.25], [0.125], [40, 56])


def test_licenses_data_and_origin_are_those_of_all_steps(bundle) -> None:
    card = _built(f"bundle:{bundle()}#1").card
    assert card["license"] == "MIT AND CC-BY-NC-4.0"
    assert card["training_data"] == ["imagenet1k", "chest (split abababababab)"]
    assert card["domain"] == "natural images, then X-ray images"
    assert card["citation"] == "Someone (2020)"
    assert card["earlier"] == {
        "bundle": "chest", "source": "timm:test_resnet.r160_in1k", "weights": A,
        "split_digest": "ab" * 32, "trained": True,
    }  # fmt: skip


def test_a_chain_keeps_its_earlier_steps(bundle) -> None:
    def change(metadata, _network) -> None:
        metadata["medfuse"]["sources"][0]["earlier"] = {"bundle": "first"}

    card = _built(f"bundle:{bundle(change)}#1").card
    assert card["earlier"]["earlier"] == {"bundle": "first"}


def test_what_stayed_frozen_did_not_learn_from_the_cases_of_the_bundle(bundle) -> None:
    card = _built(f"bundle:{bundle()}#2").card
    assert card["training_data"] == ["imagenet1k"]
    assert card["domain"] == "natural images"


def test_images_are_seen_by_those_who_learned_from_them(bundle) -> None:
    run = bundle()
    trained, frozen = _built(f"bundle:{run}#1"), _built(f"bundle:{run}#2")
    assert seen_by_sources([trained]) == {trained.label: {A, B}}
    assert seen_by_sources([frozen]) == {frozen.label: frozenset()}


def test_it_learns_by_stage_and_from_scratch_like_any_source(bundle) -> None:
    run = bundle()
    assert _built(f"bundle:{run}#1", train="last:1").module.trainable == ("after:net.layer3",)
    assert _built(f"bundle:{run}#1", train="scratch").card["weights"] == "random"


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("", "3 networks are in it. Name one: bundle:"),
        ("#9", "'9' is no one of them"),
        ("#4", "'4' is no one of them"),
        ("#test_resnet", "'test_resnet' is no one of them"),
        ("#timm:test_resnet.randon", 'Did you mean "timm:test_resnet.random"'),
    ],
)
def test_a_part_that_names_no_one_network_is_refused(bundle, part, message) -> None:
    with pytest.raises(SourceError, match=message):
        parse_source(f"bundle:{bundle()}{part}")


def test_a_source_may_be_named_by_its_label(bundle) -> None:
    reference = parse_source(f"bundle:{bundle()}#timm:test_resnet.random")
    assert reference.described is not None
    assert "sources.2.source.backbone.backbone." in reference.described.weights.remap


def _graph_only(root: Path) -> None:
    (root / "models" / "model.pt").unlink()
    write_digests(root)


def _edited(root: Path) -> None:
    (root / "configs" / "metadata.json").write_text("{}")


def _without_seen(root: Path) -> None:
    (root / SEEN).unlink()


def _copied_in_part(root: Path) -> None:
    (root / "models" / "model.pt").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_seen, r"seen_images\.txt: named in SHA256SUMS, but absent"),
        (_copied_in_part, r"model\.pt: absent, .*Copy the bundle again"),
        (_graph_only, "exists only as a graph"),
        (_edited, "changed since the bundle was written"),
    ],
)
def test_a_bundle_without_weights_or_with_an_edited_file_is_refused(
    bundle, damage, message
) -> None:
    run = bundle()
    damage(run / "bundle" / "chest_classification")
    with pytest.raises(MedfuseError, match=message):
        parse_source(f"bundle:{run}#1")


def test_changed_weights_are_refused(bundle) -> None:
    run = bundle()
    file = run / "bundle" / "chest_classification" / "models" / "model.pt"
    file.write_bytes(file.read_bytes() + b"0")
    with pytest.raises(SourceError, match="sha256 is"):
        _built(f"bundle:{run}#1")


def _of(path: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Return a change of one value of the two documents."""

    def change(metadata: dict[str, Any], network: dict[str, Any]) -> None:
        place: Any = {"metadata": metadata, "network": network}
        *keys, last = [int(k) if k.isdigit() else k for k in path.split(".")]
        for key in keys:
            place = place[key]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metadata.medfuse", None, "was not written by medfuse"),
        ("metadata.medfuse.format", 2, "medfuse.format: input should be 1"),
        ("metadata.medfuse.sources.0.backbone", "no_such_net", "no backbone 'no_such_net'"),
        ("metadata.medfuse.sources.0.label", "acme:x", "no plugin 'acme' is installed"),
        (
            "metadata.medfuse.sources.0.options",
            {"checkpoint_path": "/tmp/x.pt"},
            "found 'checkpoint_path', which reads other files",
        ),
        ("network.network_def.sources.0.adapter.mean", ["$__import__('os')"], "mean.0: input"),
        ("network.network_def.sources.0.adapter.std", [0.0], "std.0: input should be greater"),
        ("network.network_def.sources", [], "has 0 sources, its metadata 4"),
        ("network.network_def.sources.0", None, "adapter in its configuration: is absent"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_refused_with_its_place(
    bundle, path, value, message
) -> None:
    run = bundle(_of(path, value))
    with pytest.raises((SourceError, BundleError, MedfuseError), match=message):
        _built(f"bundle:{run}#1")


def test_a_bundle_of_several_inputs_wants_each_source_named_with_its_input(bundle) -> None:
    run = bundle(_of("network.network_def.inputs", [0, 1, 0, 1]))
    with pytest.raises(SourceError, match="read several inputs. Name each"):
        bundled_uses(f"bundle:{run}")


def test_a_folder_without_a_bundle_is_refused(tmp_path) -> None:
    with pytest.raises(SourceError, match="expected a folder that 'medfuse train' has finished"):
        parse_source(f"bundle:{tmp_path}")


def test_nothing_of_the_bundle_is_executed(bundle) -> None:
    run = bundle()
    scripts = run / "bundle" / "chest_classification" / "scripts"
    scripts.mkdir()
    (scripts / "__init__.py").write_text("raise SystemExit('executed')")
    assert _built(f"bundle:{run}#1").feature_dim == 96


@pytest.mark.parametrize("part", ["", "#2"])
def test_a_path_in_a_configuration_is_relative_to_its_file(bundle, tmp_path, part) -> None:
    bundle()
    file = tmp_path / "experiment.yaml"
    file.write_text(f"cohort: {{path: .}}\nsources: ['bundle:run{part}']\n")
    [source] = load_experiment(file).sources
    assert source.use == f"bundle:{tmp_path.resolve()}/run{part}"


def test_learners_of_any_name_are_told_apart(bundle) -> None:
    run = bundle()
    root = run / "bundle" / "chest_classification"
    (root / SEEN).write_text(f"{A}  {OWN_TRAINING}\n{B}  mini:resnet@poumon_é\n", encoding="utf-8")
    write_digests(root)
    built = _built(f"bundle:{run}#1")
    assert seen_by_sources([built]) == {built.label: {A}}


def test_a_run_is_not_written_where_its_source_lies(bundle, tmp_path, monkeypatch) -> None:
    run = bundle()
    monkeypatch.chdir(tmp_path)
    for use in (f"bundle:{run}#1", f"bundle:{run / 'bundle' / 'chest_classification'}#2"):
        experiment = parse_experiment({"cohort": {"path": "x"}, "sources": [use, "mini:resnet"]})
        for out in (run, Path("run"), run / "bundle"):
            with pytest.raises(OutputError, match=f"holds source {use}.*another --out"):
                refuse_own_bundle(experiment, out)
        refuse_own_bundle(experiment, tmp_path / "second")
        with pytest.raises(OutputError, match="holds source"):
            train(experiment, run, fresh=True, progress=False)
        assert (run / "bundle" / "chest_classification" / "models" / "model.pt").is_file()
