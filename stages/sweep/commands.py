"""What a sweep runs: commands of this Python, and DVC's command line in forks.

What DVC imports takes most of its time. Here it is imported once; each command is still
a process of its own, whose end, locks, cores and output are no other's.
"""

import importlib
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import IO

from stages.processes import end_with_parent
from stages.sweep.machine import Share

IMPORTED = (
    "dvc.cachemgr", "dvc.cli.parser", "dvc.data_cloud", "dvc.dvcfile",
    "dvc.repo.artifacts", "dvc.repo.datasets", "dvc.repo.experiments", "dvc.repo.index",
    "dvc.repo.open_repo", "dvc.repo.plots", "dvc.repo.stage", "dvc.utils.strictyaml",
    "dulwich.worktree", "networkx", "pyparsing", "rich.json", "ruamel.yaml",
)  # fmt: skip
"""What DVC's commands import, with all that these do."""
FORK = multiprocessing.get_context("fork")
NOTHING = Share()


def environment() -> dict[str, str]:
    """The stages' ``python`` is the one that runs this."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path}


def dvc(
    *arguments: str,
    output: IO | None = None,
    errors: IO | None = None,
    share: Share = NOTHING,
) -> int:
    """Run DVC, which waits where another one reads or writes its files.

    It ends with this process.

    Args:
        arguments: of its command line.
        output: a file, open for writing, in place of standard output.
        errors: another in place of standard error.
        share: of the machine, that it and its stages may use.

    Returns:
        Its exit status; minus a signal's number where that ended it.
    """
    for name in IMPORTED:
        importlib.import_module(name)
    sys.stdout.flush(), sys.stderr.flush()
    files = {1: output, 2: errors}
    process = FORK.Process(
        target=_dvc, args=(arguments, files, share, os.getpid()), daemon=True
    )
    # A launcher's handlers are this process' own, but a fork starts with them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    process.join()
    return process.exitcode


def _dvc(
    arguments: tuple[str, ...], files: dict[int, IO | None], share: Share, parent: int
) -> None:
    for number in signal.valid_signals() - {signal.SIGINT}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    end_with_parent(parent)
    for descriptor, file in files.items():
        if file is not None:
            os.dup2(file.fileno(), descriptor)
    if share.cores:
        os.sched_setaffinity(0, share.cores)
    os.environ.update(environment() | share.environment)
    from dvc.cli import main
    from dvc.utils.serialize import _yaml

    # Of dvc.lock, which DVC reads and writes whole after each stage: seven times as
    # fast as what keeps comments too. The text that is written stays the same.
    _yaml.parse_yaml_for_update = _yaml.parse_yaml
    sys.exit(main(["--wait-for-lock", *arguments]))
