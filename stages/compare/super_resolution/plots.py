"""AP against cost, and the same persons in every treatment."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stages.compare.style import MARKERS, WIDTH, method_styles, scale_costs
from stages.compare.super_resolution.tables import name_group
from stages.compare.super_resolution.treatments import GROUP

COSTS = {
    "total_gmacs": "GMACs per person, upscaler included",
    "total_ms": "ms per person, upscaler included",
}


def ap_vs_cost(rows: pd.DataFrame, labels: list[str]) -> Figure:
    """AP against GMACs and against milliseconds; a marker per treatment.

    Trained where it was tested: filled; trained on sharp images: hollow.

    Args:
        rows: of one group, as ``collect_treatments`` gives them.
        labels: of all methods, which decide their colours.
    """
    styles = method_styles(labels)
    shown = list(dict.fromkeys(rows["label"]))
    names = list(dict.fromkeys(rows["treatment"]))
    marker = {name: MARKERS[n % len(MARKERS)] for n, name in enumerate(names)}
    hollow = set(rows.loc[rows["trained_on"].ne(rows["tested_on"]), "treatment"])
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    for axis, (column, label) in zip(figure.subplots(1, 2), COSTS.items(), strict=True):
        for row in rows.itertuples():
            color = styles[row.label]["color"]
            face = "white" if row.treatment in hollow else color
            axis.errorbar(
                getattr(row, column), row.AP, yerr=row.AP_std, color=color,
                marker=marker[row.treatment], markerfacecolor=face, markersize=7,
            )  # fmt: skip
        axis.set(xlabel=label, ylabel="AP (%)", ylim=(0, None))
        scale_costs(axis)
    lines = [Line2D([], [], color=styles[n]["color"], label=n) for n in shown]
    points = [
        Line2D(
            [], [], linestyle="", color="#444444", marker=marker[name], label=name,
            markerfacecolor="white" if name in hollow else "#444444",
        )
        for name in names
    ]  # fmt: skip
    group = name_group(tuple(rows[name].iloc[0] for name in GROUP))
    figure.legend(
        handles=lines + points, loc="outside upper center", ncols=3, title=group
    )
    return figure
