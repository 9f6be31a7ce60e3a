"""From a trained model to its bundle, checked against the probabilities that were reported."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from medfuse.backbones.build import BuiltSource
from medfuse.bundle import IMAGE, BundleRequest, InputSpec, Provenance, SourceRecord
from medfuse.bundle.request import LabelWeights
from medfuse.bundle.seen import ADAPTATION, OWN_TRAINING
from medfuse.bundle.write import write_bundle
from medfuse.calibration.isotonic import IsotonicCalibration
from medfuse.config import Experiment, SourceConfig
from medfuse.contract import ComponentSpec, GraphOnly
from medfuse.data import Case, Cohort, split_digest
from medfuse.data.plugin_reader import reader_of
from medfuse.data.readers import InstalledReader
from medfuse.errors import BundleError
from medfuse.evaluation.abstention import Abstention
from medfuse.preprocessing import VIEW_MODULES, augmentation_config
from medfuse.preprocessing.tabular_row import tabular_width
from medfuse.registry import Registry
from medfuse.registry.vendoring import vendored_target
from medfuse.serving.predict import load_bundle
from medfuse.workflows.calibrating import calibration_facts, probabilities_of
from medfuse.workflows.extract import ViewMaker
from medfuse.workflows.input_views import InputViews
from medfuse.workflows.learn import LearnedModel, LearningTask
from medfuse.workflows.prepare import PreparedCohort, PreparedInput
from medfuse.workflows.seen import seen_by_sources

_log = logging.getLogger(__name__)
_TOLERANCE = 1e-5
_TOLERANCE_OF_GPU = 1e-4  # features computed there in FP32 differ by rounding from the bundle's
_CHECKED = 8
_READING = ("container", "remap", "key_format", "stem", "sha256_checked", "batch_norm")


@dataclass(frozen=True)
class Measured:
    """What was measured of a model, and goes into its bundle.

    Attributes:
        metrics: plain data, of the test cases.
        policy: when it gives no answer.
    """

    metrics: Mapping[str, Any]
    policy: Abstention


def write_run_bundle(
    task: LearningTask, model: LearnedModel, measured: Measured, folder: Path
) -> tuple[Path, float | None]:
    """Write the bundle of a run into ``folder``.

    Returns:
        its path, and the largest difference between its own predictions for a few cases and the
        reported probabilities; ``None`` if it can read none of the cases.

    Raises:
        BundleError: the bundle cannot be written, or it predicts something else. Nothing is left
            of it then.
    """
    differences: list[float | None] = []

    def check(root: Path) -> None:
        differences.append(_check(task, model, root))

    path = write_bundle(_request(task, model, measured), folder, check)
    difference = differences[0]
    if difference is not None:
        _log.info("bundle %s: same probabilities to %.1e", path, difference)
    return path, difference


def graph_only_parts(
    experiment: Experiment, registry: Registry, sources: Sequence[BuiltSource]
) -> tuple[str, ...]:
    """Return the parts that a bundle holds only as a graph, each with its plugin's reason."""
    fusion, head = experiment.fusion.use, experiment.head.use
    parts: list[tuple[str, ComponentSpec | None]] = [
        *((f"source {source.label}", source.spec) for source in sources),
        (f"fusion {fusion}", registry.fusion(fusion)),
        (f"head {head}", registry.head(head)),
    ]
    return tuple(
        f"{name} ({spec.export.reason})"
        for name, spec in parts
        if spec is not None and isinstance(spec.export, GraphOnly)
    )


def _request(task: LearningTask, model: LearnedModel, measured: Measured) -> BundleRequest:
    prepared, sources = task.prepared, task.features.sources
    modules = [m for s in sources for m in s.vendored]
    requires = [r for s in sources for r in s.requires]
    return BundleRequest(
        name=task.experiment.name,
        network=model.network,
        network_node=_network_node(task, model),
        graph_only=graph_only_parts(task.experiment, task.registry, sources),
        vendored=_unique(
            [
                *model.classifier.vendored,
                *modules,
                *_modules_of(prepared),
                *VIEW_MODULES,
                *_calibration_modules(model),
            ]
        ),
        requires=_unique([*model.classifier.requires, *requires, *_requirements_of(prepared)]),
        preprocessing_nodes={
            key: tuple(read.preprocessing.monai_config()) for key, read in _keys(prepared).items()
        },
        augmentation_nodes={
            key: tuple(_augmentation(task, read)) for key, read in _keys(prepared).items()
        },
        plugin_suffixes=_unique([end for one in _held(prepared) for end in one.spec.suffixes]),
        all_inputs_needed=not model.classifier.fusion.handles_missing,
        inputs=tuple(_input(key, read) for key, read in _keys(prepared).items()),
        classes=prepared.cohort.classes,
        codes={name: code.model_dump() for name, code in task.experiment.bundle.codes.items()},
        link="sigmoid" if prepared.cohort.multilabel else "softmax",
        thresholds=tuple(threshold.value for threshold in model.thresholds),
        label_weights=_weights(task.experiment.training.class_weights),
        provenance=Provenance(
            sources=tuple(
                _record(source, config, task.registry)
                for source, config in zip(sources, task.experiment.sources, strict=True)
            ),
            split_digest=split_digest(prepared.cohort),
            seen=_seen(task),
            details=_details(task, model),
        ),
        metrics=measured.metrics,
        abstention=measured.policy,
        data=_data(task),
        authors=task.experiment.bundle.authors,
        copyright=task.experiment.bundle.copyright or "",
        license=task.experiment.bundle.license,
        accepted_licenses=task.experiment.bundle.accept_licenses,
        description=task.experiment.bundle.description or "",
        references=task.experiment.bundle.references,
        graphs=task.experiment.bundle.graphs,
    )


