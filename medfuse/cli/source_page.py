"""Everything known of one source: as plain data, and as a page of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from medfuse.cli.source_table import short_count
from medfuse.cli.table import format_table
from medfuse.contract import BackboneSpec, Stage
from medfuse.errors import MedfuseError
from medfuse.registry import SourceReference, select_weights

_WEIGHTS_HEADER = ("", "NAME", "DOMAIN", "LICENSE", "SIZE", "RANGE", "MEAN / STD")


def source_record(
    reference: SourceReference, plugin: str, spec: BackboneSpec, *, build: bool
) -> dict[str, Any]:
    """Return a source's specification as JSON-able data.

    Args:
        reference: the source asked for.
        plugin: name of the plugin that brings it.
        spec: its backbone.
        build: also build it, untrained, and measure its widths under ``measured``.
    """
    weights = select_weights(spec, reference)
    return {
        "source": str(reference),
        "plugin": plugin,
        "selected_weights": weights.name if weights else None,
        **asdict(spec),
        "export": {"kind": type(spec.export).__name__, **asdict(spec.export)},
        "measured": _measured(spec) if build else None,
    }


def source_page(record: Mapping[str, Any]) -> str:
    """Return the record as text with sections."""
    return "\n".join(_lines(record))


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    yield f"{record['source']}: {record['summary']}"
    yield ""
    yield format_table(["PROPERTY", "VALUE"], list(_properties(record)))
    if record["options"]:
        yield "\nOptions (under 'options:' of a source)"
        rows = [(o["name"], o["kind"], o["default"], o["summary"]) for o in record["options"]]
        yield format_table(["NAME", "KIND", "DEFAULT", "WHAT"], rows)
    if record["stages"]:
        yield "\nStages (names for 'cut:'; 'last:N' counts from the end)"
        yield format_table(["NAME", "FEATURES", "STRIDE", "LAYOUT"], list(_stages(record)))
    yield "\nWeights ('random' is an untrained network)"
    if record["weights"]:
        selected = record["selected_weights"]
        chosen = [_weights(w, selected) for w in record["weights"]]
        yield format_table(_WEIGHTS_HEADER, chosen)
    else:
        yield "none: give a file as NAME@FILE, or ask for random"
    for weights in record["weights"]:
        if weights["name"] == record["selected_weights"]:
            yield from _details(weights)


def _properties(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "plugin", record["plugin"]
    yield "input", f"{record['spatial_dims']}D, {record['in_channels']} channels"
    yield "pooling", "its own" if record["native_pooling"] else "average of the map"
    yield "feature width", _width(record["measured"])
    yield from _sizes(record["measured"] or {})
    yield "needs", ", ".join(record["requires"]) or "nothing more"
    yield "in a bundle", record["export"]["kind"]
    yield "factory", record["factory"]


def _width(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "not measured"
    if "problem" in measured:
        return f"not measured: {measured['problem']}"
    pooled = measured["pooled"]
    return f"{pooled or measured['map'][0]} (map {' x '.join(map(str, measured['map']))})"


def _sizes(measured: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "problem" in measured or not measured:
        return
    size = " x ".join(map(str, measured["input_size"]))
    yield "parameters", short_count(measured["parameters"])
    yield "multiply-adds", f"{short_count(measured['macs'])} for one image of {size}"


def _stages(record: Mapping[str, Any]) -> Iterator[tuple[str, object, object, str]]:
    measured = (record["measured"] or {}).get("stages", {})
    for stage in record["stages"]:
        width = measured.get(stage["name"]) or stage["feature_dim"] or "?"
        yield stage["name"], width, stage["stride"] or "?", stage["layout"]


def _weights(weights: Mapping[str, Any], selected: str | None) -> tuple[str, ...]:
    norm = weights["normalization"]
    scale = norm["scheme"] if norm["scheme"] != "fixed" else f"{norm['mean']} / {norm['std']}"
    return (
        "*" if weights["name"] == selected else "",
        weights["name"],
        weights["source_domain"],
        weights["license"],
        " x ".join(map(str, weights["input_size"])) + f" ({weights['size_policy']})",
        "{:g} to {:g}".format(*norm["input_range"]),
        scale.replace("(", "").replace(",)", "").replace(")", ""),
    )


def _details(weights: Mapping[str, Any]) -> Iterator[str]:
    facts = {
        "trained on": ", ".join(weights["training_data"]),
        "from": weights["path"] or weights["url"] or weights["hub_id"] or "",
        "sha256": weights["sha256"] or "",
        "cite": weights["citation"],
    }
    rows = [(name, value) for name, value in facts.items() if value]
    if rows:
        yield f"\n{weights['name']}"
        yield format_table(["PROPERTY", "VALUE"], rows)


def _measured(spec: BackboneSpec) -> dict[str, Any]:
    """Build the network and look at one image's features."""
    from medfuse.testing.probes import probe_backbone

    try:
        probe = probe_backbone(spec)
        return _widths(spec, probe.module, probe.inputs[0][:1])
    except (MedfuseError, RuntimeError, ImportError, ValueError, TypeError) as error:
        return {"problem": " ".join(str(error).split())}


def _widths(spec: BackboneSpec, module: Any, image: Any) -> dict[str, Any]:
    import torch

    from medfuse.backbones.measurement import measure_backbone
    from medfuse.testing.shapes import stage_outputs, stage_width

    with torch.no_grad():
        features, pooled = module(image)
    outputs = stage_outputs(module, spec, image)
    stages: list[Stage] = [s for s in spec.stages if s.module_path in outputs]
    own = measure_backbone(spec)
    return {
        "map": list(features.shape[1:]),
        "pooled": None if pooled is None else int(pooled.shape[1]),
        "parameters": own.parameters,
        "macs": own.macs,
        "input_size": list(own.input_size),
        "stages": {s.name: int(stage_width(s, outputs[s.module_path])) for s in stages},
    }
