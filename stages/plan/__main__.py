"""``python -m stages.plan [OVERRIDES]``: write params.yaml."""

import argparse

import stages.plan
from stages.files import PARAMS, run_stage
from stages.plan.additions import new_params
from stages.plan.params import plan, render


def main() -> None:
    """Write params.yaml."""
    parser = argparse.ArgumentParser(
        prog="stages.plan", description=stages.plan.__doc__
    )
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, grid=default")
    overrides = parser.parse_args().overrides
    params = plan(overrides)
    with new_params() as handle:
        handle.write(render(params))
    print(f"{PARAMS}: {len(params['cells'])} cells")


if __name__ == "__main__":
    run_stage(main)
