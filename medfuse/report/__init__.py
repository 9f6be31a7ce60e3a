"""Report: plain data and figures -> one self-contained HTML page (`SectionPage`, `write_sections`).

The page needs no network and no script, and prints on paper.
"""

from medfuse.report.content import Figure, Link, Section, SectionPage, Table, WorstError
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
from medfuse.report.worst import worst_errors

__all__ = [
    "Figure",
    "Link",
    "Section",
    "SectionPage",
    "Table",
    "WorstError",
    "class_table",
    "comparison_table",
    "difference_table",
    "embed_figure",
    "embed_image",
    "group_table",
    "operating_point_table",
    "overall_table",
    "render_sections",
    "worst_errors",
    "write_sections",
]