def _keys(prepared: PreparedCohort) -> dict[str, PreparedInput]:
    """Return the inputs by their name in the bundle; a single one is called ``image`` there."""
    if len(prepared.inputs) == 1:
        return {IMAGE: next(iter(prepared.inputs.values()))}
    return dict(prepared.inputs)


def _modules_of(prepared: PreparedCohort) -> list[str]:
    return [m for read in prepared.inputs.values() for m in read.preprocessing.vendored_modules]


def _held(prepared: PreparedCohort) -> list[InstalledReader]:
    """Return the readers of plugins that the bundle can hold."""
    inputs = prepared.inputs.values()
    return [one for read in inputs for one in read.preprocessing.readers if one.in_bundles]


def _requirements_of(prepared: PreparedCohort) -> list[str]:
    return [r for read in prepared.inputs.values() for r in read.preprocessing.requires]


def _calibration_modules(model: LearnedModel) -> list[str]:
    module = model.calibration.module
    return [] if module is None else [type(module).__module__]


def _weights(given: Literal["none", "balanced"] | list[float]) -> LabelWeights:
    return given if isinstance(given, str) else tuple(given)


def _augmentation(task: LearningTask, read: PreparedInput) -> list[dict[str, Any]]:
    if read.config.kind == "tabular":
        return []
    maker = ViewMaker(task.experiment, read)
    return augmentation_config(maker.drawing, maker.views)


def _input(key: str, read: PreparedInput) -> InputSpec:
    config = read.config
    if config.kind == "tabular":
        width = tabular_width(config.columns)
        return InputSpec(
            name=key, kind="tabular", channels=width, size=(), columns=tuple(config.columns)
        )
    return InputSpec(
        name=key,
        kind="volume" if len(config.shape) == 3 else "image",
        channels=config.channels,
        size=config.shape,
        modality=config.modality,
    )


def _network_node(task: LearningTask, model: LearnedModel) -> dict[str, Any] | None:
    nodes = [source.node for source in task.features.sources]
    node = model.classifier.node
    if node is None or None in nodes:
        return None
    if model.members > 1:
        members = [node] * model.members
        node = {"_target_": "scripts.model.ClassifierEnsemble", "members": members}
        if model.classifier.head.link == "sigmoid":
            node["link"] = "sigmoid"
    several = {"inputs": list(model.network.inputs)} if len(task.prepared.inputs) > 1 else {}
    return {
        "_target_": "scripts.model.FusedNetwork",
        "sources": nodes,
        "classifier": node,
        **several,
        **_calibration_node(model),
    }


def _calibration_node(model: LearnedModel) -> dict[str, Any]:
    """Return the node of the map that ends the network; nothing of a temperature."""
    module, classes = model.calibration.module, model.probabilities.shape[1]
    if module is None:
        return {}
    node: dict[str, Any] = {"num_classes": classes}
    if isinstance(module, IsotonicCalibration):
        node["knots"] = module.at.shape[1]
    target = vendored_target(f"{type(module).__module__}:{type(module).__name__}")
    return {"calibration": {"_target_": target, **node}}


def _record(source: BuiltSource, config: SourceConfig, registry: Registry) -> SourceRecord:
    card, identity = source.card, source.identity
    plugin = str(identity.get("plugin", ""))
    owner = next((found for found in registry.plugins if found.name == plugin), None)
    return SourceRecord(
        label=source.label,
        license=card["license"],
        digest=card["digest"],
        package=owner.distribution if owner else "",
        version=owner.version if owner else "",
        libraries=dict(card.get("providers") or {}),
        plugin=plugin,
        backbone=str(identity.get("backbone", "")),
        weights="" if card["weights"] == "file" else card["weights"],
        options=dict(identity.get("options") or {}),
        cut=str((identity.get("cut") or {}).get("module_path", "")),
        domain=card["domain"],
        training_data=tuple(card["training_data"]),
        citation=card["citation"],
        reading={name: card[name] for name in _READING if card.get(name)},
        trained=config.learns,
        earlier=card.get("earlier", {}),
    )


