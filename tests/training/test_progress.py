"""What is shown while training runs, and how a training is told from the others of a run."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from medfuse.fusion.stacking import StackingFusion
from medfuse.training.fit import fit
from medfuse.training.members import fit_members

from .conftest import CLASSES, DIMS, make_cases, make_classifier, make_config, make_run

DATA = make_cases()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_for(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in the place of stderr; within a test, since pytest captures it anew."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


def test_bar_names_the_source_the_member_and_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    run = make_run(progress=True, role="single", sources=("mini:resnet",))
    fit_members([make_classifier(), make_classifier()], DATA, make_config(epochs=2), run)
    shown = terminal.getvalue()
    assert "mini:resnet alone, member 1/2, epoch 2/2" in shown
    assert "mini:resnet alone, member 2/2, epoch 2/2" in shown


def test_bar_of_the_only_training_names_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    fit(make_classifier(), DATA, None, make_config(epochs=1), make_run(progress=True))
    assert "\repoch 1/1" in terminal.getvalue()


def test_nothing_is_shown_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    fit(make_classifier(), DATA, None, make_config(epochs=1), make_run(progress=False))
    assert terminal.getvalue() == ""


def test_trainings_out_of_fold_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_for(monkeypatch)
    model = make_classifier(decision=StackingFusion(len(DIMS), len(CLASSES)))
    fit(model, DATA, None, make_config(epochs=1), make_run(progress=True))
    assert "out of fold 5, epoch 1/1" in terminal.getvalue()


def test_handlers_are_told_which_member_is_trained() -> None:
    seen: list[tuple[Any, ...]] = []
    run = make_run(
        role="single",
        sources=("a",),
        attach_handlers=lambda _, r: seen.append((r.role, r.sources, r.member, r.members)),
    )
    fit_members([make_classifier(), make_classifier()], DATA, make_config(epochs=1), run)
    assert seen == [("single", ("a",), 1, 2), ("single", ("a",), 2, 2)]
