"""Read: files and a `CohortConfig` -> `Cohort` of `Case`, split into parts without leaks.

`read_cohort` finds the cases, `resolve_leaks` removes what would flatter a result, and
`assign_roles` divides the rest; `write_cohort` and `read_split` keep the outcome as a file.
`medfuse.data.image_reader` (which imports monai) turns one file into an array of pixels.
"""

from medfuse.data.cohort import ROLES, Case, Cohort, Role
from medfuse.data.events import Event, tally
from medfuse.data.leaks import Leak, LeakReport, resolve_leaks
from medfuse.data.read import read_cohort
from medfuse.data.split import assign_roles
from medfuse.data.split_file import pseudonymized, read_split, split_digest, write_cohort

__all__ = [
    "ROLES",
    "Case",
    "Cohort",
    "Event",
    "Leak",
    "LeakReport",
    "Role",
    "assign_roles",
    "pseudonymized",
    "read_cohort",
    "read_split",
    "resolve_leaks",
    "split_digest",
    "tally",
    "write_cohort",
]
