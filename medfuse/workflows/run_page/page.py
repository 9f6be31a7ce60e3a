"""The report of a run: its sections in order, under a title with the numbers to see first."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from medfuse.data import split_digest
from medfuse.report import Section, SectionPage
from medfuse.workflows.run_page.abstention import abstention_section
from medfuse.workflows.run_page.adaptation import adaptation_section, adaptation_warnings
from medfuse.workflows.run_page.calibration import calibration_section
from medfuse.workflows.run_page.card import card_section, limits_section
from medfuse.workflows.run_page.checklists import checklist_sections
from medfuse.workflows.run_page.cohort import cohort_section
from medfuse.workflows.run_page.comparison import comparison_section
from medfuse.workflows.run_page.errors import errors_section
from medfuse.workflows.run_page.events import events_section
from medfuse.workflows.run_page.facts import RunFacts
from medfuse.workflows.run_page.inputs import inputs_section
from medfuse.workflows.run_page.model import model_section
from medfuse.workflows.run_page.performance import headline, performance_section
from medfuse.workflows.run_page.shares import shares_section
from medfuse.workflows.run_page.sources import sources_section
from medfuse.workflows.run_page.split import split_section
from medfuse.workflows.run_page.subgroups import subgroups_section
from medfuse.workflows.run_page.training import training_section

_PACKAGES = ("medfuse", "monai", "torch", "timm", "numpy", "scikit-learn")

# One line adds a section. A section that has nothing to say is left out, and the checklists then
# say of its items that they are open.
_SECTIONS: tuple[Callable[[RunFacts], Section], ...] = (
    lambda facts: performance_section(facts.measured),
    comparison_section,
    lambda facts: calibration_section(facts.measured),
    lambda facts: abstention_section(facts.measured),
    lambda facts: subgroups_section(facts.measured),
    shares_section,
    errors_section,
    cohort_section,
    split_section,
    inputs_section,
    sources_section,
    model_section,
    adaptation_section,
    training_section,
    card_section,
    limits_section,
    events_section,
)


def run_page(facts: RunFacts, created: str) -> SectionPage:
    """Return the content of a run's report."""
    sections = [section(facts) for section in _SECTIONS]
    return SectionPage(
        name=facts.task.experiment.name,
        intended_use=facts.card["intended_use"],
        verdict=facts.comparison["verdict"] if facts.comparison else "",
        headline=headline(facts.measured.part.metrics) if facts.measured.part else {},
        warnings=_warnings(facts),
        sections=[*sections, *checklist_sections(sections)],
        versions={
            **{name: version(name) for name in _PACKAGES},
            "configuration": facts.task.experiment.digest()[:16],
            "split": split_digest(facts.task.prepared.cohort)[:16],
        },
        created=created,
    )


def _warnings(facts: RunFacts) -> list[str]:
    warnings = adaptation_warnings(facts)
    if facts.measured.part is None:
        warnings.append("There is no labeled test case: nothing was measured.")
    elif facts.measured.part.seen.warning():
        warnings.append(facts.measured.part.seen.warning())
    warnings.extend(
        f"The input contract of {source.label} is unknown; its architecture's was assumed."
        for source in facts.task.features.sources
        if source.card.get("contract_assumed")
    )
    dropped = facts.task.prepared.leaks.summary()["dropped"]
    if dropped:
        warnings.append(f"{dropped} training cases were dropped: they are also elsewhere.")
    return warnings
