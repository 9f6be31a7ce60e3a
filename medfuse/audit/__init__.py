"""Audit: a cohort -> what is in its files, and what is wrong with them, before training.

`scan` reads every file once; `find_duplicates`, `find_conflicts`, `probe_shortcuts` and
`judge` say what was found. No torch.
"""

from medfuse.audit.conflicts import Conflicts, find_conflicts
from medfuse.audit.duplicates import DuplicateGroup, find_duplicates
from medfuse.audit.findings import Finding, judge
from medfuse.audit.look import Look
from medfuse.audit.picture import open_picture
from medfuse.audit.scan import Refusal, Scan, Seen, scan
from medfuse.audit.shortcuts import Shortcut, ShortcutReport, probe_shortcuts
from medfuse.audit.tables import Breakdown, breakdowns

__all__ = [
    "Breakdown",
    "Conflicts",
    "DuplicateGroup",
    "Finding",
    "Look",
    "Refusal",
    "Scan",
    "Seen",
    "Shortcut",
    "ShortcutReport",
    "breakdowns",
    "find_conflicts",
    "find_duplicates",
    "judge",
    "open_picture",
    "probe_shortcuts",
    "scan",
]
