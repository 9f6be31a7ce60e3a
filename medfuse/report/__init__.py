"""Report: plain data and figures -> one self-contained HTML page (`SectionPage`, `write_sections`).

The page needs no network and no script, and prints on paper.
"""

from medfuse.report.content import Figure, Link, Section, SectionPage, Table, WorstError
from medfuse.report.fold_tables import (
    QUESTIONS,
    candidate_table,
    fold_comparison_table,
    score_titles,
)
from medfuse.report.label_tables import label_calibration_table, label_table, threshold_table
from medfuse.report.metric_tables import (
    class_table,
    comparison_table,
    difference_table,
    group_table,
    operating_point_table,
    overall_table,
)
from medfuse.report.page import render_sections, write_sections
from medfuse.report.pictures import embed_figure, embed_image
from medfuse.report.table_files import latex_table, markdown_table
from medfuse.report.worst import worst_errors

__all__ = [
    "QUESTIONS",
    "Figure",
    "Link",
    "Section",
    "SectionPage",
    "Table",
    "WorstError",
    "candidate_table",
    "class_table",
    "comparison_table",
    "difference_table",
    "embed_figure",
    "embed_image",
    "fold_comparison_table",
    "group_table",
    "label_calibration_table",
    "label_table",
    "latex_table",
    "markdown_table",
    "operating_point_table",
    "overall_table",
    "render_sections",
    "score_titles",
    "threshold_table",
    "worst_errors",
    "write_sections",
]
