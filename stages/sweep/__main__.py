"""Run cells of your choice, in jobs of one of Hydra's launchers.

``python -m stages.sweep -m method=udp,dark,cal size=64x48,128x96 seed=0,1,2``

Overrides are Hydra's; grid=NAME gives the cells of conf/grid/NAME.yaml. Where jobs run
says hydra/launcher=basic (the default), joblib or submitit_slurm. A cell that is up to
date is not run again; the same command goes on with what is left.

``python -m stages.sweep status [NAME]`` says, at any time, what became of each cell.
"""

import argparse
import sys

from stages.files import StageError
from stages.locks import hold
from stages.plan import plan
from stages.plan.additions import add_to_params
from stages.plan.compose import GRIDS
from stages.sweep.launch import check_launcher, is_hydras, launch
from stages.sweep.pipeline import (
    changed_cells,
    changed_stages,
    compare,
    compare_all,
    make_shared,
)
from stages.sweep.record import LOCKS, Sweep, load_sweep, name_sweep
from stages.sweep.table import Row, list_rows, render


def sweep(overrides: list[str], name: str | None) -> bool:
    """Bring cells up to date and compare them; says whether all are.

    Raises:
        StageError: a wrong override; nothing is written then.
    """
    hydras = [override for override in overrides if is_hydras(override)]
    settings = [override for override in overrides if not is_hydras(override)]
    this = Sweep(name or name_sweep(settings), plan_cells(settings))
    check_launcher(this.name, hydras)
    add_to_params(this.params)
    this.save()
    keys = list(this.cells)
    with hold(LOCKS / "shared.lock"):
        pending = make_shared(this)
    print(f"sweep {this.name}: {len(keys)} cells, {len(pending)} to run", flush=True)
    launch(this, pending, hydras)
    changed = changed_stages()
    rows = show(this, changed)
    done = [row.key for row in rows if row.state == "done"]
    compared = compare(this.name, done) if done else False
    if changed == {"compare"}:  # no other stage is left to run
        compare_all()
    return compared and len(done) == len(keys)


def plan_cells(overrides: list[str]) -> dict:
    """Compose the cells; without a grid, they are what the overrides say."""
    names = {override.partition("=")[0] for override in overrides}
    single = [] if names & set(GRIDS) else ["grid=single"]
    return plan([*single, *overrides])


def show(this: Sweep, changed: set[str]) -> list[Row]:
    """Print the table of a sweep, some of whose stages have changed."""
    rows = list_rows(this, changed)
    print(render(rows), flush=True)
    return rows


def main() -> None:
    """Run a sweep, or show one."""
    if sys.argv[1:2] == ["status"]:
        parser = argparse.ArgumentParser(prog="stages.sweep status")
        parser.add_argument("name", nargs="?", help="default: the one started last")
        this = load_sweep(parser.parse_args(sys.argv[2:]).name)
        show(this, changed_cells(this))
        return
    parser = argparse.ArgumentParser(
        prog="stages.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-m", "--multirun", action="store_true", help="as Hydra has it")
    parser.add_argument("--name", help="of the sweep (default: from the overrides)")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides")
    arguments = parser.parse_intermixed_args()
    if not sweep(arguments.overrides, arguments.name):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except StageError as error:
        # Not run_stage: a sweep may outlive the shell that started it.
        sys.exit(f"error: {error}")
