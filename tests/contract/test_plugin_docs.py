"""docs/plugins.md is in step with the code, and everything in it runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from medfuse.contract import hookspecs
from medfuse.testing import checks_of
from medfuse.testing.findings import carry_out

DOCS = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
TEXT = DOCS.read_text(encoding="utf-8")
HOOKS = [name for name in vars(hookspecs) if name.startswith("medfuse_")]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


SHORT_RUN = """
cohort: {path: images}
inputs: {image: {size: [64, 64]}}
augmentation: {views: 0}
training: {epochs: 2}
evaluation: {bootstrap: 20}
sources: [{use: "lungnet:lungnet.random", train: all}]
"""


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    code: str


def blocks(text: str) -> list[Block]:
    return [Block(*match.groups(default="")) for match in BLOCK.finditer(text)]


def section(heading: str, level: str) -> str:
    _, found, rest = TEXT.partition(f"\n{level} {heading}\n")
    assert found, f"docs/plugins.md has no section {heading!r}"
    return re.split(rf"\n#{{2,{len(level)}}} ", rest, maxsplit=1)[0]


def hook_section(hook: str) -> str:
    heading = re.search(rf"^### ({hook}\(.*\))$", TEXT, re.MULTILINE)
    assert heading, f"docs/plugins.md does not document {hook}"
    return section(heading[1], "###")


START = blocks(section("From zero to a trained model in 30 lines", "##"))
EXAMPLES = {hook: blocks(hook_section(hook)) for hook in HOOKS}
PLUGINS = {
    block.title.removesuffix(".py"): hook
    for hook, found in EXAMPLES.items()
    for block in found
    if "@hookimpl" in block.code
}


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write titled blocks into the working directory, and make them importable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def save(found: list[Block]) -> Path:
        for block in found:
            if block.title:
                Path(block.title).write_text(block.code, encoding="utf-8")
        return tmp_path

    yield save
    for module in set(sys.modules) - before:
        file = getattr(sys.modules[module], "__file__", None) or ""
        if Path(file).is_relative_to(tmp_path):
            del sys.modules[module]


def findings(module: str, *, alone: bool) -> list[str]:
    """Return what failed, of the checks in a process of their own or of the others."""
    chosen = [c for c in checks_of(module) if (c.name == "rebuilds alone") == alone]
    assert chosen or alone
    found = [carry_out(check) for check in chosen]
    return [f"{f.component} {f.check}: {f.detail}" for f in found if f.status == "failed"]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_complete_example(hook: str) -> None:
    assert any(f"def {hook}(" in block.code for block in EXAMPLES[hook])


def test_no_hook_is_documented_that_does_not_exist() -> None:
    assert re.findall(r"^### (medfuse_\w+)", TEXT, re.MULTILINE) == HOOKS


@pytest.mark.parametrize("module", PLUGINS)
def test_an_example_passes_the_kit(saved, module: str) -> None:
    saved(EXAMPLES[PLUGINS[module]])
    assert findings(module, alone=False) == []


@pytest.mark.slow
@pytest.mark.parametrize("module", PLUGINS)
def test_an_example_rebuilds_without_medfuse(saved, module: str) -> None:
    saved(EXAMPLES[PLUGINS[module]])
    assert findings(module, alone=True) == []


@pytest.mark.parametrize("hook", [h for h in HOOKS if any(not b.title for b in EXAMPLES[h])])
def test_the_code_that_uses_an_example_runs(saved, hook: str) -> None:
    saved(EXAMPLES[hook])
    for block in EXAMPLES[hook]:
        if block.language == "python" and not block.title:
            exec(compile(block.code, f"{DOCS.name} {hook}", "exec"), {"__name__": "example"})


def test_the_first_plugin_has_at_most_thirty_lines() -> None:
    files = [block for block in START if block.title.endswith((".toml", ".py"))]
    assert len(files) == 3
    assert sum(bool(line.strip()) for b in files for line in b.code.splitlines()) <= 30


def test_the_first_plugin_is_listed_and_passes_the_kit_by_name(saved, capsys) -> None:
    from medfuse.cli.main import run

    site = saved(START)
    install(site)
    assert run(["plugins", "list"]) == 0
    listed = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("lungnet"))
    assert listed.split() == ["lungnet", "ok", "medfuse-lungnet", "0.1.0", "1", "backbone"]
    assert run(["plugins", "check", "lungnet"]) == 0
    assert "backbone lungnet" in capsys.readouterr().out
    assert run(["sources", "show", "lungnet:lungnet"]) == 0
    assert re.search(r"feature width +128 ", capsys.readouterr().out)


def test_the_first_plugin_with_torch_at_its_top_is_caught(saved) -> None:
    site = saved(START)
    plugin = site / "lungnet.py"
    plugin.write_text("import torch\n" + plugin.read_text())
    assert findings("lungnet", alone=False) == [
        f"plugin light import: {plugin}, line 1: imports torch when the plugin is listed. "
        "Import it in the module that the factory names, or inside a function."
    ]


def test_the_first_configuration_is_valid(saved) -> None:
    from medfuse.config import load_experiment

    saved(START)
    experiment = load_experiment("lungnet.yaml")
    assert experiment.sources[0].use == "lungnet:lungnet.random"


@pytest.mark.slow
def test_the_first_plugin_trains_into_a_bundle_that_holds_its_source(saved) -> None:
    site = saved([block for block in START if block.title != "lungnet.yaml"])
    install(site)
    draw_two_classes(site / "images")
    Path("lungnet.yaml").write_text(SHORT_RUN)
    done = subprocess.run(
        [sys.executable, "-m", "medfuse.cli.main", "train", "lungnet.yaml", "--out", "run"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (copy,) = Path("run/bundle").glob("*_classification/scripts/lungnet_network.py")
    assert copy.read_text() == Path("lungnet_network.py").read_text()


def test_every_check_of_the_kit_is_in_the_table(saved) -> None:
    rows = re.findall(r"^\| ([a-z -]+) \|", section("Conformance kit", "##"), re.MULTILINE)
    for found in EXAMPLES.values():
        saved(found)
    names = {check.name for module in PLUGINS for check in checks_of(module)}
    assert set(rows) - {"check"} == names | {"loads", "traced graph"}


def test_the_documented_environment_variables_are_read() -> None:
    from medfuse.registry import discovery

    assert f"`{discovery.STRICT}=1`" in TEXT
    assert f"`{discovery.BLOCK}=a,b`" in TEXT


@pytest.mark.slow
def test_the_documented_pytest_command_runs(saved) -> None:
    saved(START)
    command = [sys.executable, "-m", "pytest", "-q", "--pyargs", "medfuse.testing.conformance"]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [*command, "--medfuse-plugin", "lungnet"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"1[0-9] passed", done.stdout)


def install(site: Path) -> None:
    """Do what pip does with the documented pyproject.toml: metadata and entry point."""
    text = (site / "pyproject.toml").read_text()
    name, version = re.findall(r'^(?:name|version) = "(.+)"$', text, re.MULTILINE)
    point = re.search(r'^\[project\.entry-points\.medfuse\]\n(\w+) = "(\w+)"$', text, re.MULTILINE)
    assert point
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text(f"[medfuse]\n{point[1]} = {point[2]}\n")


def draw_two_classes(folder: Path) -> None:
    """Write 24 noise images for each of two classes, one of them striped."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("plain", "striped"):
        (folder / name).mkdir(parents=True)
        for index in range(24):
            pixels = random.integers(0, 120, (64, 64), dtype=np.uint8)
            pixels[:, :: 4 if name == "striped" else 64] = 255
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
