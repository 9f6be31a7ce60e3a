"""What the page of a validation says first: each site, and only then all of them together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medfuse.evaluation import EvaluationSettings, Predictions
from medfuse.workflows import measure
from medfuse.workflows.site_page import SiteResults, site_csv, site_verdict, write_site_page

SITES = ("north", "south", "west")


def results(sites: int = 3) -> SiteResults:
    """Cases of a few sites, told apart worse from one to the next."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 40 * sites)
    where = np.repeat(SITES[:sites], 40)
    noise = random.normal(0, 1, len(labels)) * (1 + np.repeat(np.arange(sites), 40))
    chance = 1 / (1 + np.exp(-(2 * labels - 1 + noise)))
    found = Predictions(
        labels, np.stack([1 - chance, chance], 1), ("no", "yes"), groups={"site": where.tolist()}
    )
    settings = EvaluationSettings(bootstrap=10)
    facts = {site: {"learned_from": 9, "verdict": "", "seen": 0} for site in SITES[:sites]}
    return SiteResults("x", found, measure.measure(found, settings, {}), settings, facts, {})


@pytest.mark.slow
def test_the_verdict_tells_each_site_before_all_cases_together(tmp_path: Path) -> None:
    given = results()
    found, where = given.predictions, np.repeat(SITES, 40)
    area = {
        site: roc_auc_score(found.labels[where == site], found.probabilities[where == site, 1])
        for site in SITES
    }
    worst, best = min(area, key=area.__getitem__), max(area, key=area.__getitem__)
    verdict = site_verdict(given)
    assert verdict.startswith(
        f"At 3 sites, each unseen by its model: AUROC from {area[worst]:.3f} ({worst}) to "
        f"{area[best]:.3f} ({best}), {np.mean(list(area.values())):.3f} on average; all cases"
    )
    write_site_page(given, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    places = [
        page.index(text)
        for text in (
            verdict.split(";")[0],
            f"AUROC, worst site: {worst}",
            "Each row is measured by a model that was trained without this site.",
            'id="metrics"',
            'id="calibration"',
        )
    ]
    assert places == sorted(places)
    for title in ("Performance, all sites together", "Calibration, all sites together"):
        assert title in page
    assert page.count("Several models and their") == 2


def test_one_site_alone_is_no_range() -> None:
    given = results(sites=1)
    assert site_verdict(given).startswith("At the one site that could be measured unseen (north)")
    assert site_csv(given).splitlines()[0].startswith("site,cases,patients,learned_from,auroc")
