"""Forest plot and learning curve: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pytest

from medfuse.plots import ForestRow, forest, learning_curve


def test_forest_draws_every_defined_row_top_to_bottom() -> None:
    rows = [
        ForestRow("sure", 0.1, 0.05, 0.15, "first"),
        ForestRow("open", -0.1, -0.2, 0.0, "second", sure=False),
        ForestRow("nothing", None, None, None, "second"),
        ForestRow("no interval", 0.2, None, None, "second"),
    ]
    figure = forest(rows, "title", "difference", zero=0.0)
    axes = figure.axes[0]
    marks = [line for line in axes.lines if line.get_marker() not in ("None", "")]
    assert [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks] == [(0.1, 0), (-0.1, 1), (0.2, 3)]
    assert [m.get_markerfacecolor() == "white" for m in marks] == [False, True, False]
    spans = [line for line in axes.lines if len(line.get_xdata()) == 2 and line not in marks]
    assert [0.05, 0.15] in [list(line.get_xdata()) for line in spans]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert [text.get_text() for text in axes.get_yticklabels()] == [row.name for row in rows]
    assert "undefined" in [text.get_text() for text in axes.texts]
    assert [text.get_text() for text in figure.legends[0].texts] == ["first", "second"]


def test_learning_curve_has_a_line_a_candidate_over_a_log_scale() -> None:
    def points(shift: float) -> list[dict[str, float]]:
        return [
            {"cases": n, "value": v + shift, "low": v - 0.1, "high": v + 0.2}
            for n, v in ((25, 0.7), (100, 0.8))
        ]

    axes = learning_curve({"A": points(0), "f": points(0.05)}).axes[0]
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["25", "100"]
    drawn = [container.lines[0] for container in axes.containers]
    assert np.array(drawn[1].get_ydata(), dtype=float) == pytest.approx([0.75, 0.85])
    assert np.array(drawn[0].get_xdata(), dtype=float) == pytest.approx([25, 100], rel=0.02)
