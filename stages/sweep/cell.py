"""One cell of a sweep, brought up to date by DVC: what a job does."""

import os
import signal
import time
from typing import IO

from stages import PARENT
from stages.errors import StageError
from stages.locks import hold
from stages.plan.additions import add_to_params
from stages.processes import end_with_parent
from stages.sweep.commands import dvc
from stages.sweep.machine import Share, take_share
from stages.sweep.record import (
    Sweep,
    load_sweep,
    lock_of,
    read,
    write_ending,
    write_start,
)

STOPPED = (-signal.SIGTERM, -signal.SIGUSR2)
"""Ends of a process that SLURM preempts, or whose time is up."""


def run_cell(name: str, key: str, jobs: int | None) -> None:
    """Bring a cell up to date, and write down how that ended; never raises for it.

    Args:
        name: of the sweep.
        key: of the cell.
        jobs: that run at once on this machine; None: the launcher divides it.
    """
    end_with_parent(PARENT)
    sweep = load_sweep(name)
    with take_share(jobs) as share, hold(lock_of(key)):
        write_start(sweep, key)
        print(f"{key}: started ({sweep.log(key)})", flush=True)
        started = time.time()
        with new_log(sweep, key) as log:
            try:
                # python -m stages.plan may have written it anew since.
                add_to_params(sweep.params)
                status = reproduce(sweep.stages(key), share, log)
            except StageError as error:
                status = 1
                log.write(f"error: {error}\n")
        write_ending(sweep, key, started, status)
    ending = read(sweep.ending(key))
    state = f"failed: {ending['error']}" if status else "done"
    print(f"{key}: {state} ({ending['seconds']:.0f} s)", flush=True)


def new_log(sweep: Sweep, key: str) -> IO:
    """Open what a cell's job prints."""
    sweep.log(key).parent.mkdir(parents=True, exist_ok=True)
    return open(sweep.log(key), "w")


def reproduce(stages: list[str], share: Share, log: IO) -> int:
    """Run DVC on a cell's stages, which print to the log; gives the exit status.

    On these alone, since what cells share is up to date: DVC locks what a stage reads
    too, and cells that were reproduced with their stores at once would refuse one
    another.
    """
    command = ["repro", "--single-item", *stages]
    status = dvc(*command, output=log, errors=log, share=share)
    if status in STOPPED and "SLURM_JOB_ID" in os.environ:
        # The whole job was told to stop. An ordinary end now would be its last, and
        # SLURM would not queue it again.
        time.sleep(600)
    return status
