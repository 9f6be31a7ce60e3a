"""Importing this imports all that training a candidate takes, and reads what is installed.

Processes that are forked from one that has done so begin to train at once, and share its memory.
Nothing is computed here: threads that torch or scikit-learn started would be missing after a fork.
"""

from __future__ import annotations

from contextlib import suppress

import sklearn.linear_model
import sklearn.model_selection
import sklearn.neighbors
import sklearn.preprocessing  # noqa: F401

import medfuse.workflows.compare_fits  # noqa: F401
from medfuse.errors import MedfuseError
from medfuse.registry import load_registry

with suppress(MedfuseError):  # a broken plugin: who asked for the comparison tells it
    load_registry()
