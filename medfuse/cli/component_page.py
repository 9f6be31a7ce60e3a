"""What a plugin's components are and which options they take: as plain data, and as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from medfuse.cli.table import format_table
from medfuse.contract import ComponentSpec, GraphOnly, Option
from medfuse.contract.exports import Export
from medfuse.registry import Registry
from medfuse.registry.kinds import KINDS

_HEADER = ("OPTION", "ACCEPTS", "DEFAULT", "WHAT")
_COMMON = {field.name for field in fields(ComponentSpec)}
_LONG = ("stages", "weights")


def component_records(registry: Registry) -> list[dict[str, Any]]:
    """Return every component of every sound plugin as JSON-able data; families have no options."""
    records = [
        _record(plugin, kind, spec) for kind in KINDS for plugin, spec in registry.components(kind)
    ]
    for plugin, family in registry.families():
        facts = {"kind": "family", "name": family.name, "summary": family.summary}
        records.append({"plugin": plugin, **facts, "options": [], "properties": {}})
    return records


def component_page(record: Mapping[str, Any]) -> str:
    """Return one component as text: what it is, then its options."""
    return "\n".join(_lines(record))


def plugin_page(records: list[dict[str, Any]]) -> str:
    """Return what a plugin brings, one component a row."""
    rows = [(r["kind"], r["name"], ", ".join(_names(r)) or "-", r["summary"]) for r in records]
    return format_table(["KIND", "NAME", "OPTIONS", "WHAT"], rows)


def _record(plugin: str, kind: str, spec: ComponentSpec) -> dict[str, Any]:
    own = {f.name: getattr(spec, f.name) for f in fields(spec) if f.name not in (*_COMMON, *_LONG)}
    return {
        "plugin": plugin,
        "kind": kind,
        "name": spec.name,
        "summary": spec.summary,
        "options": [_option(option) for option in spec.options],
        "properties": {
            "type": type(spec).__name__,
            **{name: _plain(value) for name, value in own.items()},
            "requires": list(spec.requires),
            "export": _export(spec.export),
        },
    }


def _option(option: Option) -> dict[str, Any]:
    return {**asdict(option), "choices": list(option.choices), "accepts": option.accepts}


def _export(export: Export) -> str:
    name = type(export).__name__
    return f"{name}: {export.reason}" if isinstance(export, GraphOnly) else name


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _names(record: Mapping[str, Any]) -> Iterator[str]:
    return (option["name"] for option in record["options"])


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    yield f"{record['kind']} {record['plugin']}:{record['name']}: {record['summary']}"
    if record["kind"] in ("backbone", "family"):
        yield f"See: medfuse sources {_more(record)}"
    rows = [(name, _shown(value)) for name, value in record["properties"].items()]
    if rows:
        yield ""
        yield format_table(["PROPERTY", "VALUE"], rows)
    if record["options"]:
        yield ""
        cells = [
            (o["name"], o["accepts"], _shown(o["default"]), o["summary"]) for o in record["options"]
        ]
        yield format_table(_HEADER, cells)
    elif record["kind"] != "family":
        yield "\nIt takes no options."


def _more(record: Mapping[str, Any]) -> str:
    if record["kind"] == "family":
        return f"list --family {record['name']}"
    return f"show {record['plugin']}:{record['name']}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None or value == "" else str(value)
