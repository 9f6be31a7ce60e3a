"""Read an experiment from a YAML file or plain data, and write it out."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from yaml.constructor import ConstructorError

from medfuse.config.experiment import Experiment
from medfuse.config.problems import SHOWN, first_problem
from medfuse.config.section import Section
from medfuse.errors import ConfigError

_Section = TypeVar("_Section", bound=Section)
_BUNDLE = "bundle:"
_COMPONENTS = {name: Experiment.model_fields[name].default.use for name in ("fusion", "head")}


def load_experiment(path: Path | str, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment of a YAML file, with ``key.key=value`` overrides applied.

    Relative paths inside (``cohort.path`` and weights files behind ``@``) are taken from the
    file's own folder; ``~`` and environment variables (``$DATA/images``) are expanded.

    Raises:
        ConfigError: the file is absent, is not a YAML mapping, or holds a bad key or value.
    """
    file = Path(path)
    if file.is_dir():
        raise ConfigError(
            f"{file}: a folder, expected a YAML configuration that names it under cohort.path, and "
            "sources. Only 'medfuse train' takes a folder of images itself, with --source."
        )
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}). Give a YAML file.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        found = "nothing" if data is None else f"a {type(data).__name__}"
        raise ConfigError(
            f"{file}: found {found}, expected settings such as 'cohort: {{path: images}}' "
            "(docs/configuration.md has all)."
        )
    return parse_experiment(data, str(file), file.parent, overrides)


def as_experiment(experiment: Experiment | Mapping[str, Any] | Path | str) -> Experiment:
    """Return a configuration that is given as such, as plain data, or as the path of its file.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong.
    """
    if isinstance(experiment, Experiment):
        return experiment
    if isinstance(experiment, Mapping):
        return parse_experiment(experiment)
    return load_experiment(experiment)


def parse_experiment(
    data: Mapping[str, Any],
    where: str = "configuration",
    folder: Path | None = None,
    overrides: Sequence[str] = (),
) -> Experiment:
    """Return the experiment that plain data describe.

    Args:
        data: nested mappings and lists, as YAML gives them.
        where: the file's name, for error texts.
        folder: relative paths are taken from here; the working directory if ``None``.
        overrides: ``key.key=value``, applied before, see `with_overrides`.

    Raises:
        ConfigError: a bad key or value, named with its place and the nearest known key.
    """
    experiment = validated(Experiment, data, where, overrides)
    return _anchored(experiment, folder or Path(), where)


def validated(
    section: type[_Section], data: Mapping[str, Any], where: str, overrides: Sequence[str] = ()
) -> _Section:
    """Return a section as plain data describe it.

    Args:
        section: its type.
        data: nested mappings and lists; they are not changed.
        where: they come from, for error texts.
        overrides: each ``key.key=value`` to put into them. One that is to blame is named.

    Raises:
        ConfigError: a bad key or value, named with its place and the nearest known key.
    """

    def read(given: Sequence[str]) -> _Section:
        changed = with_overrides(copy.deepcopy(dict(data)), given) if given else dict(data)
        return section.model_validate(changed)

    def problem(given: Sequence[str]) -> str | None:
        try:
            read(given)
        except ValidationError as error:
            return first_problem(error, section)[0]
        return None

    try:
        return read(overrides)
    except ValidationError as error:
        text, more = first_problem(error, section)
        # As many of them as bring the problem about: the last of these did it.
        count = next(n for n in range(len(overrides) + 1) if problem(overrides[:n]) == text)
        by = f"--set {' '.join(overrides[count - 1].split())[:SHOWN]}" if count else where
        raise ConfigError(f"{by}: {text}{more}") from error


def with_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return ``data``, changed in place, with each ``key.key=value`` put in its place.

    Raises:
        ConfigError: an override has no ``=``, no valid value, or no place to go.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {override}: expected key=value, as in training.epochs=20.")
        _name_component(data, key)
        _assign(data, key.split("."), _scalar(text, override), override)
    return data


def dump_experiment(experiment: Experiment) -> str:
    """Return the experiment as YAML, every default written out.

    Of an input that is a table, settings of images are left out unless they were given.
    """
    data = experiment.model_dump(mode="json")
    for name, config in experiment.inputs.items():
        if config.kind == "tabular":
            given = config.model_dump(mode="json", exclude_defaults=True)
            data["inputs"][name] = given
    return yaml.safe_dump(data, sort_keys=False)


def _name_component(data: dict[str, Any], key: str) -> None:
    """Write out which fusion or head it is of which an option is about to be set."""
    section, dot, _ = key.partition(".")
    if dot and section in _COMPONENTS:
        given = data.get(section, _COMPONENTS[section])
        data[section] = {"use": given} if isinstance(given, str) else given


def _scalar(text: str, override: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not valid YAML.") from error


def _no_place(data: Any, key: str, override: str) -> ConfigError:
    known = f"0 to {len(data) - 1}" if isinstance(data, list) and data else "none"
    return ConfigError(f"--set {override}: there is no place {key!r}, expected {known}.")


def _assign(data: Any, keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        if isinstance(data, list) and key.isdigit() and int(key) < len(data):
            data = data[int(key)]
        elif isinstance(data, dict):
            if not isinstance(data.get(key), dict | list):
                data[key] = {}
            data = data[key]
        else:
            raise _no_place(data, key, override)
    last = keys[-1]
    if isinstance(data, list) and last.isdigit() and int(last) < len(data):
        data[int(last)] = value
    elif isinstance(data, dict):
        data[last] = value
    else:
        raise _no_place(data, last, override)


def _anchored(experiment: Experiment, folder: Path, where: str) -> Experiment:
    def anchored(text: str) -> str:
        path = os.path.expandvars(text)
        variable = re.search(r"\$\{?(\w+)", path)
        if variable:
            raise ConfigError(
                f"{where}: {text} needs the environment variable {variable[1]}, which is not set."
            )
        try:
            return str((folder / Path(path).expanduser()).resolve())
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"{where}: {text[:80]!r} is not a usable path ({error}).") from error

    cohort = experiment.cohort.model_copy(update={"path": anchored(experiment.cohort.path)})
    sources = [
        source.model_copy(update={"use": _with_file(source.use, folder, anchored)})
        for source in experiment.sources
    ]
    settled: dict[str, Any] = {"cohort": cohort, "sources": sources}
    if experiment.adaptation is not None:
        target = anchored(experiment.adaptation.target)
        settled["adaptation"] = experiment.adaptation.model_copy(update={"target": target})
    return experiment.model_copy(update=settled)


def _with_file(use: str, folder: Path, anchored: Callable[[str], str]) -> str:
    """Return how a source is named, with the path in it ``anchored``."""
    if use.startswith(_BUNDLE):
        text = use.removeprefix(_BUNDLE)
        path, mark, part = text.rpartition("#")
        whole = not mark or Path(anchored(text)).is_dir()
        return _BUNDLE + (anchored(text) if whole else f"{anchored(path)}{mark}{part}")
    if _is_pretrained(use, folder):
        return anchored(use)
    name, at, file = use.partition("@")
    if at:
        return f"{name}@{anchored(file)}"
    return anchored(name) if ":" not in name and os.sep in name else use


def _is_pretrained(use: str, folder: Path) -> bool:
    """Return whether a text names a folder with a description of weights, from ``folder``."""
    try:
        return (folder / Path(use).expanduser() / "source.json").is_file()
    except (OSError, RuntimeError, ValueError):
        return False


class _UniqueKeys(yaml.SafeLoader):
    """Plain data in which no mapping has a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        known: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in known:
                raise ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
            known.add(name)
        return super().construct_mapping(node, deep)
