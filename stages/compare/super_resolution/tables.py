"""Tables of the treatments: AP by method, and what each costs."""

import pandas as pd

from stages.compare.metrics import ABSENT, AP, METRICS, Metric
from stages.compare.super_resolution.treatments import GROUP
from stages.compare.tables import ONE_SEED, SEVERAL_SEEDS, Table, best

BOUND = "the sharp image is an upper bound: no upscaler has it to start from"
FIDELITY = (
    "PSNR and SSIM of 100 validation persons against the sharp image, black outside "
    "the photo included"
)
COSTS = (
    Metric("PSNR", "PSNR (dB)", ".2f", 1),
    Metric("SSIM", "SSIM", ".3f", 1),
    Metric("upscaler_gmacs", "upscaler GMACs", ".4f", -1),
    Metric("upscaler_ms", "upscaler ms", ".3f", -1),
)
SHOWN = tuple(m for m in METRICS if m.column in ("AP", "PCK", "error_percent"))
TOTALS = (
    Metric("gmacs", "network GMACs", ".4f", -1),
    Metric("total_gmacs", "total GMACs", ".4f", -1),
    Metric("network_ms", "network ms", ".3f", -1),
    Metric("total_ms", "total ms", ".3f", -1),
)


def build_tables(rows: pd.DataFrame) -> dict[tuple, list[Table]]:
    """Two tables for each group of treatments.

    Args:
        rows: as ``collect_treatments`` gives them.
    """
    return {
        group: [ap_table(of_group), cost_table(of_group)]
        for group, of_group in rows.groupby(GROUP, sort=False)
    }


def name_group(group: tuple) -> str:
    """A heading such as ``synthetic, 64x48, hrnet_micro, quick schedule``."""
    data, size, backbone, schedule, boxes = group
    named = "ground-truth" if boxes == "gt" else boxes
    return f"{data}, {size}, {backbone}, {schedule} schedule, {named} boxes"


def ap_table(rows: pd.DataFrame) -> Table:
    """Treatments by methods; the best of each method in bold, the bound aside."""
    rivals = rows[~_is_bound(rows)]
    bold = rivals.groupby("label")["AP"].transform(lambda values: best(AP, values))
    rows = rows.assign(
        text=[AP.text(*pair) for pair in zip(rows["AP"], rows["AP_std"], strict=True)],
        bold=bold.reindex(rows.index, fill_value=False),
    )
    names = list(dict.fromkeys(rows["treatment"]))
    labels = list(dict.fromkeys(rows["label"]))
    wide = rows.pivot(index="treatment", columns="label", values=["text", "bold"])
    first = rows.drop_duplicates("treatment").set_index("treatment").loc[names]
    text = pd.DataFrame({m.label: first[m.column].map(m.text) for m in COSTS})
    aps = wide["text"].reindex(index=names, columns=labels).fillna(ABSENT)
    text = pd.concat([text, aps.add_prefix("AP ")], axis=1)
    bold = pd.DataFrame(False, index=text.index, columns=text.columns)
    for label in labels:
        bold[f"AP {label}"] = wide["bold"][label].reindex(names).eq(True)
    notes = [_seed_note(rows), "best of each method in bold", BOUND, FIDELITY]
    return _table("Ways to read a small person, own decoder", notes, text, bold)


def cost_table(rows: pd.DataFrame) -> Table:
    """What each treatment and method costs, the upscaler included."""
    rows = rows.set_index(["treatment", "label"])
    text = pd.DataFrame({m.label: rows[m.column].map(m.text) for m in SHOWN + TOTALS})
    bold = pd.DataFrame(False, index=text.index, columns=text.columns)
    notes = [
        "per person: GMACs of one pass, milliseconds of the flip test's two and of the "
        "decoder, on the machine that evaluated",
        _seed_note(rows),
    ]
    return _table("What they cost, the upscaler included", notes, text, bold)


def _is_bound(rows: pd.DataFrame) -> pd.Series:
    return rows["tested_on"].eq("sharp")


def _seed_note(rows: pd.DataFrame) -> str:
    return SEVERAL_SEEDS if rows["seeds"].max() > 1 else ONE_SEED


def _table(
    caption: str, notes: list[str], text: pd.DataFrame, bold: pd.DataFrame
) -> Table:
    """The index becomes leading columns that are never bold."""
    names = text.index.to_frame(index=False).rename(columns={"label": "method"})
    plain = pd.DataFrame(False, index=names.index, columns=names.columns)
    text = pd.concat([names, text.reset_index(drop=True)], axis=1)
    bold = pd.concat([plain, bold.reset_index(drop=True)], axis=1)
    return Table(caption, notes, text, bold, names.shape[1])
