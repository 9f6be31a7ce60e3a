"""Test on a site that no training case comes from."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from medfuse.data.cohort import Case, Cohort
from medfuse.errors import CohortError
from medfuse.suggest import did_you_mean


def with_held_out_site(cohort: Cohort, site: str) -> dict[str, Case]:
    """Return the cases by id, those of ``site`` as the test part, the others without that role.

    Raises:
        CohortError: no case is of the site, every case is, or the source gives a test part.
    """
    if any(case.role == "test" for case in cohort.cases):
        raise CohortError(
            f"{cohort.root}: the source gives a test part and cohort.split.hold_out_site is "
            f"{site!r}; expected one of the two. Remove hold_out_site, or list the cases without a "
            "test part."
        )
    sites = Counter(case.site for case in cohort.cases)
    if site not in sites or not site:
        found = ", ".join(f"{name} ({count})" for name, count in sorted(sites.items()) if name)
        raise CohortError(
            f"{cohort.root}: no case is of the site {site!r}, found {found or 'no site at all'}."
            f"{did_you_mean(site, list(sites))} Give the cases a column named site."
        )
    if len(sites) == 1:
        raise CohortError(
            f"{cohort.root}: every case is of the site {site!r}, so none is left for training. "
            "Remove cohort.split.hold_out_site."
        )
    return {
        case.case_id: replace(case, role="test") if case.site == site else case
        for case in cohort.cases
    }
