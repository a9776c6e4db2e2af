"""Tables of what the figures are worth: intervals, tested differences, claims."""

import pandas as pd

from stages.compare.documents import MARKDOWN, to_markdown
from stages.compare.metrics import ABSENT, AP
from stages.compare.rows import Results
from stages.compare.statistics.tables import Statistics
from stages.compare.summary import layout, of_block, summarise
from stages.compare.tables import Table

SURE = 0.05
"""Corrected p below which a difference is bold."""
INTERVAL = "95 % intervals from drawing the images again 1,000 times (paired bootstrap)"
TRAINING = (
    "they do not say what training again gives: the spread over seeds does, where "
    "there are several"
)
HOLM = "p is corrected by Holm for all comparisons of this metric in this block"
CLAIMS = (
    "a claim is supported or contradicted where p, corrected by Holm over the claims, "
    "is below 0.05 and every seed says the same, of two or more seeds unless decoders "
    "of one checkpoint are compared"
)


def uncertainty_tables(
    results: Results, statistics: Statistics, block: tuple
) -> list[Table]:
    """AP with its interval, and all differences of methods, of one block.

    Empty where no predictions were at hand to draw from.
    """
    intervals = of_block(statistics.intervals, block)
    differences = of_block(statistics.differences, block)
    tables = []
    if len(intervals):
        tables.append(interval_table(results, intervals, block))
    if (~differences["same_checkpoint"].astype(bool)).any():
        tables.append(difference_table(differences))
    return tables


def interval_table(results: Results, intervals: pd.DataFrame, block: tuple) -> Table:
    """Methods by sizes: the own decoder's AP, mean over seeds, and its interval."""
    labels, sizes = layout(results, block)
    summary = of_block(summarise(results.rows), block)
    own = summary[summary["own_decoder"]][["label", "decoder", "size", "AP"]]
    found = intervals[intervals["metric"] == AP.column]
    rows = own.merge(found, on=["label", "decoder", "size"])
    rows["text"] = [
        f"{AP.text(row.AP)} {between(row.low, row.high)}" for row in rows.itertuples()
    ]
    wide = rows.pivot(index="label", columns="size", values="text")
    text = wide.reindex(index=labels, columns=sizes).fillna(ABSENT)
    text = text.rename_axis("method").reset_index()
    notes = [INTERVAL, TRAINING]
    return Table("AP with its interval, own decoder", notes, text, plain(text), 1)


def difference_table(differences: pd.DataFrame) -> Table:
    """Every pair of methods: difference of AP, interval, p and spread over seeds."""
    chosen = (differences["metric"] == AP.column) & ~differences["same_checkpoint"]
    rows = differences[chosen]
    text = pd.DataFrame(
        {
            "size": rows["size"],
            "a": rows["a"],
            "b": rows["b"],
            "a - b": [f"{value:+.1f}" for value in rows["difference"]],
            "interval": [between(*pair) for pair in rows[["low", "high"]].to_numpy()],
            "p": rows["p"].map(probability),
            "corrected p": rows["p_corrected"].map(probability),
            "seeds": rows["seeds"].astype(str),
            "spread over seeds": rows["seed_spread"].map(AP.text),
        }
    ).reset_index(drop=True)
    bold = plain(text)
    bold["a - b"] = (rows["p_corrected"] < SURE).to_numpy()
    single = "with one seed a difference is one of two checkpoints, not of two methods"
    notes = [f"{INTERVAL}; {TRAINING}", HOLM, "bold: below 0.05"]
    notes += [single] if rows["single_seed"].any() else []
    return Table("Differences of AP, own decoders", notes, text, bold, 3)


def claims_table(claims: pd.DataFrame) -> Table:
    """A row per claim and setting."""
    epochs = claims["metric"] == "epochs"
    text = pd.DataFrame(
        {
            "claim": claims["title"],
            "cells of": claims["setting"],
            "verdict": claims["verdict"],
            "effect": [
                ABSENT if pd.isna(row.effect) else f"{row.effect:+.1f} {row.metric}"
                for row in claims.itertuples()
            ],
            "interval": [between(*pair) for pair in claims[["low", "high"]].to_numpy()],
            "p": claims["p"].map(probability),
            "seeds": claims["seeds"].astype(str),
            "missing": claims["missing"].replace("", ABSENT),
        }
    )
    bold = plain(text)
    bold["verdict"] = claims["verdict"] != "undecided"
    student = "of epochs, the interval is Student's over seeds"
    notes = [CLAIMS] + ([student] if epochs.any() else [])
    return Table("Claims of the literature", notes, text, bold, 3)


def claims_document(claims: pd.DataFrame) -> str:
    """The claims as Markdown, and what runs the cells that are missing."""
    parts = ["\n## Claims\n", to_markdown(claims_table(claims))]
    commands = dict(zip(claims["command"], claims["title"], strict=True))
    parts += [
        f"- {title.translate(MARKDOWN)}: `{command}`"
        for command, title in commands.items()
        if command
    ]
    return "\n".join(parts) + "\n"


def between(low: float, high: float) -> str:
    """An interval, such as ``[35.1, 37.9]``."""
    return ABSENT if pd.isna(low) else f"[{low:.1f}, {high:.1f}]"


def probability(p: float) -> str:
    """Three digits, and no zero that is none."""
    return ABSENT if pd.isna(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def plain(text: pd.DataFrame) -> pd.DataFrame:
    """Nothing bold."""
    return pd.DataFrame(False, index=text.index, columns=text.columns)
