"""Public sets by name: local files, or with permission the network -> a cohort to train on.

`public_sets` lists them; `fetch_set` gives the cohort of one. Without ``download`` only files
that are already in the folder are used.
"""

from medfuse.data.public.described import Fetched, FetchOptions, PublicSet
from medfuse.data.public.sets import fetch_set, public_sets

__all__ = ["FetchOptions", "Fetched", "PublicSet", "fetch_set", "public_sets"]
