"""Tables for papers: what LaTeX and Markdown would take for commands is text."""

from __future__ import annotations

from medfuse.report import Table, latex_table, markdown_table

TABLE = Table(
    header=["source_a", "AUROC & more"],
    rows=[["100 % #1 {x} ~^\\", "< 0.001"], ["a|b", "0.912 [0.880,\u00a00.941]"]],
    caption="5_folds.",
)


def test_latex_is_a_booktabs_table_with_everything_escaped() -> None:
    assert latex_table(TABLE, "candidates") == (
        "\\begin{table}\n\\centering\n\\caption{5\\_folds.}\n\\label{tab:candidates}\n"
        "\\begin{tabular}{lr}\n\\toprule\nsource\\_a & AUROC \\& more \\\\\n\\midrule\n"
        "100 \\% \\#1 \\{x\\} \\textasciitilde{}\\textasciicircum{}\\textbackslash{} & "
        "\\textless{} 0.001 \\\\\n"
        "a|b & 0.912 [0.880,~0.941] \\\\\n\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def test_markdown_keeps_its_columns() -> None:
    lines = markdown_table(TABLE).splitlines()
    assert lines[0] == r"| source\_a | AUROC & more |"
    assert lines[1] == "| --- | --- |"
    assert lines[3] == r"| a\|b | 0.912 \[0.880, 0.941\] |"
    assert lines[-1] == r"5\_folds."
