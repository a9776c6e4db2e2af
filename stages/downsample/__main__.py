"""``python -m stages.downsample STORE``: make the item stores.STORE of params.yaml.

Persons become crops of one size, packed, in data/stores/STORE. What a killed run has
done is kept, and the next one goes on from there.
"""

import argparse
import os
from pathlib import Path

from stages.downsample import downsample
from stages.downsample.workers import BACKENDS
from stages.files import load_params, run_stage

BACKEND = "DOWNSAMPLE_BACKEND"
"""Environment variable, for DVC runs the command as it is in dvc.yaml."""


def main() -> None:
    """Write data/stores/STORE."""
    parser = argparse.ArgumentParser(prog="stages.downsample", description=__doc__)
    parser.add_argument("store", help="item of params.yaml under stores")
    parser.add_argument("--jobs", type=int, help="workers (default: one per core)")
    parser.add_argument(
        "--backend",
        default=os.environ.get(BACKEND, "loky"),
        help=f"of joblib: {', '.join(BACKENDS)} (default: ${BACKEND}, else loky)",
    )
    arguments = parser.parse_args()
    settings = load_params("stores", arguments.store)
    folder = Path("data/stores") / arguments.store
    manifest = downsample(settings, folder, arguments.jobs, arguments.backend)
    for split, part in manifest["splits"].items():
        print(f"{folder / split}: {part['persons']} persons")


if __name__ == "__main__":
    run_stage(main)
