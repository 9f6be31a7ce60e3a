"""Rows of ``medfuse sources list``: what can be used, and all that is known without building it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from medfuse.contract import BackboneFamilySpec, BackboneSpec, WeightsSpec
from medfuse.errors import MedfuseError, PluginError
from medfuse.registry import (
    RANDOM_WEIGHTS,
    Measurement,
    PlainName,
    Registry,
    describe_backbone,
    family_names,
    read_measurements,
)
from medfuse.suggest import did_you_mean

_log = logging.getLogger("medfuse")
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Row:
    """One usable source, or one family of them.

    Attributes:
        source: as written behind ``use:``.
        plugin: that brings it.
        dims: 2 or 3; 0 for a family, ``None`` for a plain name of which nothing is recorded.
        weights: their name, with their family in front where the source has a plain name; empty
            where there are none.
        domain: what they were trained on.
        license: of the weights.
        summary: one line.
        input_size: at which the rest was measured; ``None`` where nothing is recorded.
        width: of its vector.
        parameters: how many.
        macs: multiply-adds of one image.
    """

    source: str
    plugin: str
    dims: int | None
    weights: str
    domain: str
    license: str
    summary: str
    input_size: tuple[int, ...] | None = None
    width: int | None = None
    parameters: int | None = None
    macs: int | None = None


def source_rows(registry: Registry, name: str) -> Iterator[Row]:
    """Yield every backbone with its weights, every plain name, and every family.

    Args:
        registry: what is installed.
        name: pattern that the backbone's or family's name, or the plain name, fits.
    """
    for plugin, spec in registry.components("backbone"):
        if isinstance(spec, BackboneSpec) and fnmatchcase(spec.name, name):
            measured = _measurements(spec).get(spec.name)
            yield from (_with(measured, row) for row in _sources(plugin, plugin, spec))
    yield from sorted(_plain_rows(registry, name), key=_by_dims_and_name)
    for plugin, family in registry.families():
        if fnmatchcase(family.name, name):
            how = f"{family.summary}; medfuse sources list --family {family.name}"
            yield Row(f"{family.name}:NAME.WEIGHTS", plugin, 0, "", "", "", how)


def family_rows(registry: Registry, family: str, name: str, limit: int) -> Iterator[Row]:
    """Yield the members of a family, a row for each of their weights; imports its library.

    Args:
        registry: what is installed.
        family: its name.
        name: pattern that a member's name fits.
        limit: members at most, 0 for all.

    Raises:
        PluginError: there is no such family.
    """
    plugin, spec = _family(registry, family)
    measured = _measurements(spec)
    by_architecture = {
        plain.architecture: measured.get(plain.name)
        for plain in registry.plain_names()
        if plain.family is spec
    }
    names = [n for n in family_names(spec) if fnmatchcase(n, name)]
    shown = names[:limit] if limit > 0 else names
    if len(shown) < len(names):
        _log.warning(
            "%d of %d backbones shown; narrow them with --filter, or give --limit 0",
            len(shown),
            len(names),
        )
    for member in shown:
        for row in _sources(spec.name, plugin, *_described(spec, member)):
            yield _with(by_architecture.get(member), row)


def _plain_rows(registry: Registry, name: str) -> Iterator[Row]:
    for family_plugin, family in registry.families():
        measured = _measurements(family)
        for plain in registry.plain_names():
            if plain.plugin != family_plugin or plain.family is not family:
                continue
            if fnmatchcase(plain.name, name) or fnmatchcase(plain.architecture, name):
                found = measured.get(plain.name)
                yield _with(found, _plain_row(plain, found))


def _plain_row(plain: PlainName, found: Measurement | None) -> Row:
    member, summary = plain.member, plain.family.summary
    if found is None:
        return Row(plain.name, plain.plugin, None, member, "", "", summary)
    if not found.domain:
        source = f"{plain.name}.{RANDOM_WEIGHTS}"
        return Row(source, plain.plugin, found.spatial_dims, "", UNTRAINED, "", summary)
    facts = (found.spatial_dims, member, found.domain, found.license)
    return Row(plain.name, plain.plugin, *facts, summary)


def _with(found: Measurement | None, row: Row) -> Row:
    if found is None:
        return row
    return replace(
        row,
        input_size=found.input_size,
        width=found.width,
        parameters=found.parameters,
        macs=found.macs,
    )


def _measurements(spec: BackboneSpec | BackboneFamilySpec) -> dict[str, Measurement]:
    """Return what is recorded; a damaged table is told, and its networks are listed without."""
    try:
        return read_measurements(spec.measured)
    except PluginError as error:
        _log.warning("%s: %s", spec.name, error)
        return {}


def _by_dims_and_name(row: Row) -> tuple[object, ...]:
    parts = re.split(r"(\d+)", row.source)
    return row.dims or 0, [
        (part.isdigit(), int(part) if part.isdigit() else part) for part in parts
    ]


def _family(registry: Registry, name: str) -> tuple[str, BackboneFamilySpec]:
    families = {family.name: (plugin, family) for plugin, family in registry.families()}
    if name not in families:
        known = ", ".join(families) or "none"
        raise PluginError(
            f"--family {name}: no plugin has this family, found {known}."
            f"{did_you_mean(name, families)}"
        )
    return families[name]


def _described(family: BackboneFamilySpec, name: str) -> Iterable[BackboneSpec]:
    try:
        return [describe_backbone(family, name)]
    except MedfuseError as error:
        _log.warning("%s", error)
        return []


def _sources(prefix: str, plugin: str, *specs: BackboneSpec) -> Iterator[Row]:
    for spec in specs:
        listed = _listed(spec.weights)
        for weights in listed:
            source = f"{prefix}:{spec.name}.{weights.name}"
            facts = (weights.name, weights.source_domain, weights.license, spec.summary)
            yield Row(source, plugin, spec.spatial_dims, *facts)
        if not listed:
            source = f"{prefix}:{spec.name}.{RANDOM_WEIGHTS}"
            yield Row(source, plugin, spec.spatial_dims, "", UNTRAINED, "", spec.summary)


def _listed(weights: Iterable[WeightsSpec]) -> list[WeightsSpec]:
    """Return what can be loaded, once each: further names of the same weights are left out.

    Weights without a place are the input contract of a user's own file.
    """
    distinct: list[WeightsSpec] = []
    for one in weights:
        known = any(replace(one, name=other.name) == other for other in distinct)
        if (one.path or one.url or one.hub_id) and not known:
            distinct.append(one)
    return distinct
