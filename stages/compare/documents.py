"""Write tables as Markdown and as LaTeX."""

from stages.compare.rows import Results
from stages.compare.summary import name_block
from stages.compare.tables import Table

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
        "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "|": r"\textbar{}", "±": r"$\pm$", "–": "--",
    }
)  # fmt: skip
MARKDOWN = str.maketrans(
    {
        "|": r"\|", "\\": r"\\", "*": r"\*", "`": r"\`", "[": r"\[", "]": r"\]",
        "$": r"\$", "~": r"\~", "<": "&lt;", ">": "&gt;", "&": "&amp;",
    }
)  # fmt: skip


def to_markdown(table: Table) -> str:
    """The caption, a GitHub table and its notes."""
    names = [name.translate(MARKDOWN) for name in table.text]
    rule = [":--" if n < table.names else "--:" for n in range(len(names))]
    lines = [_markdown_row(names), _markdown_row(rule)]
    lines += [
        _markdown_row(
            f"**{text.translate(MARKDOWN)}**" if bold else text.translate(MARKDOWN)
            for text, bold in entries
        )
        for entries in _entries(table)
    ]
    notes = ". ".join(_sentence(note).translate(MARKDOWN) for note in table.notes)
    return f"### {table.caption}\n\n" + "\n".join(lines) + f"\n\n{notes}.\n"


def to_latex(table: Table, heading: str) -> str:
    """A table environment; it needs the package booktabs."""
    columns = "l" * table.names + "r" * (table.text.shape[1] - table.names)
    notes = ". ".join(_sentence(note) for note in table.notes)
    caption = f"{table.caption}: {heading}. {notes}.".translate(LATEX)
    rows = [
        _latex_row(
            rf"\textbf{{{text.translate(LATEX)}}}" if bold else text.translate(LATEX)
            for text, bold in entries
        )
        for entries in _entries(table)
    ]
    lines = [
        r"\begin{table*}", r"\centering", r"\footnotesize", rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
        _latex_row(name.translate(LATEX) for name in table.text), r"\midrule",
        *rows, r"\bottomrule", r"\end{tabular}", r"\end{table*}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def markdown_document(results: Results, tables: dict[tuple, list[Table]]) -> str:
    """comparison.md: every block's tables, then what is missing and how to run it."""
    finished = len(results.cells) - len(results.missing)
    parts = ["# Comparison\n", f"{finished} of {len(results.cells)} cells finished.\n"]
    for block, of_block in tables.items():
        parts.append(f"## {name_block(block)}\n".translate(MARKDOWN))
        parts += [to_markdown(table) for table in of_block]
    if results.missing:
        parts.append("## Missing cells\n")
        parts += [
            f"- {key}: run dvc repro evaluate@{key}".translate(MARKDOWN)
            if "`" in key
            else f"- `{key}`: run `dvc repro evaluate@{key}`"
            for key in results.missing
        ]
        parts.append("")
    return "\n".join(parts)


def latex_document(results: Results, tables: dict[tuple, list[Table]]) -> str:
    """comparison.tex: every block's tables, to be \\input where booktabs is loaded."""
    parts = ["% Needs \\usepackage{booktabs}.\n"]
    parts += [f"% Missing: {key}" for key in results.missing]
    for block, of_block in tables.items():
        parts += [to_latex(table, name_block(block)) for table in of_block]
    return "\n".join(parts).rstrip("\n") + "\n"


def _entries(table: Table) -> list[list[tuple[str, bool]]]:
    pairs = zip(table.text.to_numpy(), table.bold.to_numpy(), strict=True)
    return [list(zip(text, bold, strict=True)) for text, bold in pairs]


def _markdown_row(entries) -> str:
    return "| " + " | ".join(entries) + " |"


def _latex_row(entries) -> str:
    return " & ".join(entries) + r" \\"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
