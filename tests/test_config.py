"""What a configuration accepts, and how it says no."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medfuse.config import Experiment, dump_experiment, load_experiment, parse_experiment
from medfuse.errors import ConfigError

MINIMAL = {"cohort": {"path": "images"}, "sources": [{"use": "mini:a"}]}


def with_changes(**changes: object) -> dict[str, object]:
    return {**MINIMAL, **changes}


def test_minimal_configuration_gets_every_default_written_out() -> None:
    text = dump_experiment(parse_experiment(MINIMAL))
    assert yaml.safe_load(text)["training"]["epochs"] == Experiment(**MINIMAL).training.epochs
    assert parse_experiment(yaml.safe_load(text)) == parse_experiment(MINIMAL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cohort": {"path": "x", "lable": "y"}}, r'cohort\.lable\'\. Did you mean "label"\?'),
        (
            {"sources": [{"use": "a", "trian": "all"}]},
            r'sources\.0\.trian\'\. Did you mean "train"',
        ),
        ({"inputs": {"image": {"modalty": "CT"}}}, r'modalty\'\. Did you mean "modality"\?'),
        ({"training": {"zzz": 1}}, r"training\.zzz'\. Known here: .*epochs"),
        ({"trainig": {}}, r'unknown key \'trainig\'\. Did you mean "training"\?'),
    ],
)
def test_unknown_key_is_refused_with_its_place_and_the_nearest_key(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_experiment(with_changes(**changes), "f.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": {"epochs": "many"}},
            r"f\.yaml: training\.epochs: found 'many', expected int, 1 or more\.$",
        ),
        ({"training": {"lr": 0}}, r"training\.lr: found 0, expected float above 0\.$"),
        ({"training": {"ema_decay": 1}}, r"training\.ema_decay: found 1, expected auto"),
        ({"training": {"ema_decay": -0.1}}, r"training\.ema_decay: found -0\.1, expected auto"),
        (
            {"training": {"early_stopping": {"min_delta": -1}}},
            r"training\.early_stopping\.min_delta: found -1, expected auto or float, 0 or more",
        ),
        ({"training": 3}, r"training: found 3, expected mapping\.$"),
        (
            {"training": {"optimizer": "adan"}},
            r"found 'adan', expected adam, adamw or sgd\. Did you mean \"adam\"\?$",
        ),
        (
            {"training": {"class_weights": [1.0, -2.0]}},
            r"class_weights: found a list of 2, expected none, balanced or list of float above 0",
        ),
        ({"sources": []}, r"sources: found an empty list, expected list of mappings, at least 1"),
        (
            {"sources": [{"use": "a", "train": "last:0"}]},
            r"sources\.0\.train: found 'last:0', expected frozen, all, scratch, last:N \(",
        ),
        (
            {"sources": [{"use": "a", "unfreeze": {"after": 1, "train": "frozen"}}]},
            r"unfreeze\.0\.train: found 'frozen', expected all, last:N \(N from 1 on\) or from",
        ),
        (
            {"sources": [{"use": "a", "unfreeze": [{"after": 3}, {"after": 3}]}]},
            r"unfreeze has steps after \[3, 3\], expected rising epochs",
        ),
        (
            {"sources": [{"use": "a", "train": "scratch", "unfreeze": {"after": 3}}]},
            r"unfreeze stands beside train: scratch",
        ),
        (
            {"sources": [{"use": "a", "lr_dekay": 0.8}]},
            r"unknown.*lr_dekay.*Did you mean \"lr_decay\"",
        ),
        (
            {"sources": [{"use": "a", "sha256": "1f"}]},
            r"found '1f', expected 64 hexadecimal digits",
        ),
        ({"fusion": 3}, r"fusion: found 3, expected name or \{use: name, option: value\}\.$"),
        ({"sources": [{"use": "a", "input": "ct"}]}, r"reads input 'ct', but inputs has image"),
        ({"inputs": {"image": {"intensity": "window"}}}, r"needs window: \[low, high\]"),
        ({"name": "../evil"}, r"name: "),
        ({"schema_version": 2}, r"schema_version: found 2, expected 1"),
    ],
)
def test_bad_value_is_refused_with_its_place_and_what_was_found(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_experiment(with_changes(**changes), "f.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"lr": float("inf")}}, r"training\.lr: found inf, .*not infinite"),
        ({"training": {"mixup": float("nan")}}, r"training\.mixup: "),
        ({"training": {"focal_gamma": float("inf")}}, r"training\.focal_gamma: .*infinite"),
        ({"training": {"clip_gradient": float("inf")}}, r"training\.clip_gradient: .*infinite"),
        ({"training": {"class_weights": [1.0, float("inf")]}}, r"training\.class_weights"),
        ({"training": {"class_weights": [1.0, -2.0]}}, r"training\.class_weights"),
        ({"bank": {"budget_gb": float("inf")}}, r"bank\.budget_gb: .*infinite"),
        ({"seed": True}, r"seed: expected an integer, found True"),
        ({"inputs": {"image": {}, "foo": {}}}, r"no source reads inputs\.foo"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_experiment(with_changes(**changes), "f.yaml")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"intensity": "window", "window": [100, 100]}, r"low below high"),
        ({"intensity": "window", "window": [300, -5]}, r"low below high"),
        ({"percentiles": [50, 50]}, r"percentiles are \[50\.0, 50\.0\], expected"),
        ({"percentiles": [99, 1]}, r"percentiles are"),
        ({"percentiles": [-1, 101]}, r"percentiles are"),
        ({"size": [-5, 48]}, r"size: found \[-5, 48\], expected auto, .* 8 to 4096"),
        ({"size": [200000, 200000]}, r"size: found \[200000, 200000\]"),
        ({"size": [64]}, r"size: found \[64\]"),
        ({"size": [64, 64, True]}, r"size: found"),
        ({"size": [64, 64, 64], "kind": "image"}, "size has 3 numbers, expected 2 for kind: image"),
        ({"size": [64, 64], "kind": "volume"}, "size has 2 numbers, expected 3"),
        ({"spacing": [1, 1]}, r"spacing: found \[1, 1\], expected auto, none, or three"),
        ({"spacing": [1, 1, 0]}, r"spacing: found"),
        ({"spacing": [1, 1, 1], "size": [64, 64]}, "spacing has three numbers, but an image"),
        ({"bias_field": "n4", "kind": "image"}, "bias_field corrects volumes"),
        ({"orientation": "PLR"}, "orientation: expected three letters, one each of LR, AP and SI"),
        ({"windows": ["lung", "bome"]}, r"windows: 'bome' is no window.* bone"),
        ({"windows": [[5, 5]]}, r"windows: \[5, 5\] is no window"),
        ({"windows": ["lung"], "window": [0, 1]}, "window and windows both"),
        ({"windows": ["lung"], "intensity": "zscore"}, "window needs intensity: window"),
        ({"windows": ["lung", "bone"], "channels": 3}, "channels is 3, expected 2"),
    ],
)
def test_an_input_that_cannot_be_is_refused(image: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"inputs\.image.*{message}"):
        parse_experiment(with_changes(inputs={"image": image}))


def test_several_windows_are_several_channels() -> None:
    image = {"windows": ["lung", [-160, 240], "bone"]}
    experiment = parse_experiment(with_changes(inputs={"image": image}))
    found = experiment.inputs["image"]
    assert found.channels == 3
    assert found.bounds == ((-1350, 150), (-160, 240), (-300, 1200))
    assert parse_experiment(yaml.safe_load(dump_experiment(experiment))) == experiment


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"fold": 3}, "fold is 3, expected folds"),
        ({"seed": True}, "seed: expected an integer"),
    ],
)
def test_a_split_that_cannot_be_is_refused(split: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"cohort\.split.*{message}"):
        parse_experiment(with_changes(cohort={"path": "x", "split": split}))


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ({"input_size": [0, 0]}, r"input_size\.0: found 0, expected int, 1 to 4096\. \(1 more\)"),
        ({"normalization": {"std": [0]}}, r"normalization\.std\.0: found 0, expected float above"),
        ({"normalization": {"mean": [0, 0], "std": [1, 1]}}, "normalization: .*1 or 3 of each"),
        ({"normalization": {"mean": [0, 0, 0]}}, "normalization: .*1 or 3 of each"),
    ],
)
def test_a_source_that_cannot_be_is_refused(source: dict[str, object], place: str) -> None:
    with pytest.raises(ConfigError, match=rf"sources\.0\.{place}"):
        parse_experiment(with_changes(sources=[{"use": "a", **source}]))


def test_a_key_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text("seed: 1\nname: a\nseed: 2\n")
    with pytest.raises(ConfigError, match="key 'seed' is given twice.*line 3"):
        load_experiment(file)


def test_missing_section_is_named() -> None:
    with pytest.raises(ConfigError, match="'cohort' is missing"):
        parse_experiment({"sources": [{"use": "a"}]})


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(with_changes(sources=[{"use": "timm:a@weights/a.pt"}])))
    experiment = load_experiment(file)
    assert experiment.cohort.path == str(tmp_path / "images")
    assert experiment.sources[0].use == f"timm:a@{tmp_path / 'weights/a.pt'}"


def test_environment_variables_in_paths_are_expanded_or_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = with_changes(cohort={"path": "$IMAGES_HERE/set"})
    with pytest.raises(ConfigError, match="needs the environment variable IMAGES_HERE"):
        parse_experiment(data)
    monkeypatch.setenv("IMAGES_HERE", "/images")
    assert parse_experiment(data).cohort.path == "/images/set"


def test_overrides_reach_into_mappings_and_lists(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(MINIMAL))
    overrides = ["training.epochs=3", "sources.0.train=all", "cohort.split.seed=7"]
    experiment = load_experiment(file, overrides)
    assert experiment.training.epochs == 3
    assert experiment.sources[0].train == "all"
    assert experiment.cohort.split.seed == 7


@pytest.mark.parametrize("override", ["training.epochs", "=3", "sources.9.train=all", "a=[1"])
def test_override_that_cannot_be_applied_is_named(tmp_path: Path, override: str) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(ConfigError, match="--set"):
        load_experiment(file, [override])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.epochss=3"], "--set training.epochss=3: unknown key 'training.epochss'"),
        (["seed=1", "training.lr=-1"], "--set training.lr=-1: training.lr: found -1, expected"),
        (["training={lr: -1}"], "--set training={lr: -1}: training.lr: found -1"),
        (["training.lr=-1", "training.lr=-2"], "--set training.lr=-2: training.lr: found -2"),
        (["sources.0.train=some"], "--set sources.0.train=some: sources.0.train: found 'some'"),
        (["seed=1", "trainng.lr=3", "name=a"], "--set trainng.lr=3: unknown key 'trainng'"),
        (["cohort.splt.folds=5"], "--set cohort.splt.folds=5: unknown key 'cohort.splt'"),
        (["cohort.split.fold=1"], "--set cohort.split.fold=1: cohort.split: fold is 1"),
        (["adaptation.method=adabn"], "--set adaptation.method=adabn: 'adaptation.target' is"),
        (["seed.a=3", "training.epochs=3"], "--set seed.a=3: seed: found a mapping"),
        ([f"name=[{'a' * 200}]"], f"--set name=[{'a' * 74}: name: found a list of 1"),
    ],
)
def test_override_with_a_wrong_key_or_value_is_named_not_the_file(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(MINIMAL))
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        load_experiment(file, overrides)


def test_the_file_is_named_for_what_no_override_touched(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(with_changes(training={"lr": -1})))
    with pytest.raises(ConfigError, match=r"experiment.yaml: training.lr: found -1"):
        load_experiment(file, ["seed=3"])
    with pytest.raises(ConfigError, match=r"experiment.yaml: training.lr: found -1"):
        load_experiment(file, ["training.epochs=3"])
    # two are wrong, and the first that is told is the file's
    with pytest.raises(ConfigError, match=r"experiment.yaml: training.lr: .* \(1 more\)"):
        load_experiment(file, ["training.weight_decay=-3"])
    with pytest.raises(ConfigError, match=r"--set training.lrr=1: unknown key 'training.lrr'"):
        load_experiment(file, ["training.lrr=1"])


def test_plain_data_need_not_be_copyable() -> None:
    data = with_changes(training=MappingProxyType({"epochs": 2}))
    assert parse_experiment(data).training.epochs == 2


def test_overrides_leave_the_data_of_the_caller_alone() -> None:
    data = with_changes(training={"epochs": 2})
    assert parse_experiment(data, overrides=["training.epochs=3"]).training.epochs == 3
    assert data["training"] == {"epochs": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "not valid YAML"),
        (b"- 1\n- 2\n", "found a list, expected settings such as"),
        (b"\xff\xfe\x00", "cannot be read|not valid YAML"),
        (b"", "found nothing, expected settings such as"),
    ],
)
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_experiment(file)


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        load_experiment(tmp_path / "absent.yaml")


def test_a_folder_is_told_from_a_configuration(tmp_path: Path) -> None:
    message = r"a folder, expected a YAML configuration.*Only 'medfuse train' takes a folder"
    with pytest.raises(ConfigError, match=message):
        load_experiment(tmp_path)


def test_digest_ignores_where_the_bank_lies_and_nothing_else() -> None:
    digest = parse_experiment(MINIMAL).digest()
    assert parse_experiment(with_changes(bank={"path": "elsewhere"})).digest() == digest
    assert parse_experiment(with_changes(seed=1)).digest() != digest
    assert (
        parse_experiment(with_changes(fusion={"use": "attention", "heads": 2})).digest() != digest
    )


def test_naming_authors_is_another_configuration_and_naming_none_is_not() -> None:
    plain = parse_experiment(MINIMAL).digest()
    assert parse_experiment(with_changes(bundle={"authors": "Not named."})).digest() == plain
    assert parse_experiment(with_changes(bundle={"authors": "Ward 7"})).digest() != plain


def test_fusion_options_are_kept_apart_from_its_name() -> None:
    fusion = parse_experiment(with_changes(fusion={"use": "attention", "heads": 2})).fusion
    assert fusion.use == "attention"
    assert fusion.options == {"heads": 2}


@pytest.mark.parametrize("section", ["fusion", "head"])
def test_bare_name_of_a_component_is_its_use(section: str) -> None:
    named = parse_experiment(with_changes(**{section: "linear"}))
    assert named == parse_experiment(with_changes(**{section: {"use": "linear"}}))
    assert parse_experiment(with_changes(sources=["mini:a"])) == parse_experiment(MINIMAL)


@pytest.mark.parametrize(
    ("given", "override", "expected"),
    [
        ({}, "fusion=concat", {"use": "concat"}),
        ({}, "fusion.heads=2", {"use": "attention", "heads": 2}),
        ({"fusion": "gated"}, "fusion.hidden=8", {"use": "gated", "hidden": 8}),
        ({"fusion": {"use": "gated"}}, "fusion.hidden=8", {"use": "gated", "hidden": 8}),
    ],
)
def test_override_of_a_component_keeps_its_name(
    given: dict[str, object], override: str, expected: dict[str, object], tmp_path: Path
) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(with_changes(**given)))
    assert load_experiment(file, [override]).fusion.model_dump() == expected


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=4))
def test_arbitrary_data_is_an_experiment_or_a_config_error(data: dict[str, object]) -> None:
    try:
        parse_experiment({**MINIMAL, **data})
    except ConfigError as error:
        assert "\n" not in str(error)
        assert "instance of" not in str(error)
        assert "Input should" not in str(error)


def test_a_place_that_a_list_lacks_is_named_beside_those_it_has(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text("cohort: {path: images}\nsources: [{use: a}, {use: b}]\n")
    with pytest.raises(ConfigError, match=r"there is no place '7', expected 0 to 1\."):
        load_experiment(file, ["sources.7.train=all"])


def test_a_bad_license_of_a_bundle_is_refused_with_what_is_expected() -> None:
    settings = {"cohort": {"path": "x"}, "sources": ["a"], "bundle": {"license": "what?"}}
    with pytest.raises(ConfigError, match=r"bundle\.license: found 'what\?', expected SPDX"):
        parse_experiment(settings)


def test_a_stage_can_be_named_in_two_ways_and_one_step_is_a_list_of_one() -> None:
    mapping = {"use": "a", "train": {"from": "layer3"}, "unfreeze": {"after": 2, "train": "all"}}
    listed = {"use": "a", "train": "from:layer3", "unfreeze": [{"after": 2, "train": "all"}]}
    one, other = (parse_experiment(with_changes(sources=[s])).sources for s in (mapping, listed))
    assert one == other
    assert one[0].train == "from:layer3"


@pytest.mark.parametrize(
    ("source", "expected"),
    [({"train": "all"}, 0.1), ({"train": "scratch"}, 1.0), ({"train": "all", "lr_scale": 1}, 1.0)],
)
def test_what_learns_from_the_first_epoch_has_a_rate_of_its_own(
    source: dict[str, object], expected: float
) -> None:
    experiment = parse_experiment(with_changes(sources=[{"use": "a", **source}]))
    assert experiment.sources[0].first_lr_scale == expected
