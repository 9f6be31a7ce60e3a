"""The documentation says what the code does."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from medfuse.cli.main import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it there
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [
    *REPOSITORY.glob("*.md"),
    *REPOSITORY.glob("docs/**/*.md"),
    *REPOSITORY.glob("recipes/*.md"),
    *REPOSITORY.glob("bundles/*.md"),
    *REPOSITORY.glob("plugins/*/README.md"),
]


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"(?:\$ |`)medfuse ([a-z]+)\b", text, re.MULTILINE)
    assert set(named) <= set(COMMANDS), named


def test_layers_in_the_architecture_are_those_that_are_checked() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    checked = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    section = (REPOSITORY / "docs/architecture.md").read_text().split("## Layers")[1]
    written = section.split("```")[1].split()
    assert " ".join(written).replace(" | ", "|").split() == [
        layer.replace(" | ", "|") for layer in checked
    ]


LITERATURE = [
    "alexnet", "vgg16", "vgg19", "googlenet", "inception_v3", "inception_resnet_v2",
    "xception", "resnet18", "resnet50", "resnet101", "densenet121", "densenet169",
    "densenet201", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "efficientnet_b0",
    "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
    "convnext_tiny", "convnext_base", "vit_small", "vit_base", "swin_tiny", "swin_base",
    "dino_vits16", "dino_vitb16", "dinov2_vits14", "dinov2_vits14_reg", "resnet10_3d",
    "resnet18_3d", "resnet34_3d", "resnet50_3d", "densenet121_3d.random",
    "seresnet50_3d.random", "vit_3d.random", "swin_3d.random",
]  # fmt: skip


def test_the_table_of_sources_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from medfuse.cli.main import run

    assert run(["sources", "list", "--markdown"]) == 0
    page = (REPOSITORY / "docs/sources.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out in page, "paste: medfuse sources list --markdown"


def test_the_table_of_sources_has_every_network_of_the_literature_with_its_width() -> None:
    page = (REPOSITORY / "docs/sources.md").read_text(encoding="utf-8")
    widths = dict(re.findall(r"^\| `([^`]+)` \| [^|]+ \| (\d+) \|", page, re.MULTILINE))
    assert set(LITERATURE) <= set(widths)


def test_every_folder_is_on_the_map() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text()
    folders = [f for f in (REPOSITORY / "medfuse").iterdir() if f.is_dir() and f.name[0] != "_"]
    assert all(f"{folder.name}/" in text for folder in folders)


def test_recipes_and_the_example_of_the_readme_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    from medfuse.config import load_experiment, parse_experiment

    monkeypatch.setenv("MEDFUSE_DATA", "/data")
    monkeypatch.setenv("MEDFUSE_WEIGHTS", "/weights")
    for recipe in REPOSITORY.glob("recipes/*.yaml"):
        experiment = load_experiment(recipe)
        assert experiment.sources
        published = experiment.training.optimizer == "adam"
        assert not published or experiment.training.ema_decay == 0 or experiment.sources[0].learns
    (example,) = code_blocks(REPOSITORY / "README.md", "yaml")
    assert parse_experiment(yaml.safe_load(example)).fusion.use == "attention"


def test_every_fusion_and_head_is_listed_with_its_options_and_paper() -> None:
    from importlib.util import find_spec

    from medfuse.builtin import medfuse_fusions, medfuse_heads

    text = (REPOSITORY / "docs/fusions.md").read_text(encoding="utf-8")
    described, _, _ = text.partition("## Few cases")
    rows = {row.split("`")[1]: row for row in described.splitlines() if row.startswith("| `")}
    specs = [*medfuse_fusions(), *medfuse_heads()]
    assert set(rows) == {spec.name for spec in specs}
    for spec in specs:
        row = rows[spec.name]
        assert {option.name for option in spec.options} <= set(re.findall(r"`(\w+)`", row)), row
        found = find_spec(spec.factory.partition(":")[0])
        assert found is not None
        source = Path(str(found.origin)).read_text(encoding="utf-8")
        for paper in re.findall(r"arXiv:[\d.]+\d|doi:[\w./()-]+\w", source):
            assert paper in row, (spec.name, paper)


SECTIONS = {
    "(top level)": "Experiment",
    "cohort": "CohortConfig",
    "cohort.split": "SplitConfig",
    "inputs.NAME": "InputConfig",
    "augmentation": "AugmentationConfig",
    "sources, one each": "SourceConfig",
    "sources.N.normalization": "NormalizationConfig",
    "sources.N.unfreeze": "UnfreezeConfig",
    "sources.N.adapter": "AdapterConfig",
    "training": "TrainingConfig",
    "training.early_stopping": "EarlyStoppingConfig",
    "evaluation": "EvaluationConfig",
    "evaluation.abstain": "AbstainConfig",
    "adaptation": "AdaptationConfig",
    "bundle": "BundleConfig",
    "bank": "BankConfig",
}


def configuration_rows(heading: str) -> dict[str, list[str]]:
    """Return kind and default of each key below a heading of docs/configuration.md."""
    page = (REPOSITORY / "docs/configuration.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [re.split(r"(?<!\\)\|", line) for line in section.splitlines() if line[:3] == "| `"]
    return {row[1].strip(" `"): [cell.strip() for cell in row[2:4]] for row in rows}


def test_every_section_of_the_configuration_is_documented() -> None:
    import medfuse.config
    from medfuse.config import Section

    found = [v for v in vars(medfuse.config).values() if isinstance(v, type)]
    named = {v.__name__ for v in found if issubclass(v, Section) and v is not Section}
    assert named == set(SECTIONS.values())


@pytest.mark.parametrize(("heading", "name"), SECTIONS.items())
def test_every_key_of_the_configuration_is_documented_with_kind_and_default(
    heading: str, name: str
) -> None:
    import medfuse.config
    from medfuse.config.kinds import kind_of

    fields = getattr(medfuse.config, name).model_fields
    rows = configuration_rows(heading)
    assert list(rows) == list(fields)
    for key, field in fields.items():
        kind, default = rows[key]
        expected = kind_of(field.annotation, field.metadata).replace("|", r"\|")
        assert kind.split("; ")[0] == expected, key
        if isinstance(field.default, int | float | str):
            shown = str(field.default)
            assert default == f"`{shown.lower() if shown in ('True', 'False') else shown}`", key
        assert (default == "**needed**") == field.is_required(), key


@pytest.mark.slow
@pytest.mark.parametrize("page", ["cohort.md", "bank.md", "training.md", "ranking.md"])
def test_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medfuse.workflows.phantoms import write_phantoms

    monkeypatch.chdir(tmp_path)
    write_phantoms("images", patients_per_class=5)
    run_python(REPOSITORY / "docs" / page)


@pytest.mark.slow
@pytest.mark.long
def test_commands_and_python_about_a_bundle_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    write_bundle_and_images()
    page = REPOSITORY / "docs/bundles.md"
    with_medfuse, without = code_blocks(page, "python")
    exec(compile(with_medfuse, page.name, "exec"), {"__name__": "fragment"})
    printed = capsys.readouterr().out
    assert "scan.png ok" in printed
    probabilities = re.findall(r"0\.\d+", printed)
    assert [float(one) for one in probabilities] == pytest.approx(
        [float(one) for one in re.findall(r"0\.\d+", run_without_medfuse(without, tmp_path))],
        abs=1e-5,
    )
    commands = [
        line.partition(" #")[0].strip()
        for block in code_blocks(page, "sh") for line in block.splitlines()
    ]  # fmt: skip
    # in the folders of applications, see .ci/label and .ci/deploy; torchrun in test_evaluation.py
    elsewhere = ("pip ", "python -m monailabel", "python . ", "torchrun ")
    run_console([c for c in commands if not c.startswith(elsewhere)], tmp_path)
    for app, start in {"label_app": "python -m monailabel", "deploy_app": "python . "}.items():
        (command,) = [c for c in commands if c.startswith(start)]
        assert command in (tmp_path / app / "README.md").read_text().splitlines()
    tables = [
        Path(folder, "predictions.csv").read_text().splitlines()
        for folder in ("out", "out_ts", "measured", "")
    ]
    assert [len(table) for table in tables] == [31, 31, 31, 31]
    assert "accuracy," in Path("measured/metrics.csv").read_text()
    assert Path("B/models/model_candidate.pt").is_file()


def write_bundle_and_images() -> None:
    """Write what docs/bundles.md names: B, scan.png, scans, labelled and data."""
    import shutil

    from medfuse.workflows.phantoms import write_phantoms
    from medfuse.workflows.train import train

    images = write_phantoms("scans", patients_per_class=5)
    run = train(
        {
            "cohort": {"path": "scans"},
            "sources": [{"use": "timm:test_resnet.random"}],
            "training": {"epochs": 1, "members": 1},
            "evaluation": {"bootstrap": 0},
        },
        "run",
        progress=False,
    )
    Path("B").symlink_to(run.bundle.resolve())  # verify wants a name that says the task
    shutil.copy(next(images.rglob("*.png")), "scan.png")
    for copy in ("labelled", "data/train", "data/val"):
        shutil.copytree("scans", copy)


def run_without_medfuse(code: str, folder: Path) -> str:
    """Return what a fragment prints in a process where medfuse cannot be imported."""
    blocked = "import sys\nsys.modules['medfuse'] = None\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", blocked + code],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def run_python(page: Path) -> None:
    fragments = code_blocks(page, "python")
    assert fragments
    for code in fragments:
        exec(compile(code, page.name, "exec"), {"__name__": "fragment"})


def test_no_page_or_program_names_a_place_on_a_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(home|root|tmp)/", page.read_text(encoding="utf-8")), page


@pytest.mark.slow
@pytest.mark.long
def test_quick_start_of_the_readme_runs_literally(tmp_path: Path) -> None:
    (console,) = code_blocks(REPOSITORY / "README.md", "console")
    install, *commands = console.replace("$ ", "").splitlines()
    assert install.startswith("pip install ")
    assert [line.split()[1] for line in commands] == ["demo", "train", "predict", "bundle"]
    run_console(commands, tmp_path)
    table = (tmp_path / "predictions.csv").read_text().splitlines()
    assert len(table) == 1 + len(list((tmp_path / "demo/images/nodule").iterdir()))
    assert (tmp_path / "demo/run/report.html").is_file()


@pytest.mark.slow
@pytest.mark.long
def test_a_bundle_that_ships_runs_as_its_page_says(tmp_path: Path) -> None:
    page = REPOSITORY / "bundles/README.md"
    (tmp_path / "bundles").symlink_to(REPOSITORY / "bundles")
    (console,) = code_blocks(page, "console")
    run_console(console.replace("$ ", "").splitlines(), tmp_path)
    (shell,) = code_blocks(page, "sh")
    subprocess.run(
        [sys.executable, *shlex.split(shell)[1:]], cwd=tmp_path, check=True, capture_output=True
    )
    tables = []
    for name in ("predictions.csv", "out/predictions.csv"):
        with (tmp_path / name).open(newline="") as file:
            tables.append([float(row["prob_Covid-19"]) for row in csv.DictReader(file)])
    assert len(tables[0]) == 3
    assert tables[0] == pytest.approx(tables[1], abs=1e-5)


def run_console(commands: list[str], folder: Path) -> None:
    """Run commands as a page prints them, with the programs of this environment first."""
    programs = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    for command in commands:
        done = subprocess.run(
            shlex.split(command),
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stderr)


def example_of_several_inputs(folder: Path) -> dict[str, object]:
    """Write cases as the table of docs/cohort.md has them; return the page's experiment."""
    import yaml

    from medfuse.workflows.phantom_volumes import write_cases

    page = REPOSITORY / "docs/cohort.md"
    section = page.read_text(encoding="utf-8").split("\n## Several inputs\n")[1].split("\n## ")[0]
    (header,) = re.findall(r"^\| (case_id .*) \|$", section, re.MULTILINE)
    columns = header.split(" | ")
    with write_cases(folder, patients_per_class=8).open(newline="") as file:
        rows = [{**row, "diagnosis": row["label"]} for row in csv.DictReader(file)]
    with (folder / "cohort.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, "patient_id": row["case_id"]} for row in rows)
    (example,) = code_blocks(page, "yaml")
    found: dict[str, object] = yaml.safe_load(example)
    return found


def test_example_of_several_inputs_can_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medfuse.config import parse_experiment
    from medfuse.registry import load_registry
    from medfuse.workflows.preflight import check_experiment
    from medfuse.workflows.settle import settle_cohort

    monkeypatch.chdir(tmp_path)
    experiment = parse_experiment(example_of_several_inputs(tmp_path))
    check_experiment(experiment, load_registry())
    assert set(settle_cohort(experiment).inputs) == {"ct", "xray"}


@pytest.mark.slow
@pytest.mark.long
def test_example_of_several_inputs_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medfuse.workflows.train import train

    monkeypatch.chdir(tmp_path)
    example = example_of_several_inputs(tmp_path)
    quick = {"training": {"epochs": 2, "members": 2}, "evaluation": {"bootstrap": 0}}
    run = train({**example, **quick}, "run", progress=False)
    assert run.bundle.name == "covid_classification"
    assert set(run.metrics["inputs"]) == {"ct", "xray", "clinic"}


@pytest.mark.slow
@pytest.mark.long
def test_python_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (snippet,) = code_blocks(REPOSITORY / "README.md", "python")
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 13
    exec(compile(snippet, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "report.html" in printed
    assert "status='ok'" in printed


def test_what_the_readme_says_of_the_quick_demo_is_what_the_demo_sets() -> None:
    from medfuse.config import TrainingConfig
    from medfuse.workflows.demo import demo_experiment

    said = re.search(
        r"quick: small images, (\d+)\sepochs\sand\s(\d+)\smembers",
        (REPOSITORY / "README.md").read_text(),
    )
    training = demo_experiment(REPOSITORY).training
    assert said
    assert [int(number) for number in said.groups()] == [training.epochs, training.members]
    defaults = TrainingConfig()
    assert (training.epochs, training.members) != (defaults.epochs, defaults.members)


def test_decisions_are_numbered_once_and_as_their_files() -> None:
    pages = sorted((REPOSITORY / "docs/adr").glob("*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    assert numbers == list(range(1, len(pages) + 1))
    for number, page in zip(numbers, pages, strict=True):
        assert page.read_text(encoding="utf-8").startswith(f"# {number}. "), page.name
