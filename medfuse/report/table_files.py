"""One table as Markdown and as LaTeX, for a paper or a repository."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medfuse.report.content import Link, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\u00a0": "~",
}
_MARKDOWN = re.compile(r"([\\`*_|<>\[\]])")


def markdown_table(table: Table) -> str:
    """Return the table in GitHub's Markdown, its caption below."""
    lines = [_row(table.header), "| " + " | ".join(["---"] * len(table.header)) + " |"]
    lines += [_row(cells) for cells in table.rows]
    caption = f"\n{_escaped(table.caption)}\n" if table.caption else ""
    return "\n".join(lines) + "\n" + caption


def latex_table(table: Table, label: str) -> str:
    """Return the table as a LaTeX float for the package ``booktabs``.

    Args:
        table: all its texts are escaped.
        label: after ``tab:``.
    """
    columns = "l" + "r" * (len(table.header) - 1)
    body = [" & ".join(latex_text(_text(cell)) for cell in cells) + r" \\" for cells in table.rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(table.caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(latex_text, table.header)) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Return a text with what LaTeX would read as commands escaped, on one line."""
    return "".join(_LATEX.get(character, character) for character in text.replace("\n", " "))


def _row(cells: Sequence[str | Sequence[Link]]) -> str:
    return "| " + " | ".join(_escaped(_text(cell)) for cell in cells) + " |"


def _text(cell: str | Sequence[Link]) -> str:
    return cell if isinstance(cell, str) else ", ".join(link.title for link in cell)


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text).replace("\n", " ").replace("\u00a0", " ")
