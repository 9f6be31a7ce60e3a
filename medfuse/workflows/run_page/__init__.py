"""Run page: what a run knows -> its report, one file a section (`run_page`, `RunFacts`)."""

from medfuse.workflows.run_page.facts import MeasuredCases, RunFacts
from medfuse.workflows.run_page.page import run_page

__all__ = ["MeasuredCases", "RunFacts", "run_page"]
