"""What a spec says of itself: options, weights, licenses, links. Imports no torch."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

from medfuse.contract import (
    BackboneFamilySpec,
    BackboneSpec,
    ComponentSpec,
    HeadSpec,
    ReaderSpec,
    VendoredSource,
    WeightsSpec,
    resolve_options,
)
from medfuse.data.plugin_reader import BUILT_IN_ENDINGS
from medfuse.errors import PluginError
from medfuse.registry import describe_backbone, family_names, load_factory
from medfuse.registry.kinds import Spec
from medfuse.registry.plain_names import describe_plain, plain_names
from medfuse.testing.findings import NotApplicable

LOSSES = ("cross_entropy", "binary_cross_entropy", "focal", "coral", "corn")
_UNKNOWN_LICENSE = "LicenseRef-unknown"
_SIZE_POLICY = re.compile(r"fixed|any|multiple_of:[1-9]\d*")
_POSITIONAL = {"BackboneSpec": 0, "DecisionFusionSpec": 2, "HeadSpec": 2, "MetricSpec": 0}


def describes_itself(spec: Spec) -> None:
    """Pass if the summary is one line and every field that should be a tuple is one."""
    if not spec.summary.strip() or "\n" in spec.summary:
        raise PluginError("summary is empty or has several lines, expected one line.")
    for field in fields(spec):
        if isinstance(getattr(spec, field.name), list | set):
            raise PluginError(f"{field.name} is a list, expected a tuple: specs are immutable.")


def options_are_sound(spec: ComponentSpec) -> None:
    """Pass if defaults pass their own check and the factory takes every option by name."""
    names = [option.name for option in spec.options]
    if len(set(names)) < len(names):
        raise PluginError(f"two options have one name: {', '.join(names)}.")
    resolve_options(spec.options, {o.name: o.default for o in spec.options}, spec.name)
    signature = inspect.signature(load_factory(spec))
    positional = [None] * _POSITIONAL.get(type(spec).__name__, 1)
    keywords = dict.fromkeys(names)
    try:
        signature.bind_partial(*positional, **keywords)
    except TypeError as error:
        raise PluginError(f"the factory does not take every option by name: {error}.") from error


def factory_resolves(spec: ComponentSpec) -> None:
    """Pass if the factory can be imported and called."""
    load_factory(spec)


def licenses_are_given(spec: ComponentSpec) -> None:
    """Pass if the vendored source and all weights that the plugin can fetch name their license.

    Weights without a place describe a user's own file, whose license the plugin cannot know.
    """
    if isinstance(spec.export, VendoredSource) and not spec.export.license.strip():
        raise PluginError("VendoredSource has no license. Give an SPDX expression.")
    for weights in getattr(spec, "weights", ()):
        theirs = weights.path or weights.url or weights.hub_id
        if theirs and weights.license.strip() in ("", _UNKNOWN_LICENSE):
            raise PluginError(
                f"weights {weights.name!r} have no license. Give an SPDX identifier or "
                "LicenseRef-NAME: a bundle takes the strictest of its sources."
            )


def weights_are_sound(spec: BackboneSpec) -> None:
    """Pass if every set of weights can be applied: name, place, normalization, size."""
    names = [weights.name for weights in spec.weights]
    if len(set(names)) < len(names) or "random" in names:
        raise PluginError(f"weights {', '.join(names)}: names must differ, and not be 'random'.")
    for weights in spec.weights:
        problem = _problem(weights, spec)
        if problem:
            raise PluginError(f"weights {weights.name!r}: {problem}.")


def head_is_consistent(spec: HeadSpec) -> None:
    """Pass if loss, link and number of logits belong together."""
    if spec.loss not in LOSSES:
        raise PluginError(f"loss {spec.loss!r}, expected one of {', '.join(LOSSES)}.")
    if spec.single_logit != (spec.link == "sigmoid_pair"):
        raise PluginError(
            f"single_logit is {spec.single_logit} but link is {spec.link!r}: "
            "one logit for two classes goes with 'sigmoid_pair', and only it."
        )
    if (spec.link in ("coral", "corn")) != (spec.task == "ordinal"):
        raise PluginError(
            f"task is {spec.task!r} but link is {spec.link!r}: "
            "ordinal labels go with 'coral' or 'corn', and only they."
        )


def reader_is_consistent(spec: ReaderSpec) -> None:
    """Pass if suffixes are lower case with a dot, and no built-in format has one of them."""
    bad = [s for s in spec.suffixes if not s.startswith(".") or s != s.lower()]
    if bad or not spec.suffixes:
        raise PluginError(f"suffixes {spec.suffixes!r}, expected some as '.nii.gz'.")
    taken = [suffix for suffix in spec.suffixes if suffix in BUILT_IN_ENDINGS]
    if taken:
        raise PluginError(
            f"suffix {taken[0]!r} is that of a built-in format: nobody could say who reads it."
        )


def family_describes_members(spec: BackboneFamilySpec) -> None:
    """Pass if the first name and every example can be described, and a wrong name is refused."""
    names = family_names(spec)
    if not names:
        raise PluginError(f"{spec.names} gave no names.")
    for name in dict.fromkeys([names[0], *spec.examples]):
        member = describe_backbone(spec, name)
        describes_itself(member)
        weights_are_sound(member)
    describe = load_factory(spec.describe, spec.requires)
    try:
        found = describe("no_such_backbone")
    except KeyError:
        return
    raise PluginError(f"describe of an unknown name gave {found!r:.60}, expected a KeyError.")


def plain_names_are_members(spec: BackboneFamilySpec) -> None:
    """Pass if every plain name stands for a member that can be described, and for its weights."""
    if not spec.plain_names:
        raise NotApplicable("none declared: members are written FAMILY:NAME")
    for plain in plain_names(spec.name, spec):
        describe_plain(plain)


def _is_wrong_size(weights: WeightsSpec, dims: int) -> bool:
    """Tell whether the size cannot be used; only where any size fits may it be left empty."""
    if not weights.input_size:
        return weights.size_policy != "any"
    return len(weights.input_size) != dims or min(weights.input_size) < 1


def _problem(weights: WeightsSpec, spec: BackboneSpec) -> str | None:
    """Return what is wrong with a set of weights, or ``None``."""
    norm, dims = weights.normalization, spec.spatial_dims
    per_channel: Any = (1, spec.in_channels)
    low, high = norm.input_range
    problems = {
        "more than one of path, url and hub_id is set": (
            sum(bool(place) for place in (weights.path, weights.url, weights.hub_id)) > 1
        ),
        "mean and std need one value, or one per channel": (
            len(norm.mean) not in per_channel or len(norm.std) not in per_channel
        ),
        "a std is zero or negative": any(value <= 0 for value in norm.std),
        f"input_range ({low}, {high}) is empty": low >= high,
        f"input_size {weights.input_size}, expected {dims} lengths": (
            _is_wrong_size(weights, dims)
        ),
        f"size_policy {weights.size_policy!r}, expected fixed, any or multiple_of:n": (
            not _SIZE_POLICY.fullmatch(weights.size_policy)
        ),
        "sha256 is not 64 hexadecimal digits": (
            weights.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", weights.sha256)
        ),
    }
    return next((text for text, wrong in problems.items() if wrong), None)
