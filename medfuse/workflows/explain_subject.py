"""What is to be explained: a bundle, or the bundle and the cases of a run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medfuse.config import CohortConfig, InputConfig, load_experiment
from medfuse.contract import resolve_options
from medfuse.data import Cohort, read_cohort
from medfuse.data.readers import installed_readers
from medfuse.errors import BundleError, ConfigError
from medfuse.explanation.occlusion import is_graph
from medfuse.registry import Registry, load_factory, load_registry
from medfuse.serving.inputs import bundle_in
from medfuse.serving.predict import Predictor, load_bundle
from medfuse.suggest import did_you_mean

Explain = Callable[..., Mapping[str, Tensor]]

_RUN = ("config.yaml", "cohort.csv", "bundle")


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained network with everything that leads to it.

    Attributes:
        bundle: its folder.
        run: the run that it is of, or ``None``.
        predictor: the bundle's own code.
        network: a copy of its network that never learns; ``source_names`` and ``exclusive`` say
            what explainers need of it.
        steps: preprocessing of each image or volume by input.
    """

    bundle: Path
    run: Path | None
    predictor: Predictor
    network: Any
    steps: Mapping[str, Sequence[Callable[..., Any]]]

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the probabilities."""
        return self.predictor.classes

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources; of a traced graph none."""
        return () if is_graph(self.network) else tuple(self.network.source_names)

    def input_of(self, source: str) -> str:
        """Return the name of the input that a source reads."""
        if source not in self.sources:
            return self.predictor.input_names[0]
        position = self.network.inputs[self.sources.index(source)]
        name: str = self.predictor.input_names[position]
        return name

    def class_index(self, name: str | None) -> int | None:
        """Return the position of a class; ``None`` for none.

        Raises:
            ConfigError: the model has no such class.
        """
        if name is None or name in self.classes:
            return None if name is None else self.classes.index(name)
        raise ConfigError(
            f"class {name!r}: unknown, expected one of {', '.join(self.classes)}."
            f"{did_you_mean(name, self.classes)}"
        )


def open_subject(path: Path | str, device: str = "auto") -> Subject:
    """Return a bundle, or the bundle of a run, ready to be explained.

    Raises:
        BundleError: there is no bundle, or it cannot be built.
    """
    folder = Path(path)
    run = folder if all((folder / name).exists() for name in _RUN) else None
    bundle = bundle_in(folder)
    predictor = load_bundle(bundle, device)
    labels = [one["label"] for one in predictor.metadata["medfuse"]["sources"]]
    network: Any = predictor.network
    if not is_graph(network):
        network = copy.deepcopy(network).requires_grad_(False)
        network.source_names = _told_apart(labels)
    network.exclusive = predictor.exclusive
    return Subject(bundle, run, predictor, network, _steps(predictor))


def explainers_of(
    subject: Subject, methods: Sequence[Mapping[str, Any]], registry: Registry | None = None
) -> dict[str, Explain]:
    """Return the explainers by name, built for this network.

    Args:
        subject: whose network.
        methods: ``{"use": name, option: value}`` each.
        registry: knows them; that of all plugins if ``None``.

    Raises:
        PluginError: no plugin has the method, or it cannot be imported.
        ConfigError: an option that the method does not know.
        BundleError: the network is a traced graph, and the method reads gradients.
    """
    registry = registry or load_registry()
    found: dict[str, Explain] = {}
    for method in methods:
        spec = registry.explainer(method["use"])
        if is_graph(subject.network) and spec.name != "occlusion":
            raise BundleError(
                f"{subject.bundle}: the network exists only as a traced graph, through which "
                f"{spec.name} cannot look. Use --method occlusion."
            )
        given = {key: value for key, value in method.items() if key != "use"}
        options = resolve_options(spec.options, given, f"explainer {spec.name}")
        found[spec.name] = load_factory(spec)(subject.network, **options)
    return found


def test_cases_of(subject: Subject) -> Cohort:
    """Return the cohort of a run with its test cases alone.

    Raises:
        BundleError: a bundle has no cases.
        CohortError: the cohort cannot be read.
    """
    if subject.run is None:
        raise BundleError(
            f"{subject.bundle}: a bundle holds no cases. Name images, or give the run's folder."
        )
    cohort = cohort_of(subject.run)
    return cohort.with_cases([case for case in cohort.cases if case.role == "test"], ())


def cohort_of(run: Path) -> Cohort:
    """Return the divided cohort of a run."""
    configured = load_experiment(run / "config.yaml").inputs
    inputs: dict[str, InputConfig] = dict(configured)
    endings = installed_readers(load_registry()).endings
    return read_cohort(CohortConfig(path=str(run / "cohort.csv")), inputs, endings)


def inputs_on_device(subject: Subject, items: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Return the canonical inputs of a case as the network takes them, ``(1, C, *spatial)``."""
    device = next(iter(subject.network.parameters()), torch.empty(0)).device
    return tuple(
        torch.as_tensor(items[name]).as_subclass(Tensor)[None].float().to(device)
        for name in subject.predictor.input_names
    )


def _told_apart(labels: Sequence[str]) -> tuple[str, ...]:
    """Return names that are all different: the same network may read two inputs."""
    names: list[str] = []
    for label in labels:
        number, name = 1, label
        while name in names:
            number += 1
            name = f"{label} {number}"
        names.append(name)
    return tuple(names)


def _steps(predictor: Predictor) -> dict[str, Sequence[Callable[..., Any]]]:
    """Return the transforms of each input that is an image or volume."""
    chain = predictor.preprocessing.transforms
    if predictor.table is None:
        return {"image": tuple(chain)}
    found: dict[str, Sequence[Callable[..., Any]]] = {}
    for name, columns in predictor.table.items():
        if columns is None:
            one = next(step for step in chain if getattr(step, "keys", ()) == (name,))
            found[name] = tuple(one.transforms.transforms)
    return found
