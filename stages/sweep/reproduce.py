"""DVC on the stages of one cell: bound to its cores, ending with the job around it.

What cells share must be up to date: DVC locks what a stage reads too, and cells that
were reproduced with their stores at once would refuse one another.
"""

import argparse
import os

from stages.processes import end_with_parent


def main() -> int:
    """``dvc repro`` of these stages alone; gives its exit status."""
    parser = argparse.ArgumentParser(prog="stages.sweep.reproduce", description=__doc__)
    parser.add_argument("stages", nargs="+", help="in their order")
    parser.add_argument("--parent", type=int, help="process id")
    parser.add_argument("--cores", type=int, nargs="*")
    arguments = parser.parse_args()
    end_with_parent(arguments.parent)
    if arguments.cores:
        os.sched_setaffinity(0, arguments.cores)
    from dvc.cli import main as dvc  # takes a second, and threads that it starts stay

    return dvc(["--wait-for-lock", "repro", "--single-item", *arguments.stages])


if __name__ == "__main__":
    raise SystemExit(main())
