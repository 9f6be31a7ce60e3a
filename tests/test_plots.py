"""Figures show everything they name: no text is cut off or overlaps, whatever the classes."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from medfuse import plots

NAMES = {
    2: ["NORMAL", "PNEUMONIA"],
    4: ["glioma", "meningioma", "no_tumor", "pituitary adenoma with an extremely long name"],
    20: [f"bacterial_pneumonia_{i}" if i % 3 else f"class {i} of $many_20^th$" for i in range(20)],
}
RNG = np.random.default_rng(0)


def _curves(names: list[str]) -> dict[str, dict]:
    grid = np.linspace(0, 1, 11)
    return {
        name: {"x": grid, "y": grid**0.3, "grid": grid, "low": grid**0.4, "high": grid**0.2,
               "base": 0.3}
        for name in names
    }  # fmt: skip


def _areas(names: list[str]) -> dict[str, dict]:
    return {name: {"value": 0.91234, "low": 0.9, "high": 0.93} for name in names}


def _bins() -> list[dict]:
    return [
        {"low": b / 15, "high": (b + 1) / 15, "cases": b, "confidence": (b + 0.5) / 15,
         "accuracy": b / 15}
        for b in range(5, 15)
    ]  # fmt: skip


MAKERS: dict[str, Callable[[list[str]], Figure]] = {
    "confusion": lambda n: plots.confusion_matrix(RNG.integers(0, 999, (len(n), len(n))), n),
    "roc": lambda n: plots.roc(_curves(n), _areas(n)),
    "precision_recall": lambda n: plots.precision_recall(_curves(n), _areas(n)),
    "roc of labels": lambda n: plots.roc(_curves(n), _areas(n), "label"),
    "precision_recall of labels": lambda n: plots.precision_recall(_curves(n), _areas(n), "label"),
    "reliability": lambda _: plots.reliability_diagram(
        _bins(), {"value": 0.05, "low": 0.04, "high": 0.06}
    ),
    "counts": lambda n: plots.class_counts(
        {role: dict.fromkeys(n, 1234) for role in ("train", "validation", "test")}, n
    ),
    "drift": lambda n: plots.distance_curves(
        {"mobilenetv2_035.imagenet": np.linspace(0, 9, 101), "vit": np.linspace(2, 7, 101)},
        [RNG.normal(5, 1, 40), np.full(3, np.nan)],
        [8.0, np.inf],
    ),
    "shares": lambda n: plots.source_shares(
        RNG.dirichlet([1, 1], 100), RNG.integers(0, len(n), 100), ["mobilenetv2_035.x", "vit"], n
    ),
    "histogram": lambda n: plots.score_histogram(
        RNG.dirichlet(np.ones(len(n)), 90), RNG.integers(0, len(n), 90), n
    ),
    "samples": lambda n: plots.sample_grid({name: [RNG.random((1, 8, 8))] * 4 for name in n}),
    "panels": lambda n: plots.panel_grid(
        [
            plots.PanelRow(
                f"{name}\nDICOM CT, 12 bits\n512 x 512 x 28\n0.451 x 0.451 x 5 mm\naxial",
                {f"{name} canonical": RNG.random((8, 6)) for name in ("a", "mediastinum", "b")},
            )
            for name in n
        ],
        n[-1],
    ),
}


def _texts(figure: Figure) -> list[Text]:
    FigureCanvasAgg(figure).draw()
    undrawn = set()
    for axes in figure.axes:
        for side, axis in enumerate((axes.xaxis, axes.yaxis)):
            low, high = sorted(axis.get_view_interval())
            hidden = not axes.axison or not axis.get_tick_params().get("labelbottom", True)
            undrawn |= {
                t
                for t in axis.get_ticklabels(which="both")
                if hidden or not low <= t.get_position()[side] <= high
            }
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    return [t for t in texts if t not in undrawn]


@pytest.mark.slow
@pytest.mark.parametrize("count", NAMES)
@pytest.mark.parametrize("maker", MAKERS)
def test_no_text_is_cut_off(maker: str, count: int) -> None:
    figure = MAKERS[maker](NAMES[count])
    width, height = figure.canvas.get_width_height()
    for text in _texts(figure):
        box = text.get_window_extent()
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{text.get_text()!r} leaves the figure"


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("maker", MAKERS)
def test_level_texts_do_not_overlap(maker: str, count: int) -> None:
    figure = MAKERS[maker](NAMES[count])
    level = [t for t in _texts(figure) if t.get_rotation() == 0]
    for one, other in combinations(level, 2):
        a, b = one.get_window_extent(), other.get_window_extent()
        apart = a.x1 <= b.x0 + 2 or b.x1 <= a.x0 + 2 or a.y1 <= b.y0 + 2 or b.y1 <= a.y0 + 2
        assert apart, f"{one.get_text()!r} overlaps {other.get_text()!r}"


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_saved_figure_is_one_file_with_the_same_bytes_every_time(
    suffix: str, tmp_path: Path
) -> None:
    paths = [
        plots.save_figure(plots.roc(_curves(NAMES[2]), _areas(NAMES[2])), tmp_path / f"{n}{suffix}")
        for n in "ab"
    ]
    assert sorted(tmp_path.iterdir()) == paths
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("maker", ["roc", "confusion", "samples"])
def test_parts_stay_where_matplotlib_itself_would_place_them(maker: str) -> None:
    own, plain = io.BytesIO(), io.BytesIO()
    figure = MAKERS[maker](NAMES[2])
    other = pickle.loads(pickle.dumps(figure))
    plots.draw_figure(figure, io.BytesIO(), "svg")
    plots.draw_figure(figure, own, "png")
    other.savefig(plain, format="png", dpi=figure.dpi, metadata={"Software": None})
    assert own.getvalue() == plain.getvalue()


def test_history_marks_the_best_epoch_and_leaves_gaps() -> None:
    figure = plots.training_history(
        {"train_loss": [3, 2, 1], "validation_loss": [3.0, None, 2.5]}, best_epoch=3
    )
    (axes,) = figure.axes
    assert "best epoch (3)" in axes.get_legend_handles_labels()[1]
    assert np.isnan(axes.lines[1].get_ydata()[1])


def test_history_draws_loss_and_accuracy_side_by_side() -> None:
    figure = plots.training_history({"train_loss": [1.0], "train_accuracy": [0.5]})
    assert [a.get_xlabel() for a in figure.axes] == ["epoch", "epoch"]


def test_a_curve_that_only_the_second_panel_has_is_in_the_legend() -> None:
    figure = plots.training_history({"train_loss": [1.0], "validation_accuracy": [0.5]})
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["train", "validation"]


def test_confusion_cells_hold_count_and_row_percent() -> None:
    figure = plots.confusion_matrix([[3, 1], [0, 0]], ["a", "b"])
    written = {t.get_text() for t in figure.axes[0].texts}
    assert written == {"3\n75 %", "1\n25 %", "0\n0 %"}


def test_shares_that_are_much_alike_can_be_told_apart_and_the_cut_axis_is_said() -> None:
    near = 0.5 + RNG.uniform(-0.05, 0.05, (90, 1))
    figure = plots.source_shares(
        np.hstack([near, 1 - near]), np.arange(90) % 2, ["s", "t"], NAMES[2]
    )
    low, high = figure.axes[0].get_ylim()
    assert (low, high) == pytest.approx((0.44, 0.56))
    assert "axis cut: 0.45 to 0.55" in figure.axes[0].get_title(loc="left")


def test_shares_from_nothing_to_all_have_a_whole_axis() -> None:
    ends = np.tile([[0.0, 1.0], [1.0, 0.0]], (40, 1))
    figure = plots.source_shares(ends, np.repeat([0, 1], 40), ["s", "t"], NAMES[2])
    low, high = figure.axes[0].get_ylim()
    assert (low, high) == pytest.approx((-0.01, 1.01))
    assert "cut" not in figure.axes[0].get_title(loc="left")
    assert figure.axes[0].get_xlabel() == "true class"


def test_shares_of_all_cases_together_are_of_no_class() -> None:
    shares = np.tile([[0.4, 0.6], [0.6, 0.4]], (40, 1))
    figure = plots.source_shares(shares, np.zeros(80, int), ["s", "t"], ("all cases",), "")
    assert figure.axes[0].get_xlabel() == ""


@pytest.mark.slow
@pytest.mark.parametrize("count", NAMES)
@pytest.mark.parametrize("maker", sorted(set(MAKERS) - {"samples"}))
def test_every_figure_has_a_title(maker: str, count: int) -> None:
    figure = MAKERS[maker](NAMES[count])
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert figure.get_suptitle() if maker in ("histogram", "panels") else any(titles)


def test_curves_of_labels_are_against_their_absence() -> None:
    for draw in (plots.roc, plots.precision_recall):
        of_labels = draw(_curves(NAMES[2]), _areas(NAMES[2]), "label")
        assert of_labels.axes[0].get_title(loc="left").endswith("each label against its absence")
        of_classes = draw(_curves(NAMES[2]), _areas(NAMES[2]))
        assert of_classes.axes[0].get_title(loc="left").endswith("one class against the rest")


def test_curves_without_any_class_say_so() -> None:
    texts = [t.get_text() for t in plots.roc({}, {}).axes[0].texts]
    assert any("no class has both" in text for text in texts)


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 6, 6), (2, 6, 6), (1, 6, 6, 5)])
def test_samples_of_any_channel_count_are_shown(shape: tuple[int, ...]) -> None:
    figure = plots.sample_grid({"a": [np.zeros(shape, np.float32)]})
    assert len(figure.axes[0].images) == 1


def test_plots_leave_pyplot_alone() -> None:
    code = "import sys, medfuse.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_of_one_size_have_that_size_on_the_axis() -> None:
    figure = plots.histograms({"width (px)": {"a": [64] * 9, "b": [64] * 5}}, "Size of the files")
    low, high = figure.axes[0].get_xlim()
    shown = [tick for tick in figure.axes[0].get_xticks() if low <= tick <= high]
    assert shown == [64]
