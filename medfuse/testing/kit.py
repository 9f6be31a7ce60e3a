"""All checks of a plugin, component by component. Nothing heavy is imported before they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
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
from medfuse.registry import describe_backbone, read_measurements
from medfuse.registry.kinds import Spec
from medfuse.registry.plain_names import describe_plain
from medfuse.registry.plain_names import plain_names as plain_names_of
from medfuse.testing import descriptions
from medfuse.testing.findings import Check, Finding, NotApplicable, carry_out
from medfuse.testing.light_import import listing_is_light
from medfuse.testing.subjects import Subject, module_of, open_subject

if TYPE_CHECKING:
    from medfuse.testing.probes import Probe
    from medfuse.testing.rebuilding import Rebuilding

_SMALL_SIDE = {2: 96, 3: 32}
_NETWORKS = (BackboneSpec, FeatureFusionSpec, DecisionFusionSpec, HeadSpec)


def check_plugin(name_or_module: str, *, plain_names: bool = False) -> list[Finding]:
    """Return what the conformance kit finds in a plugin: one finding a check and component.

    Args:
        name_or_module: name of an installed plugin, or an importable plugin module.
        plain_names: also build every network that has a plain name, not the examples alone.
    """
    return [carry_out(check) for check in checks_of(name_or_module, plain_names=plain_names)]


def checks_of(name_or_module: str, *, plain_names: bool = False) -> Iterator[Check]:
    """Yield every check of a plugin, to be carried out in order.

    A plugin that cannot be opened has one check, which fails. A network is released with its last
    check, so that of large ones no two are in memory.
    """
    try:
        subject = open_subject(name_or_module)
    except PluginError as error:
        yield Check("plugin", "loads", partial(_fail, error))
        return
    yield Check("plugin", "light import", partial(listing_is_light, module_of(name_or_module)))
    yield Check("plugin", "contributes", partial(_contributes, subject))
    yield from _Bench(subject, plain_names).checks()


class _Bench:
    """A plugin's components, each built once for all of its checks."""

    def __init__(self, subject: Subject, plain_names: bool) -> None:
        self.subject = subject
        self.plain_names = plain_names
        self._probes: dict[str, Probe] = {}
        self._without_factory: set[str] = set()

    def checks(self) -> Iterator[Check]:
        for label, spec in self.components.items():
            for name, run in self._checks(label, spec):
                yield Check(label, name, run)
            self._probes.pop(label, None)

    @cached_property
    def components(self) -> dict[str, Spec]:
        """Label to spec; a family is followed by its examples."""
        found: dict[str, Spec] = {}
        for kind, specs in self.subject.contribution.specs.items():
            for spec in specs:
                if isinstance(spec, BackboneFamilySpec):
                    found[f"family {spec.name}"] = spec
                    found |= _examples(spec)
                    found |= _plainly_named(spec) if self.plain_names else {}
                else:
                    found[f"{kind} {spec.name}"] = spec
        return found

    @cached_property
    def own(self) -> frozenset[str]:
        """Packages that are absent where a bundle runs."""
        return self.subject.packages

    @cached_property
    def rebuilding(self) -> Rebuilding:
        from medfuse.testing.rebuilding import Rebuilding

        return Rebuilding(self.own)

    def probe(self, label: str) -> Probe:
        from medfuse.testing.probes import probe_of

        if label not in self._probes:
            spec = self.components[label]
            small = _SMALL_SIDE if self.plain_names else None
            probe = probe_of(spec, small) if isinstance(spec, ComponentSpec) else None
            if probe is None:
                raise PluginError(f"{label} is no network.")
            self._probes[label] = probe
        return self._probes[label]

    def _checks(self, label: str, spec: Spec) -> Iterator[tuple[str, Callable[[], None]]]:
        yield "description", partial(descriptions.describes_itself, spec)
        if isinstance(spec, BackboneFamilySpec):
            yield "describes members", partial(descriptions.family_describes_members, spec)
            yield "plain names", partial(descriptions.plain_names_are_members, spec)
            yield "measured table", partial(_measured_table, spec, tuple(spec.plain_names))
            return
        yield "factory", partial(self._factory, label, spec)
        yield "options", self._with_factory(label, partial(descriptions.options_are_sound, spec))
        yield "license", partial(descriptions.licenses_are_given, spec)
        if isinstance(spec, BackboneSpec):
            yield "weights", partial(descriptions.weights_are_sound, spec)
            if spec.measured is not None:
                yield "measured table", partial(_measured_table, spec, (spec.name,))
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

    def _rebuilds_alone(self, probe: Probe) -> None:
        self.rebuilding.check(probe)

    def _factory(self, label: str, spec: ComponentSpec) -> None:
        try:
            descriptions.factory_resolves(spec)
        except PluginError:
            self._without_factory.add(label)
            raise

    def _with_factory(self, label: str, check: Callable[[], None]) -> Callable[[], None]:
        """Return a check that is skipped where the factory failed: that is said once."""

        def run() -> None:
            if label in self._without_factory:
                raise NotApplicable("its factory cannot be had, see above")
            check()

        return run

    def _network_checks(
        self, label: str, spec: ComponentSpec
    ) -> Iterator[tuple[str, Callable[[], None]]]:
        from medfuse.testing import behavior, exports

        def on_probe(check: Callable[[Probe], None]) -> Callable[[], None]:
            return self._with_factory(label, lambda: check(self.probe(label)))

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
            yield "rebuilds alone", on_probe(self._rebuilds_alone)


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


def _plainly_named(family: BackboneFamilySpec) -> dict[str, Spec]:
    """Describe what plain names stand for, with the one set of weights that each means.

    Where that fails, the family's own check says why.
    """
    try:
        described = {p.name: describe_plain(p) for p in plain_names_of(family.name, family)}
    except MedfuseError:
        return {}
    return {f"backbone {n}": replace(s, weights=s.weights[:1]) for n, s in described.items()}


def _measured_table(spec: BackboneSpec | BackboneFamilySpec, names: tuple[str, ...]) -> None:
    if spec.measured is None:
        raise NotApplicable("no table: listings cannot show sizes. See: medfuse plugins measure")
    found = read_measurements(spec.measured)
    absent = [name for name in names if name not in found]
    if absent:
        raise PluginError(
            f"{spec.measured} has no {', '.join(absent)}. Write it anew: medfuse plugins measure"
        )


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
