"""Importing this imports all that training a candidate takes, and reads what is installed.

Processes that are forked from one that has done so begin to train at once, and share its memory.
Nothing is computed here: threads that torch or scikit-learn started would be missing after a fork.
"""

from __future__ import annotations

import atexit
import os

import sklearn.linear_model
import sklearn.model_selection
import sklearn.neighbors
import sklearn.preprocessing  # noqa: F401
import torch

import medfuse.workflows.compare_fits  # noqa: F401
from medfuse.memory import collect_seldom
from medfuse.registry import load_registry

collect_seldom()
load_registry()
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # the first one imports for a second
atexit.register(os._exit, 0)  # what was imported need not be taken apart
