"""Plot: arrays -> matplotlib figures that are legible on paper and without color vision.

No pyplot and no global state: every function returns a `matplotlib.figure.Figure`;
`save_figure` writes it as PNG, SVG or PDF, `draw_figure` into a stream.
"""

from medfuse.plots.calibration import reliability_diagram
from medfuse.plots.cohort import class_pie, contact_sheet, histograms, shortcut_bars
from medfuse.plots.confusion import confusion_matrix
from medfuse.plots.counts import class_counts
from medfuse.plots.curves import precision_recall, roc
from medfuse.plots.distributions import score_histogram, source_shares
from medfuse.plots.drift import distance_curves
from medfuse.plots.forest import ForestRow, forest
from medfuse.plots.history import training_history
from medfuse.plots.learning_curve import learning_curve
from medfuse.plots.panels import PanelRow, panel_grid
from medfuse.plots.samples import sample_grid
from medfuse.plots.style import draw_figure, save_figure
from medfuse.plots.trust import distance_histograms, risk_coverage_curve

__all__ = [
    "ForestRow",
    "PanelRow",
    "class_counts",
    "class_pie",
    "confusion_matrix",
    "contact_sheet",
    "distance_curves",
    "distance_histograms",
    "draw_figure",
    "forest",
    "histograms",
    "learning_curve",
    "panel_grid",
    "precision_recall",
    "reliability_diagram",
    "risk_coverage_curve",
    "roc",
    "sample_grid",
    "save_figure",
    "score_histogram",
    "shortcut_bars",
    "source_shares",
    "training_history",
]
