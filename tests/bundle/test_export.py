"""``medfuse bundle export``: what is written, and what is refused before anything is."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medfuse.bundle import BundleRequest
from medfuse.bundle import write as write_module
from medfuse.bundle.digests import check_digests, write_digests
from medfuse.bundle.export import KINDS, export_bundle
from medfuse.bundle.write import write_bundle
from medfuse.cli.main import run
from medfuse.errors import BundleError, ConfigError, OutputError, PluginError

PINS = (
    "monailabel==0.8.5", "monai==1.6.1", "torch==2.15.0", "torchvision==0.29.2",
    "numpy==1.26.4", "pydicom==2.4.5",
)  # fmt: skip
Change = Callable[[BundleRequest], BundleRequest]


@pytest.fixture(scope="module")
def app(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "app"
    export_bundle(bundle, "label", out)
    return out


def test_a_label_app_is_code_requirements_readme_and_the_bundle_as_it_was(
    app: Path, bundle: Path
) -> None:
    assert sorted(path.name for path in app.iterdir()) == [
        "LICENSE", "README.md", "lib", "main.py", "model", "requirements.txt",
    ]  # fmt: skip
    (copied,) = (app / "model").iterdir()
    assert copied.name == "tiny_classification"
    check_digests(copied)
    assert (copied / "SHA256SUMS").read_bytes() == (bundle / "SHA256SUMS").read_bytes()
    assert "Apache License" in (app / "LICENSE").read_text()


def test_what_came_after_the_bundle_was_written_is_left_behind(
    bundle: Path, tmp_path: Path
) -> None:
    own = tmp_path / "renamed"
    shutil.copytree(bundle, own)
    (own / "models" / "model_candidate.pt").write_bytes(b"later")
    (own / "eval").mkdir()
    (own / "eval" / "predictions.csv").write_text("later")
    export_bundle(own, "label", tmp_path / "app")
    copied = tmp_path / "app" / "model" / "tiny_classification"
    names = {path.name for path in copied.rglob("*")}
    assert names.isdisjoint({"model_candidate.pt", "eval", "predictions.csv"})
    assert "model.pt" in names


def test_the_requirements_pin_what_was_measured_and_what_the_bundle_needs(app: Path) -> None:
    lines = (app / "requirements.txt").read_text().splitlines()
    assert set(PINS) < set(lines)
    needed = json.loads(
        (app / "model" / "tiny_classification" / "configs" / "metadata.json").read_text()
    )["required_packages_version"]
    assert f"timm=={needed['timm']}" in lines
    assert {line.partition("==")[0] for line in lines[1:]} >= {*needed}
    assert all("==" in line for line in lines[1:])


def test_the_app_s_modules_import_nothing_of_medfuse_and_each_other_relatively(app: Path) -> None:
    modules = [app / "main.py", *(app / "lib").glob("*.py")]
    found = set()
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module))
    assert len(modules) == 10
    assert not {name for name in found if name.partition(".")[0] in ("medfuse", "scripts")}
    assert "lib.app" in found


def test_the_readme_names_the_model_its_classes_and_the_start(app: Path) -> None:
    text = (app / "README.md").read_text()
    assert KINDS["label"].start in text
    assert "normal, pneumonia, Covid-19" in text
    assert "/infer/tiny_classification" in text
    assert "$" not in text.replace("$label", "")
    assert "It serves, but" not in text


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda r: replace(r, network_node=None, graph_only=("head x: no recipe",)),
            "the network exists only as a graph: head x: no recipe",
        ),
        (
            lambda r: replace(r, link="sigmoid"),
            "a label of MONAI Label names one class, here a case may have several",
        ),
    ],
    ids=["graph", "labels"],
)
def test_a_bundle_without_training_is_served_and_the_note_says_so(
    change: Change, reason: str, request_: BundleRequest, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(write_module, "write_onnx", lambda *_: 0.0)
    root = write_bundle(change(request_), tmp_path)
    out = tmp_path / "app"
    assert run(["bundle", "export", str(root), "--for", "label", "--out", str(out)]) == 0
    assert f"note     it serves, but cannot be trained: {reason}" in capsys.readouterr().out
    assert f"**It serves, but cannot be trained: {reason}.**" in (out / "README.md").read_text()


def _weights(root: Path) -> None:
    (root / "models" / "model.pt").write_bytes(b"other weights")


def _script(root: Path) -> None:
    (root / "scripts" / "more.py").write_text("x = 1\n")


def _format(root: Path) -> None:
    path = root / "configs" / "metadata.json"
    document: dict[str, Any] = json.loads(path.read_text())
    document["medfuse"]["format"] = 99
    path.write_text(json.dumps(document))
    write_digests(root)


@pytest.mark.parametrize(
    ("tamper", "match"),
    [
        (_weights, r"model.pt: changed since the bundle was written"),
        (_script, r"more.py: not named in SHA256SUMS, but could be run"),
        (_format, r"bundle format 99, expected 1"),
        (lambda root: (root / "LICENSE").unlink(), "LICENSE: named in SHA256SUMS, but absent"),
        (lambda root: shutil.rmtree(root / "configs"), "not a bundle. Give a folder"),
    ],
    ids=["weights", "script", "format", "missing", "no bundle"],
)
def test_what_is_not_as_it_was_written_is_refused(
    tamper: Callable[[Path], None], match: str, bundle: Path, tmp_path: Path
) -> None:
    root = tmp_path / "b_classification"
    shutil.copytree(bundle, root)
    tamper(root)
    with pytest.raises(BundleError, match=match):
        export_bundle(root, "label", tmp_path / "app")
    assert [path.name for path in tmp_path.iterdir()] == [root.name]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda _: [], "metadata.json: not that of a bundle. Copy the bundle again"),
        (
            lambda d: {**d, "name": None, "network_data_format": {}},
            "not that of a bundle .KeyError",
        ),
        (
            lambda d: (
                d["network_data_format"]["outputs"]["pred"].update(channel_def={"0": "b", "1": "a"})
                or d
            ),
            "its classes b, a are not the class_names of inference.json",
        ),
    ],
    ids=["no object", "no inputs", "swapped names"],
)
def test_metadata_that_do_not_fit_are_refused_in_words(
    change: Callable[[Any], Any], match: str, bundle: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(bundle, tmp_path / "b_classification"))
    place = root / "configs" / "metadata.json"
    place.write_text(json.dumps(change(json.loads(place.read_text()))))
    write_digests(root)
    with pytest.raises(BundleError, match=match):
        export_bundle(root, "deploy", tmp_path / "app")
    assert [path.name for path in tmp_path.iterdir()] == [root.name]


def test_an_export_replaces_nothing(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"app: exists, and an export replaces nothing"):
        export_bundle(bundle, "label", tmp_path / "app")
    with pytest.raises(OutputError, match="replaces nothing"):
        export_bundle(bundle, "label", tmp_path / "app" / "mine.txt")
    assert (tmp_path / "app" / "mine.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert export_bundle(bundle, "label", tmp_path / "empty").folder.is_dir()


def test_an_unknown_program_is_named_with_the_nearest_known(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="'labl' is unknown. Did you mean .label.. Known: "):
        export_bundle(bundle, "labl", tmp_path / "app")


def test_the_command_takes_a_run_and_prints_how_to_start(
    bundle: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    (tmp_path / "run" / "bundle" / bundle.name).symlink_to(bundle)
    out = tmp_path / "an app"
    given = ["bundle", "export", str(tmp_path / "run"), "--for", "label"]
    assert run([*given, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "folder": str(out), "start": KINDS["label"].start, "remarks": [],
    }  # fmt: skip
    assert run([*given, "--out", str(tmp_path / "app")]) == 0
    assert f"start    cd {tmp_path / 'app'} && {KINDS['label'].start}" in capsys.readouterr().out
    assert run([*given, "--out", str(out)]) == 1
    error = capsys.readouterr().err.strip()
    assert "an app: exists" in error
    assert "\n" not in error


def test_the_help_names_every_program(capsys) -> None:
    assert run(["bundle", "export", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name, kind in KINDS.items():
        assert f"'{name}' is {kind.summary}" in shown


SPEC = "ExporterSpec(name='listing', summary='s', factory='listing_export:{}', options={})"
LISTING = "from medfuse.contract import *\n@hookimpl\ndef medfuse_exporters():\n    yield " + SPEC
OPTION = "(Option(name='name', kind='str', default='files', summary='of the list'),)"
EXPORTS = """
def fill(bundle, out, name):
    (out / f'{name}.txt').write_text('\\n'.join(sorted(path.name for path in bundle.iterdir())))

