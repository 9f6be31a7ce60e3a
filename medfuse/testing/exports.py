"""Export recipes: what rebuilds in a bundle, and gives the same outputs there."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Collection, Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medfuse.contract import ComponentSpec, GraphOnly, PublicTarget, VendoredSource
from medfuse.errors import PluginError
from medfuse.registry.providers import import_providers
from medfuse.registry.vendoring import (
    SCRIPTS,
    check_imports,
    copy_vendored,
    vendored_path,
    vendored_target,
)
from medfuse.testing import isolated
from medfuse.testing.behavior import check_close
from medfuse.testing.probes import Probe

IN_EVERY_BUNDLE = frozenset({"torch", "numpy", "monai"})
_TIMEOUT_SECONDS = 300


def recipe_is_sound(spec: ComponentSpec, own: Collection[str]) -> None:
    """Pass if the export names public things alone and declares what it needs.

    Args:
        spec: the component.
        own: the plugin's own packages, absent where a bundle runs.
    """
    export = spec.export
    if isinstance(export, PublicTarget):
        _check_declared([export.target.partition(".")[0]], export.requires, own)
    elif isinstance(export, VendoredSource):
        _check_first_module(spec)
        check_imports(export)
        _check_declared(export.allowed_imports, export.requires, own)
    elif not export.reason.strip():
        raise PluginError("GraphOnly without a reason. Say why it cannot be rebuilt.")


def traced_graph_agrees(probe: Probe) -> None:
    """Pass if the network traces with `torch.jit.trace`, saves, and takes another batch size."""
    if not isinstance(probe.spec.export, GraphOnly):
        raise TypeError("only for GraphOnly")
    wrapped = _TensorsOnly(probe.module, probe.listed).eval()
    buffer = BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.save(_trace(wrapped, probe.inputs), buffer)
        buffer.seek(0)
        loaded = _load(buffer)
        for rows in (slice(None), slice(0, 1)):
            inputs = [x[rows] for x in probe.inputs]
            found = list(loaded(*inputs))
            check_close(probe.call(probe.module, inputs), found, "the traced graph differs")


class Rebuilding:
    """Rebuilds all exported components of a plugin, in one process without medfuse.

    Args:
        probes: component label to its probe; those exported as graphs are left out.
        own: the plugin's own packages, made absent.
    """

    def __init__(self, probes: Mapping[str, Probe], own: Collection[str]) -> None:
        self._probes = {n: p for n, p in probes.items() if not isinstance(p.spec.export, GraphOnly)}
        self._absent = sorted({"medfuse", *own})
        self._outcomes: dict[str, dict[str, Any]] | None = None

    def check(self, label: str) -> None:
        """Pass if a component, rebuilt there from its state dict, gives the same outputs.

        Raises:
            PluginError: it cannot be rebuilt, or answers differently.
        """
        if self._outcomes is None:
            self._outcomes = self._run()
        outcome = self._outcomes[label]
        if "error" in outcome:
            raise PluginError(f"cannot be rebuilt without medfuse: {outcome['error']}")
        expected = self._probes[label].outputs
        check_close(expected, outcome["outputs"], "rebuilt without medfuse, it answers differently")

    def _run(self) -> dict[str, dict[str, Any]]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            outcomes, jobs = self._prepare(folder)
            request = {
                "scripts": str(folder),
                "path": sys.path,
                "absent": self._absent,
                "jobs": jobs,
            }
            torch.save(request, folder / "jobs.pt")
            return {**outcomes, **(_in_a_process(folder / "jobs.pt") if jobs else {})}

    def _prepare(self, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        failed: dict[str, Any] = {}
        jobs: dict[str, Any] = {}
        for label, probe in self._probes.items():
            try:
                jobs[label] = _job(probe, folder / SCRIPTS)
            except Exception as error:  # noqa: BLE001, PERF203  recorded for this component
                failed[label] = {"error": str(error)}
        return failed, jobs


class _TensorsOnly(nn.Module):
    """Called with separate tensors, returns a tuple of tensors: what a graph can hold."""

    def __init__(self, module: nn.Module, listed: bool) -> None:
        super().__init__()
        self.module = module
        self.listed = listed

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(isolated.invoke(self.module, inputs, self.listed))


def _trace(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return torch.jit.trace(module, inputs)  # type: ignore[no-untyped-call]


def _load(buffer: BytesIO) -> Any:
    return torch.jit.load(buffer)  # type: ignore[no-untyped-call]


def _job(probe: Probe, scripts: Path) -> dict[str, Any]:
    export, options = probe.spec.export, dict(probe.options)
    if isinstance(export, PublicTarget):
        target = export.target
        options |= export.kwargs
    elif isinstance(export, VendoredSource):
        copy_vendored(export.modules, scripts)
        target = vendored_target(probe.spec.factory)
    return {
        "target": target,
        "arguments": list(probe.arguments),
        "options": options,
        "state": probe.module.state_dict(),
        "inputs": list(probe.inputs),
        "listed": probe.listed,
    }


def _in_a_process(jobs: Path) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(Path(isolated.__file__)), str(jobs)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PluginError(f"the process that rebuilds components ended with: {last}")
    outcomes: dict[str, dict[str, Any]]
    outcomes = torch.load(jobs.with_name("outcomes.pt"), weights_only=True)
    return outcomes


def _check_first_module(spec: ComponentSpec) -> None:
    export = spec.export
    module = spec.factory.partition(":")[0]
    if not isinstance(export, VendoredSource) or not export.modules:
        raise PluginError("VendoredSource without modules. Name the factory's own first.")
    if export.modules[0] != module:
        raise PluginError(
            f"the factory is in {module}, but the first vendored module is {export.modules[0]}."
        )
    vendored_path(module)


def _check_declared(
    imports: Iterable[str], requires: tuple[str, ...], own: Collection[str]
) -> None:
    providers = import_providers()
    declared = {_normalized(name) for name in requires}
    for top in imports:
        if top == "medfuse" or top in own:
            raise PluginError(f"the export needs {top}, which is absent where a bundle runs.")
        if top in IN_EVERY_BUNDLE or top in sys.stdlib_module_names:
            continue
        dists = {_normalized(name) for name in providers.get(top, [top])}
        if not dists & declared:
            raise PluginError(
                f"the export imports {top} but requires does not name "
                f"{' or '.join(sorted(dists))}, so a user cannot know what to install."
            )


def _normalized(requirement: str) -> str:
    """Return a requirement's name as package indexes compare it."""
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0].lower().replace("_", "-")
