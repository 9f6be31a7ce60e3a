"""Do with one bundle all that MONAI does, where medfuse is absent; write what came out as JSON.

    python matrix_steps.py FOLDER SCHEMA REPORT

FOLDER is one that `matrix_bundles.py` wrote, SCHEMA MONAI's schema of metadata.json or `-`.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch  # noqa: TID253 - MONAI is at work here anyway

Outcome = tuple[str, str]
Step = Callable[["Case"], str]
WITHIN = 1e-5
GRAPHS_WITHIN = 1e-4
INTERFACE = {
    "input_names": ["image"],
    "output_names": ["pred"],
    "dynamic_axes": {"image": {0: "batch"}, "pred": {0: "batch"}},
}


class SkippedError(Exception):
    """Why a step does not apply to a bundle."""


class Case:
    """A bundle, its inputs and what medfuse says of them."""

    def __init__(self, folder: Path, schema: str, work: Path) -> None:
        (self.root,) = (folder / "bundle").glob("*_classification")
        self.inputs = folder / "in"
        self.expected: dict[str, dict[str, float]] = json.loads(
            (folder / "expected.json").read_text()
        )
        self.schema, self.work = schema, work
        self.rows: dict[str, dict[str, str]] = {}
        self.metadata = json.loads(self.config("metadata.json").read_text())

    def config(self, name: str) -> Path:
        """Return where a configuration lies."""
        return self.root / "configs" / name

    def require_network(self) -> None:
        """Pass if the network is there as code and weights."""
        if self.metadata["medfuse"]["graph_only"]:
            raise SkippedError("exists only as model.ts, which is its export")

    def fixed(self) -> torch.Tensor:
        """Return three cases, the same each time."""
        entry = self.metadata["network_data_format"]["inputs"]["image"]
        generator = torch.Generator().manual_seed(0)
        return torch.rand(3, entry["num_channels"], *entry["spatial_shape"], generator=generator)

    def logits(self) -> torch.Tensor:
        """Return what the network of inference.json says of them."""
        from monai.bundle.config_parser import ConfigParser

        parser = ConfigParser()
        parser.read_config(str(self.config("inference.json")))
        parser["bundle_root"], parser["device"] = str(self.root), torch.device("cpu")
        network = parser.get_parsed_content("network_def")
        state = torch.load(self.root / "models" / "model.pt", weights_only=True)
        network.load_state_dict(state, strict=True)
        with torch.inference_mode():
            found: torch.Tensor = network.eval()(self.fixed())
        return found

    def probabilities(self, name: str) -> dict[str, float]:
        """Return those of MONAI's own run, which is done once for all formats."""
        if not self.rows:
            from monai.bundle.scripts import run

            out = self.work / "run"
            run(
                config_file=str(self.config("inference.json")), bundle_root=str(self.root),
                dataset_dir=str(self.inputs), output_dir=str(out), logging_file=False,
            )  # fmt: skip
            with (out / "predictions.csv").open(newline="") as file:
                self.rows = {row["image"]: row for row in csv.DictReader(file)}
        row = self.rows[name]
        return {k.removeprefix("prob_"): float(v) for k, v in row.items() if k[:5] == "prob_"}


def run_on(kind: str) -> Step:
    """Return the step that compares MONAI's run with medfuse, for one format of images."""

    def step(case: Case) -> str:
        names = [name for name in case.expected if name.partition("/")[0] == kind]
        if not names:
            raise SkippedError("not a format of this input")
        worst = 0.0
        for name in names:
            found, expected = case.probabilities(name), case.expected[name]
            assert list(found) == list(expected), (found, expected)
            worst = max(worst, *(abs(found[label] - expected[label]) for label in expected))
        assert worst <= WITHIN, f"differs by {worst:.1e}"
        return f"{len(names)} differ by {worst:.1e}"

    return step


def monochrome1(case: Case) -> str:
    """An X-ray that is stored inverted gets the answer of its twin."""
    first, second = (f"dicom/monochrome{number}.dcm" for number in (1, 2))
    if first not in case.expected:
        raise SkippedError("no X-ray")
    found, twin = case.probabilities(first), case.probabilities(second)
    worst = max(abs(found[label] - twin[label]) for label in twin)
    assert worst <= WITHIN, f"differs from its twin by {worst:.1e}"
    return f"differs from its twin by {worst:.1e}"


def properties(config: str, kind: str) -> Step:
    """Return the step that asks MONAI which of its properties are missing."""

    def step(case: Case) -> str:
        from monai.bundle.workflows import ConfigWorkflow

        if not case.config(config).is_file():
            raise SkippedError(case.metadata["medfuse"]["left_out"][f"configs/{config}"])
        data = labelled(case) if kind == "train" else case.inputs
        workflow = ConfigWorkflow(
            config_file=str(case.config(config)), workflow_type=kind, logging_file=False,
            bundle_root=str(case.root), dataset_dir=str(data),
        )  # fmt: skip
        workflow.initialize()
        found = workflow.check_properties()
        assert found == [], found
        return "[]"

    return step


