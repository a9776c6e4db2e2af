"""``python -m stages.upscale STORE``: make the item upscaled.STORE of params.yaml.

Writes data/stores/STORE, and what upscaling costs to runs/STORE/upscaler.json. On a
GPU where there is one.
"""

import argparse
from pathlib import Path

from stages.files import load_params, run_stage
from stages.memory import keep_freed_memory
from stages.upscale.store import upscale


def main() -> None:
    """Write data/stores/STORE."""
    parser = argparse.ArgumentParser(prog="stages.upscale", description=__doc__)
    parser.add_argument("store", help="item of params.yaml under upscaled")
    key = parser.parse_args().store
    keep_freed_memory()
    settings = load_params("upscaled", key)
    cost = Path("runs") / key / "upscaler.json"
    spent = upscale(settings, Path("data/stores") / key, cost)
    print(
        f"{spent['architecture']}, scale {spent['scale']}: {spent['gmacs']:.3f} GMACs, "
        f"{spent['ms_per_person']:.3f} ms per person on {spent['device']}"
    )


if __name__ == "__main__":
    run_stage(main)
