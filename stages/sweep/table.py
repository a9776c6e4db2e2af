"""What became of each cell of a sweep: done, running, failed or missing."""

import re
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from stages.locks import is_held
from stages.sweep.record import Sweep, lock_of, read
from stages.sweep.slurm import ask_queue

STATES = ("done", "running", "failed", "missing")
LEFT = re.compile(r"epoch (\d+/\d+).* (\d+):(\d\d):(\d\d) left")
"""What training says after each epoch."""
KILLED = "ended without a word on {host}: killed, or the machine went down"
QUEUED = "queued again by SLURM (job {slurm}); will go on from its last saved state"


@dataclass(frozen=True)
class Row:
    """One cell.

    Attributes:
        key: of the cell.
        state: one of STATES.
        seconds: that its job took, or will still take; None: unknown.
        says: its error, or how far it is.
    """

    key: str
    state: str
    seconds: float | None = None
    says: str = ""


def list_rows(sweep: Sweep, changed: set[str]) -> list[Row]:
    """A row for each cell.

    Args:
        sweep: its record.
        changed: stages that DVC would run.
    """
    endings = {key: read(sweep.ending(key)) for key in sweep.cells}
    took = {key: e["seconds"] for key, e in endings.items() if e and not e["status"]}
    rows = []
    for key in sweep.cells:
        if is_held(lock_of(key)) or is_held(Path(".work/train") / f"{key}.lock"):
            rows.append(_running(sweep, key))
        elif not changed & set(sweep.stages(key)):
            rows.append(Row(key, "done", took.get(key)))
        elif endings[key] and endings[key]["status"]:
            ending = endings[key]
            rows.append(Row(key, "failed", ending["seconds"], ending["error"]))
        elif endings[key] is None and (start := read(sweep.start(key))):
            rows.append(_unfinished(key, start))
        else:
            rows.append(Row(key, "missing", _expect(sweep.cells, key, took)))
    return rows


def _unfinished(key: str, start: dict) -> Row:
    """A job that has started, does not live and has not said how it ended."""
    if start["slurm"] and ask_queue("--jobs", start["slurm"]):
        return Row(key, "missing", None, QUEUED.format(**start))
    return Row(key, "failed", None, KILLED.format(**start))


def _running(sweep: Sweep, key: str) -> Row:
    found = LEFT.findall(sweep.log(key).read_text()) if sweep.log(key).exists() else []
    if not found:
        return Row(key, "running")
    epoch, *left = found[-1]
    hours, minutes, seconds = map(int, left)
    return Row(key, "running", 3600 * hours + 60 * minutes + seconds, f"epoch {epoch}")


def _expect(cells: dict[str, dict], key: str, took: dict[str, float]) -> float | None:
    """Mean seconds of finished cells of the same cost; None: there is none."""
    same = ("data", "size", "upscale", "backbone", "schedule")
    like = [cells[key][name] for name in same]
    seconds = [s for k, s in took.items() if [cells[k][name] for name in same] == like]
    return mean(seconds) if seconds else None


def render(rows: list[Row]) -> str:
    """The table and a line of sums."""
    lines = [f"{'':9}{'time':>9}  cell"]
    for row in rows:
        time = clock(row.seconds) if row.state in ("done", "failed") else ""
        time = f"{clock(row.seconds)}-" if row.state in ("running", "missing") else time
        says = f"  {row.says}" if row.says else ""
        lines.append(f"{row.state:9}{time:>9}  {row.key}{says}")
    counts = {state: sum(row.state == state for row in rows) for state in STATES}
    sums = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return "\n".join([*lines, f"{len(rows)} cells: {sums}{time_left(rows)}"])


def time_left(rows: list[Row]) -> str:
    """How long the rest will take with as many at once as are running."""
    left = [row.seconds for row in rows if row.state in ("running", "missing")]
    if not left:
        return ""
    if None in left:
        return "; time left is not known before a cell of each kind is done"
    running = [row.seconds for row in rows if row.state == "running"]
    seconds = max([sum(left) / max(len(running), 1), *running])
    return f"; about {clock(seconds)} left"


def clock(seconds: float | None) -> str:
    """Such as 1:02:03."""
    if seconds is None:
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