def labelled(case: Case) -> Path:
    """Return a folder whose parts hold an image of each class, or with each label."""
    first = next(iter(case.expected))
    classes = list(case.metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())
    for part in ("train", "val"):
        folder = case.work / "labelled" / part
        folder.mkdir(parents=True, exist_ok=True)
        rows, columns = [[label] for label in classes], ["label"]
        if case.metadata["medfuse"]["link"] == "sigmoid":
            rows, columns = [[str(int(a == b)) for b in classes] for a in classes], classes
        lines = [["image", *columns], *([str(case.inputs / first), *row] for row in rows)]
        (folder / "labels.csv").write_text("".join(f"{','.join(line)}\n" for line in lines))
    return case.work / "labelled"


def net_in_out(case: Case) -> str:
    """MONAI's verify_net_in_out."""
    from monai.bundle.scripts import verify_net_in_out

    verify_net_in_out(
        net_id="network_def", meta_file=str(case.config("metadata.json")),
        config_file=str(case.config("inference.json")), bundle_root=str(case.root), device="cpu",
    )  # fmt: skip
    return "passed"


def metadata(case: Case) -> str:
    """MONAI's verify_metadata, by the public schema."""
    from monai.bundle.scripts import verify_metadata

    if case.schema == "-":
        raise SkippedError("MONAI's schema is not beside the repository")
    verify_metadata(meta_file=str(case.config("metadata.json")), filepath=case.schema)
    return "valid"


def ckpt_export(case: Case) -> str:
    """MONAI's ckpt_export, and the network it exported."""
    from monai.bundle.scripts import ckpt_export as export

    case.require_network()
    path = case.work / "exported.ts"
    export(
        net_id="network_def", filepath=str(path), config_file=str(case.config("inference.json")),
        bundle_root=str(case.root), device="cpu",
    )  # fmt: skip
    with torch.inference_mode():
        return near(torch.jit.load(path)(case.fixed()), case.logits())


def onnx_export(case: Case) -> str:
    """MONAI's onnx_export, and the network it exported, with another size of the batch."""
    import onnxruntime
    from monai.bundle.scripts import onnx_export as export

    case.require_network()
    path = case.work / "exported.onnx"
    export(
        net_id="network_def", filepath=str(path), ckpt_file=str(case.root / "models/model.pt"),
        meta_file=str(case.config("metadata.json")), converter_kwargs=INTERFACE,
        config_file=str(case.config("inference.json")), bundle_root=str(case.root), device="cpu",
        input_shape=[2, *case.fixed().shape[1:]],
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["pred"], {"image": case.fixed().numpy()})
    return near(torch.from_numpy(np.asarray(found)), case.logits())


def measured(case: Case) -> str:
    """evaluate.json gives metrics and rows."""
    from monai.bundle.scripts import run

    if not case.config("evaluate.json").is_file():
        raise SkippedError(case.metadata["medfuse"]["left_out"]["configs/evaluate.json"])
    out = case.work / "measured"
    run(
        config_file=str(case.config("evaluate.json")), bundle_root=str(case.root),
        dataset_dir=str(labelled(case) / "val"), output_dir=str(out), logging_file=False,
    )  # fmt: skip
    assert (out / "predictions.csv").is_file()
    found = dict(line.split(",") for line in (out / "metrics.csv").read_text().split())
    assert 0 <= float(found["accuracy"]) <= 1, found
    return f"{len(found)} metrics"


def near(found: torch.Tensor, expected: torch.Tensor) -> str:
    """Pass if logits are near those of the network."""
    worst = float((found - expected).abs().max())
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert worst <= GRAPHS_WITHIN, f"differs by {worst:.1e}"
    return f"differs by {worst:.1e}"


STEPS: dict[str, Step] = {
    "run, JPEG": run_on("jpeg"),
    "run, 16-bit PNG": run_on("png16"),
    "run, NIfTI": run_on("nifti"),
    "run, DICOM": run_on("dicom"),
    "run, MONOCHROME1": monochrome1,
    "properties, infer": properties("inference.json", "infer"),
    "properties, train": properties("train.json", "train"),
    "verify_net_in_out": net_in_out,
    "verify_metadata": metadata,
    "ckpt_export": ckpt_export,
    "onnx_export": onnx_export,
    "evaluate": measured,
}


def outcome(step: Step, case: Case) -> Outcome:
    """Return how a step ended, and what it found."""
    try:
        return "passed", step(case)
    except SkippedError as reason:
        return "skipped", str(reason)
    except Exception as error:  # noqa: BLE001 - a bundle may raise anything; it is reported
        traceback.print_exc()
        while error.__cause__ is not None:
            error = error.__cause__
        return "failed", f"{type(error).__name__}: {error}"[:500]


def main(folder: Path, schema: str, report: Path) -> None:
    """Write the outcome of every step."""
    if importlib.util.find_spec("medfuse") is not None:
        raise SystemExit("medfuse can be imported here, so that nothing would be shown")
    warnings.simplefilter("ignore")
    work = report.with_suffix("")
    work.mkdir()
    os.chdir(work)
    case = Case(folder, schema, work)
    results = {name: outcome(step, case) for name, step in STEPS.items()}
    report.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
