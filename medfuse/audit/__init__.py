"""Audit: a cohort -> `Audit`: what is in its files, and what is wrong with them, before training.

`scan` reads every file once; `find_duplicates`, `find_conflicts` and `probe_shortcuts` look at
what it saw; `judge` says it in sentences. No torch.
"""

from medfuse.audit.audit import Audit, audit
from medfuse.audit.conflicts import Conflicts, find_conflicts
from medfuse.audit.duplicates import DuplicateGroup, find_duplicates
from medfuse.audit.findings import Finding, judge
from medfuse.audit.look import Look
from medfuse.audit.picture import displayed, open_picture
from medfuse.audit.policy import Policy, policy_of
from medfuse.audit.scan import Refusal, Scan, Seen, scan
from medfuse.audit.shortcuts import Shortcut, ShortcutReport, probe_shortcuts
from medfuse.audit.tables import Breakdown, breakdowns, class_name

__all__ = [
    "Audit",
    "Breakdown",
    "Conflicts",
    "DuplicateGroup",
    "Finding",
    "Look",
    "Policy",
    "Refusal",
    "Scan",
    "Seen",
    "Shortcut",
    "ShortcutReport",
    "audit",
    "breakdowns",
    "class_name",
    "displayed",
    "find_conflicts",
    "find_duplicates",
    "judge",
    "open_picture",
    "policy_of",
    "probe_shortcuts",
    "scan",
]
