"""All checks of a plugin, component by component. Nothing heavy is imported before they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING

from medfuse.contract import (
    BackboneFamilySpec,
    BackboneSpec,
    ComponentSpec,
    DecisionFusionSpec,
    FeatureFusionSpec,
    GraphOnly,
    HeadSpec,
    MetricSpec,
    ReaderSpec,
)
from medfuse.errors import ConfigError, MedfuseError, PluginError
from medfuse.registry import describe_backbone
from medfuse.registry.kinds import Spec
from medfuse.testing import descriptions
from medfuse.testing.findings import Check, Finding, NotApplicable, carry_out
from medfuse.testing.light_import import listing_is_light
from medfuse.testing.subjects import Subject, module_of, open_subject

if TYPE_CHECKING:
    from medfuse.testing.exports import Rebuilding
    from medfuse.testing.probes import Probe

_NETWORKS = (BackboneSpec, FeatureFusionSpec, DecisionFusionSpec, HeadSpec)


def check_plugin(name_or_module: str) -> list[Finding]:
    """Return what the conformance kit finds in a plugin: one finding a check and component.

    Args:
        name_or_module: name of an installed plugin, or an importable plugin module.
    """
    return [carry_out(check) for check in checks_of(name_or_module)]


def checks_of(name_or_module: str) -> Iterator[Check]:
    """Yield every check of a plugin, to be carried out in order.

    A plugin that cannot be opened has one check, which fails.
    """
    yield Check("plugin", "light import", partial(listing_is_light, module_of(name_or_module)))
    try:
        subject = open_subject(name_or_module)
    except PluginError as error:
        yield Check("plugin", "loads", partial(_fail, error))
        return
    yield Check("plugin", "contributes", partial(_contributes, subject))
    yield from _Bench(subject).checks()


class _Bench:
    """A plugin's components, each built once for all of its checks."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._probes: dict[str, Probe] = {}

    def checks(self) -> Iterator[Check]:
        for label, spec in self.components.items():
            for name, run in self._checks(label, spec):
                yield Check(label, name, run)

    @cached_property
    def components(self) -> dict[str, Spec]:
        """Label to spec; a family is followed by its examples."""
        found: dict[str, Spec] = {}
        for kind, specs in self.subject.contribution.specs.items():
            for spec in specs:
                if isinstance(spec, BackboneFamilySpec):
                    found[f"family {spec.name}"] = spec
                    found |= _examples(spec)
                else:
                    found[f"{kind} {spec.name}"] = spec
        return found

    @cached_property
    def own(self) -> frozenset[str]:
        """Packages that are absent where a bundle runs."""
        return self.subject.packages

    @cached_property
    def rebuilding(self) -> Rebuilding:
        from medfuse.testing.exports import Rebuilding

        networks = [n for n, s in self.components.items() if isinstance(s, _NETWORKS)]
        return Rebuilding({n: self.probe(n) for n in networks}, self.own)

    def probe(self, label: str) -> Probe:
        from medfuse.testing.probes import probe_of

        if label not in self._probes:
            spec = self.components[label]
            probe = probe_of(spec) if isinstance(spec, ComponentSpec) else None
            if probe is None:
                raise PluginError(f"{label} is no network.")
            self._probes[label] = probe
        return self._probes[label]

    def _checks(self, label: str, spec: Spec) -> Iterator[tuple[str, Callable[[], None]]]:
        yield "description", partial(descriptions.describes_itself, spec)
        if isinstance(spec, BackboneFamilySpec):
            yield "describes members", partial(descriptions.family_describes_members, spec)
            return
        yield "factory", partial(descriptions.factory_resolves, spec)
        yield "options", partial(descriptions.options_are_sound, spec)
        yield "license", partial(descriptions.licenses_are_given, spec)
        if isinstance(spec, BackboneSpec):
            yield "weights", partial(descriptions.weights_are_sound, spec)
        if isinstance(spec, HeadSpec):
            yield "loss and link", partial(descriptions.head_is_consistent, spec)
            yield "trainable", partial(_trainable, spec)
        if isinstance(spec, ReaderSpec):
            yield "suffixes", partial(descriptions.reader_is_consistent, spec)
            yield "export recipe", lambda: _recipe(spec, self.own)
        if isinstance(spec, MetricSpec):
            yield "measures", partial(_metric, spec)
        if isinstance(spec, _NETWORKS):
            yield from self._network_checks(label, spec)

    def _network_checks(
        self, label: str, spec: ComponentSpec
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        from medfuse.testing import behavior, exports

        def on_probe(check: Callable[[Probe], None]) -> Callable[[], None]:
            return lambda: check(self.probe(label))

        for name, shape_check in _shape_checks(spec).items():
            yield name, on_probe(shape_check)
        yield "finite", on_probe(behavior.outputs_are_finite)
        yield "eval determinism", on_probe(behavior.eval_is_deterministic)
        yield "batch independence", on_probe(behavior.rows_are_independent)
        yield "gradients", on_probe(behavior.gradients_reach_the_start)
        yield "state dict", on_probe(behavior.state_restores_the_outputs)
        yield "export recipe", lambda: exports.recipe_is_sound(spec, self.own)
        if isinstance(spec.export, GraphOnly):
            yield "traced graph", on_probe(exports.traced_graph_agrees)
        else:
            yield "rebuilds alone", lambda: self.rebuilding.check(label)


def _shape_checks(spec: ComponentSpec) -> dict[str, Callable[[Probe], None]]:
    from medfuse.testing import shapes

    if isinstance(spec, BackboneSpec):
        return {"shapes": shapes.backbone_shapes, "stages": shapes.stages_are_true}
    if isinstance(spec, HeadSpec):
        return {"shapes": shapes.head_shapes}
    missing = {"missing sources": shapes.masked_sources_count_nothing}
    if isinstance(spec, DecisionFusionSpec):
        return {"shapes": shapes.decision_shapes, "fitting": shapes.fitting_is_true, **missing}
    return {"shapes": shapes.fusion_shapes, "one source": shapes.one_source_is_enough, **missing}


def _examples(family: BackboneFamilySpec) -> dict[str, Spec]:
    """Describe the examples; where that fails, the family's own check says why."""
    try:
        return {
            f"backbone {family.name}:{n}": describe_backbone(family, n) for n in family.examples
        }
    except MedfuseError:
        return {}


def _contributes(subject: Subject) -> None:
    contribution = subject.contribution
    if not any(contribution.specs.values()) and not contribution.attaches_handlers:
        raise PluginError("the plugin yields nothing. Implement a hook and mark it @hookimpl.")


def _metric(spec: MetricSpec) -> None:
    from medfuse.testing.metrics import metric_measures

    metric_measures(spec)


def _trainable(spec: HeadSpec) -> None:
    from medfuse.training.classifier import check_head

    try:
        check_head(spec, num_classes=2)
    except ConfigError as error:
        raise NotApplicable(f"not usable in an experiment yet: {error}") from error


def _recipe(spec: ReaderSpec, own: frozenset[str]) -> None:
    from medfuse.testing.exports import recipe_is_sound

    if isinstance(spec.export, GraphOnly):
        raise NotApplicable(f"{spec.export.reason}: bundles will not read the format")
    recipe_is_sound(spec, own)


def _fail(error: PluginError) -> None:
    raise error
