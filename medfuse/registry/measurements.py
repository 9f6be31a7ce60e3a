"""Recorded facts of networks, so that listings build none: a table inside each plugin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from medfuse.errors import PluginError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FORMAT = 1


@dataclass(frozen=True)
class Measurement:
    """What was measured of a network at its weights' own input size, without its classifier.

    Attributes:
        spatial_dims: 2 or 3.
        input_size: at which map and multiply-adds were measured.
        feature_map: ``(F, *grid)``.
        width: of the vector: the network's own, or F where it has none.
        parameters: how many, in all layers.
        macs: multiply-adds of one image.
        domain: what the default weights were trained on; empty where there are none.
        license: of the default weights; empty where there are none.
    """

    spatial_dims: int
    input_size: tuple[int, ...]
    feature_map: tuple[int, ...]
    width: int
    parameters: int
    macs: int
    domain: str
    license: str


def read_measurements(place: str | None) -> dict[str, Measurement]:
    """Return the recorded facts by name of backbone, or by plain name of a family's member.

    Args:
        place: ``package:file``, or ``None`` for an empty table.

    Raises:
        PluginError: the file is absent, damaged, or of another format.
    """
    if place is None:
        return {}
    try:
        content = json.loads(measurements_file(place).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, expected {FORMAT}")
        return {name: _measurement(entry) for name, entry in content["networks"].items()}
    except (OSError, ImportError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PluginError(
            f"table of measured networks {place!r} cannot be read "
            f"({type(error).__name__}: {error}). Write it with: medfuse plugins measure"
        ) from error


def measurements_file(place: str) -> Traversable:
    """Return the file that ``package:file`` names.

    Raises:
        PluginError: the text has another form.
    """
    package, colon, file = place.partition(":")
    if not (package and colon and file):
        raise PluginError(f"measured is {place!r}, expected the form package:file.")
    return files(package).joinpath(file)


def measurements_text(measurements: Mapping[str, Measurement]) -> str:
    """Return the file's content, one line for each network."""
    lines = [f"  {json.dumps(name)}: {json.dumps(asdict(m))}" for name, m in measurements.items()]
    networks = ",\n".join(lines)
    return f'{{"format": {FORMAT}, "networks": {{\n{networks}\n}}}}\n'


def _measurement(entry: Mapping[str, Any]) -> Measurement:
    known = {field.name: entry[field.name] for field in fields(Measurement)}
    lists = {name: tuple(known[name]) for name in ("input_size", "feature_map")}
    return Measurement(**{**known, **lists})
