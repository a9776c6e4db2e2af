"""What the cells at hand say of each claim: supported, contradicted or undecided."""

import numpy as np
import pandas as pd

from stages.compare.claims.cells import (
    Group,
    command,
    describe_selector,
    group_cells,
)
from stages.compare.claims.claim import Claim, Selector
from stages.compare.claims.findings import Finding, find_all
from stages.compare.rows import Results
from stages.compare.statistics.bootstrap import CONFIDENCE
from stages.compare.statistics.differences import correct
from stages.compare.statistics.measure import Sample

COLUMNS = [
    "claim", "title", "statement", "source", "setting", "verdict", "metric", "margin",
    "effect", "low", "high", "p", "seeds", "cells", "missing", "command",
]  # fmt: skip


def judge(claims: list[Claim], results: Results, samples: list[Sample]) -> pd.DataFrame:
    """A row per claim and setting that has a complete contrast, at least one per claim.

    All contrasts of a claim must hold, so the p of a claim that holds is the largest of
    theirs and needs no correction within (intersection-union test: Berger 1982); where
    one points the other way it is that one's, times their number (Bonferroni). Between
    the rows of the table p is corrected by Holm. The effect and its interval are those
    of the contrast that is weakest.
    """
    measured = {(s.key, s.decoder): s for s in samples if s.boxes == "gt"}
    measured |= {(s.key, None): s for s in samples if s.boxes == "gt" and s.own}

    def find(key: str, selector: Selector) -> Sample | None:
        return measured.get((key, selector.get("decoder")))

    rows = []
    for claim in claims:
        groups = group_cells(claim, results)
        judged = [(group, find_all(claim, group, results, find)) for group in groups]
        whole = [one for one in judged if any(one[1])]
        # What is nearest to complete says best what is missing.
        nearest = max(judged, key=lambda one: _present(claim, one[0]))
        for group, findings in whole or [nearest]:
            rows.append(_row(claim, group, findings, results))
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "complete", "firm"])
    frame["p"] = correct(frame["p"].astype(float))
    frame["verdict"] = [_verdict(row) for row in frame.to_dict("records")]
    return frame[COLUMNS]


def _present(claim: Claim, group: Group) -> int:
    """How many of the claim's cells params.yaml has in this setting."""
    return sum(
        len(group.find(selector)) > 0
        for contrast in claim.contrasts
        for selector in contrast.selectors
    )


def _row(
    claim: Claim, group: Group, findings: list[Finding | None], results: Results
) -> dict:
    """The columns of a claim; and whether all contrasts are there, and its p holds."""
    there = [one for one in findings if one]
    missing = _missing(claim, group, findings, results)
    names = ("title", "statement", "source", "metric", "margin")
    row = {name: getattr(claim, name) for name in names}
    row |= {"claim": claim.name, "setting": str(group.setting)}
    row |= {
        "cells": " ".join(dict.fromkeys(key for one in there for key in one.keys)),
        "seeds": min((one.seeds for one in there), default=0),
        "missing": "; ".join(missing),
        "command": command(claim, group) if missing else "",
        "complete": len(there) == len(findings),
    }
    if not there:
        return row | {"p": np.nan, "firm": False}
    weakest = min(there, key=lambda one: one.effect)
    row |= {name: getattr(weakest, name) for name in ("effect", "low", "high")}
    if weakest.effect + claim.margin < 0:
        p = min(1.0, weakest.p * len(findings))
        return row | {"p": p, "firm": weakest.agreed and weakest.enough}
    firm = all(one.agreed and one.enough for one in there)
    return row | {"p": max(one.p for one in there), "firm": firm}


def _missing(
    claim: Claim, group: Group, findings: list[Finding | None], results: Results
) -> list[str]:
    """What keeps a verdict from being given, for a person to read."""

    def finished(selector: Selector) -> bool:
        return any(key not in results.missing for key in group.find(selector).values())

    missing: dict[str, None] = {}
    for contrast, one in zip(claim.contrasts, findings, strict=True):
        if one is None:
            absent = [s for s in contrast.selectors if not finished(s)]
            found = map(describe_selector, absent or contrast.selectors)
        elif not one.enough:
            found = (f"{describe_selector(s)}: 2 seeds" for s in contrast.selectors)
        else:
            continue
        missing |= dict.fromkeys(found)
    return list(missing)


def _verdict(row: dict) -> str:
    """From a row whose p is corrected."""
    sure = row["p"] < 1 - CONFIDENCE and row["firm"]
    if sure and row["effect"] + row["margin"] < 0:
        return "contradicted"
    return "supported" if sure and row["complete"] else "undecided"
