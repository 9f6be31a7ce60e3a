"""Report: plain data and figures -> one self-contained HTML page (`ReportContent`, `write_report`).

The page needs no network and no script, and prints on paper.
"""

from medfuse.report.content import Figure, ReportContent, Table, WorstError
from medfuse.report.metric_tables import (
    class_table,
    comparison_table,
    group_table,
    operating_point_table,
    overall_table,
)
from medfuse.report.page import render_report, write_report
from medfuse.report.pictures import embed_figure, embed_image
from medfuse.report.sections import Section, SectionPage, render_sections, write_sections
from medfuse.report.worst import worst_errors

__all__ = [
    "Figure",
    "ReportContent",
    "Section",
    "SectionPage",
    "Table",
    "WorstError",
    "class_table",
    "comparison_table",
    "embed_figure",
    "embed_image",
    "group_table",
    "operating_point_table",
    "overall_table",
    "render_report",
    "render_sections",
    "worst_errors",
    "write_report",
    "write_sections",
]