def fail(bundle, out):
    (out / 'half.txt').write_text('half')
    raise RuntimeError('disk of cheese')

def idle(bundle, out):
    pass
"""


def test_a_plugin_fills_the_folder_of_an_export(
    bundle: Path, tmp_path: Path, capsys, install_plugin
) -> None:
    install_plugin("listing", LISTING.format("fill", OPTION), listing_export=EXPORTS)
    given = ["bundle", "export", str(bundle), "--for", "listing", "--out"]
    assert run([*given, str(tmp_path / "a")]) == 0
    assert capsys.readouterr().out == f"written  {tmp_path / 'a'}\n"
    assert "LICENSE" in (tmp_path / "a" / "files.txt").read_text()
    assert run([*given, str(tmp_path / "b"), "--set", "name=all"]) == 0
    assert [file.name for file in (tmp_path / "b").iterdir()] == ["all.txt"]
    capsys.readouterr()
    assert run([*given, str(tmp_path / "c"), "--set", "nam=all"]) == 1
    assert "exporter listing: unknown option 'nam'" in capsys.readouterr().err
    with pytest.raises(BundleError, match="'listng' is unknown. Did you mean .listing.. Known: la"):
        export_bundle(bundle, "listng", tmp_path / "d")
    with pytest.raises(ConfigError, match="'label' takes no options, found name"):
        export_bundle(bundle, "label", tmp_path / "d", options={"name": 1})
    assert export_bundle(bundle, "listing:listing", tmp_path / "d").start == ""


@pytest.mark.parametrize(
    ("factory", "reason"),
    [("fail", "listing raised RuntimeError: disk of cheese"), ("idle", "listing: wrote nothing")],
)
def test_a_plugin_that_fails_leaves_no_folder(
    bundle: Path, tmp_path: Path, install_plugin, factory: str, reason: str
) -> None:
    install_plugin("listing", LISTING.format(factory, "()"), listing_export=EXPORTS)
    with pytest.raises(PluginError, match=f"exporter {reason}"):
        export_bundle(bundle, "listing", tmp_path / "out")
    assert not (tmp_path / "out").exists()