def _details(task: LearningTask, model: LearnedModel) -> dict[str, Any]:
    return {
        "configuration_digest": task.experiment.digest(),
        "fusion": {"name": model.classifier.fusion.name, **model.classifier.fusion_options},
        "head": {"name": model.classifier.head.name, **model.classifier.head_options},
        "task": model.classifier.head.task,
        "members": model.members,
        "temperature": float(model.network.temperature),
        "calibration": calibration_facts(model.calibration),
        "calibrated_on": model.calibrated_on,
        "coverage": task.experiment.evaluation.abstain.coverage,
        "leaks": task.prepared.leaks.summary(),
        "class_counts": _class_counts(task.prepared.cohort),
        **({} if task.adaptation is None else {"adaptation": dict(task.adaptation.facts)}),
    }


def _class_counts(cohort: Cohort) -> dict[str, int]:
    """Return how many labeled cases of each class were learned from, held-out parts included."""
    labels = Counter(c.label for c in cohort.cases if c.role != "test")
    return {name: labels[index] for index, name in enumerate(cohort.classes)}


def seen_before(task: LearningTask) -> dict[str, frozenset[str]]:
    """Return the images that the sources list, and those that were adapted to, by who saw them.

    Networks that took statistics from the latter have seen them too, and hand that on.
    """
    found, adaptation = seen_by_sources(task.features.sources), task.adaptation
    if adaptation is None:
        return found
    if adaptation.method == "adabn":
        for source in task.features.sources:
            found[source.label] = found.get(source.label, frozenset()) | adaptation.images
    return {ADAPTATION: adaptation.images, **found}


def _seen(task: LearningTask) -> dict[str, frozenset[str]]:
    """Return the images of all parts but the test part, and those that were seen before."""
    prepared = task.prepared
    own = [prepared.digests(case) for case in prepared.cohort.cases if case.role != "test"]
    return {OWN_TRAINING: frozenset().union(*own), **seen_before(task)}


def _data(task: LearningTask) -> str:
    cohort = task.prepared.cohort
    labeled = [case for case in cohort.cases if case.labeled]
    sizes = cohort.with_cases(labeled).sizes()
    parts = ", ".join(f"{size} for {role}" for role, size in sizes.items())
    adapted = "" if task.adaptation is None else f" The model was {task.adaptation.told}."
    given = f"{told} " if (told := task.experiment.bundle.data) else ""
    return f"{given}{len(labeled)} labeled cases: {parts}.{adapted}"


def _check(task: LearningTask, model: LearnedModel, path: Path) -> float | None:
    """Return the largest difference between the bundle's probabilities and the run's."""
    cases = task.prepared.cohort.cases
    parts = [[i for i, c in enumerate(cases) if c.role == role] for role in ("test", "train")]
    rows = next(part for part in parts if part)[:_CHECKED]
    rows = [row for row in rows if _readable(task.prepared, cases[row])]
    if not rows:
        _log.warning("%s: holds no reader of its cases, so its probabilities are not checked", path)
        return None
    predictor = load_bundle(path, "cpu")
    found = predictor.predict([_served(task.prepared, cases[i]) for i in rows])
    values = np.array([[p.probabilities[c] for c in predictor.classes] for p in found])
    difference = float(np.abs(values - _expected(task, model, rows)).max())
    tolerance = _tolerance(task.experiment.training.device, model.calibration.gain)
    if not difference < tolerance:
        raise BundleError(
            f"bundle {task.experiment.name}: predicts other probabilities than training reported "
            f"(up to {difference:.1e}, expected below {tolerance:.0e}). Please report this."
        )
    return difference


@torch.no_grad()
def _expected(task: LearningTask, model: LearnedModel, rows: Sequence[int]) -> np.ndarray:
    """Return what the bundle has to say of the cases at ``rows``.

    Cases that were learned from after being moved to a target are asked again, unmoved.
    """
    if task.adaptation is None or task.prepared.cohort.cases[rows[0]].role == "test":
        return model.probabilities[rows]
    views = InputViews(task.experiment, task.prepared, task.features.inputs)
    images = zip(*(views(row, 0) for row in rows), strict=True)
    device = model.network.temperature.device
    logits = model.network(*(torch.stack(one).to(device) for one in images))
    return probabilities_of(logits.double().cpu().numpy(), model.classifier.head)


def _tolerance(device: str, gain: float) -> float:
    """Return how far probabilities may be off: calibration may enlarge rounding."""
    return (_TOLERANCE if device == "cpu" else _TOLERANCE_OF_GPU) * gain


def _readable(prepared: PreparedCohort, case: Case) -> bool:
    """Return whether the bundle can read the files of a case."""
    lost = {
        name: [one.reader for one in read.preprocessing.readers if not one.in_bundles]
        for name, read in prepared.inputs.items()
    }
    return all(reader_of(file, lost[name]) is None for name, file in case.inputs.items())


def _served(prepared: PreparedCohort, case: Case) -> Any:
    """Return a case as a predictor takes it: the file, or the inputs it has."""
    return next(iter(case.inputs.values())) if len(prepared.inputs) == 1 else dict(case.inputs)


def _unique(items: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
