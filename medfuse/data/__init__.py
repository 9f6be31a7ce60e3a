"""Read: files and a `CohortConfig` -> `Cohort` of `Case`, split into parts without leaks.

`read_cohort` finds the cases, `resolve_leaks` removes what would flatter a result, and
`assign_roles` divides the rest; `write_cohort` and `read_split` keep the outcome as a file.
`medfuse.data.image_reader` (which imports monai) turns one file into an array of pixels.
"""

from medfuse.data.cohort import ROLES, Case, Cohort, Role
from medfuse.data.events import Event, tally

__all__ = [
    "ROLES",
    "Case",
    "Cohort",
    "Event",
    "Role",
    "tally",
]
