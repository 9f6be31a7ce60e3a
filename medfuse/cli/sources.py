"""``medfuse sources``: which pretrained networks can be used, everything known about one, whether
its weights are what they should be, and which suit a cohort.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase

from medfuse.cli import source_rank
from medfuse.cli.source_page import source_page, source_record
from medfuse.cli.table import format_table
from medfuse.contract import BackboneFamilySpec, BackboneSpec, WeightsSpec
from medfuse.errors import MedfuseError, PluginError
from medfuse.registry import (
    RANDOM_WEIGHTS,
    Registry,
    describe_backbone,
    family_names,
    load_registry,
    parse_source,
)
from medfuse.suggest import did_you_mean

SUMMARY = "which pretrained networks can be used, their license and domain"
_LIMIT = 40
_log = logging.getLogger("medfuse")


@dataclass(frozen=True)
class Row:
    """One usable source, or one family of them (``dims`` is 0)."""

    source: str
    plugin: str
    dims: int
    domain: str
    license: str
    summary: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the four subcommands."""
    actions = parser.add_subparsers(dest="action", metavar="list|show|verify|rank", required=True)
    listing = actions.add_parser("list", help="sources with their domain and license")
    listing.add_argument("--family", metavar="NAME", help="list the members of a family")
    listing.add_argument("--filter", metavar="GLOB", help="name, as in 'mobilenet*'")
    listing.add_argument("--plugin", metavar="NAME", help="of one plugin only")
    listing.add_argument("--dims", type=int, choices=(2, 3), help="2D or 3D networks only")
    listing.add_argument("--domain", metavar="TEXT", help="domain that holds this text")
    listing.add_argument("--license", metavar="GLOB", help="license, as in 'Apache*'")
    listing.add_argument(
        "--limit", type=int, default=_LIMIT, help="members of a family, 0 for all (%(default)s)"
    )
    listing.add_argument("--json", action="store_true", help="as JSON")
    show = actions.add_parser("show", help="specification, stages, weights and feature width")
    show.add_argument("source", metavar="SOURCE", help="as in timm:resnet18.a1_in1k")
    show.add_argument("--no-build", action="store_true", help="do not build it to measure it")
    show.add_argument("--json", action="store_true", help="as JSON")
    verify = actions.add_parser("verify", help="load the weights, check digest, keys and features")
    verify.add_argument("source", metavar="SOURCE", help="as in timm:resnet18@weights.safetensors")
    verify.add_argument("--download", action="store_true", help="allow the weights to be fetched")
    verify.add_argument("--json", action="store_true", help="as JSON")
    source_rank.add_arguments(actions.add_parser("rank", help=source_rank.HELP))


def run(args: argparse.Namespace) -> int:
    """Carry out one subcommand and return the exit code."""
    return {"list": _list, "show": _show, "verify": _verify, "rank": source_rank.run}[args.action](
        args
    )


def _list(args: argparse.Namespace) -> int:
    registry = load_registry()
    rows = [row for row in _rows(registry, args) if _wanted(row, args)]
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return 0
    if not rows:
        print("No source fits. See: medfuse sources list")
        return 0
    cells = [(r.source, f"{r.dims}D" if r.dims else "-", *_facts(r)) for r in rows]
    print(format_table(["SOURCE", "DIMS", "DOMAIN", "LICENSE", "WHAT"], cells))
    return 0


def _show(args: argparse.Namespace) -> int:
    reference = parse_source(args.source)
    plugin, spec = load_registry().backbone(reference)
    record = source_record(reference, plugin, spec, build=not args.no_build)
    print(json.dumps(record, indent=2) if args.json else source_page(record))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from medfuse.workflows.sources import verify_source

    found = verify_source(args.source, download=args.download)
    if args.json:
        print(json.dumps(found.to_dict(), indent=2))
        return 0
    published = {True: "as published", False: "another than published", None: "none published"}
    rows = [
        ("source", found.source),
        ("file", found.file or "none: untrained"),
        ("sha256", f"{found.sha256} ({published[found.published]})" if found.sha256 else "-"),
        ("keys", f"all used, {len(found.left_out)} left out as its description says"),
        ("features", f"{found.feature_dim}, finite, at {' x '.join(map(str, found.input_size))}"),
        ("license", found.license),
    ]
    print(format_table(["CHECK", "FOUND"], rows))
    return 0


def _facts(row: Row) -> tuple[str, str, str]:
    return row.domain or "-", row.license or "-", row.summary


def _rows(registry: Registry, args: argparse.Namespace) -> Iterator[Row]:
    if args.family:
        plugin, family = _family(registry, args.family)
        yield from _members(plugin, family, args)
        return
    for plugin, spec in registry.components("backbone"):
        if isinstance(spec, BackboneSpec) and fnmatchcase(spec.name, args.filter or "*"):
            yield from _sources(plugin, plugin, spec)
    for plugin, family in registry.families():
        if fnmatchcase(family.name, args.filter or "*"):
            how = f"{family.summary}; medfuse sources list --family {family.name}"
            yield Row(f"{family.name}:NAME.WEIGHTS", plugin, 0, "", "", how)


def _family(registry: Registry, name: str) -> tuple[str, BackboneFamilySpec]:
    families = {family.name: (plugin, family) for plugin, family in registry.families()}
    if name not in families:
        known = ", ".join(families) or "none"
        raise PluginError(
            f"--family {name}: no plugin has this family, found {known}."
            f"{did_you_mean(name, families)}"
        )
    return families[name]


def _members(plugin: str, family: BackboneFamilySpec, args: argparse.Namespace) -> Iterator[Row]:
    names = [n for n in family_names(family) if fnmatchcase(n, args.filter or "*")]
    shown = names[: args.limit] if args.limit > 0 else names
    if len(shown) < len(names):
        _log.warning(
            "%d of %d backbones shown; narrow them with --filter, or give --limit 0",
            len(shown),
            len(names),
        )
    for name in shown:
        yield from _sources(family.name, plugin, *_described(family, name))


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
            facts = (weights.source_domain, weights.license, spec.summary)
            yield Row(source, plugin, spec.spatial_dims, *facts)
        if not listed:
            source = f"{prefix}:{spec.name}.{RANDOM_WEIGHTS}"
            yield Row(source, plugin, spec.spatial_dims, "untrained", "", spec.summary)


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


def _wanted(row: Row, args: argparse.Namespace) -> bool:
    """Tell whether a row fits; what is unknown of a family never excludes it."""
    if args.plugin and row.plugin != args.plugin:
        return False
    if not row.dims:
        return True
    return (
        args.dims in (None, row.dims)
        and (args.domain or "").lower() in row.domain.lower()
        and fnmatchcase(row.license.lower(), (args.license or "*").lower())
    )
