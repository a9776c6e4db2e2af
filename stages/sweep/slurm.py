"""SLURM: jobs submitted through Hydra's launcher, and what the queue says of them."""

import subprocess
import sys
import time

from stages.sweep.commands import environment
from stages.sweep.record import SWEEPS, last_words

POLL = 5
"""Seconds between questions to SLURM."""
SUBMITTED = "*/*_submitted.pkl"
"""What submitit writes of each job once SLURM has it."""


def launch_on_slurm(name: str, command: list[str]) -> None:
    """Submit jobs, and wait until SLURM has none of the sweep's any more.

    The launcher itself stops waiting at the first job that was killed, and where the
    cluster keeps no accounts it says so all the time and sees no such end at all.
    """
    folder = SWEEPS / name / "jobs" / ".submitit"
    log = SWEEPS / name / "launcher.log"
    before = set(folder.glob(SUBMITTED))
    with open(log, "w") as output:
        process = subprocess.Popen(
            command, env=environment(), stdout=output, stderr=subprocess.STDOUT
        )
    while not set(folder.glob(SUBMITTED)) - before:
        if process.poll() is not None:
            print(f"SLURM took no job: {last_words(log)} ({log})", file=sys.stderr)
            return
        time.sleep(1)
    while ask_queue("--me", "--name", name) != "":
        time.sleep(POLL)
    process.terminate()
    process.wait()


def ask_queue(*which: str) -> str | None:
    """A line for each of these jobs that runs or waits; None: squeue refuses to say.

    Args:
        which: arguments of squeue.
    """
    command = ["squeue", "--noheader", *which]
    try:
        found = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:  # this machine is none of a cluster
        return None
    return None if found.returncode else found.stdout.strip()
