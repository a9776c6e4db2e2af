"""``python -m stages.prepare NAME``: prepare the item data.NAME of params.yaml."""

import argparse
from pathlib import Path

from stages.files import StageError, load_params, run_stage
from stages.prepare import DETECTIONS, prepare

DATA = Path("data")


def main() -> None:
    """Prepare data/NAME and say what is in it."""
    parser = argparse.ArgumentParser(prog="stages.prepare", description=__doc__)
    parser.add_argument("name", help="item of params.yaml under data; also the folder")
    parser.add_argument("--jobs", type=int, help="workers (default: one per core)")
    arguments = parser.parse_args()
    name = arguments.name
    if Path(name).name != name:
        raise StageError(f"the name {name!r} is not the name of one folder")
    manifest = prepare(load_params("data", name), DATA / name, arguments.jobs)
    print(f"{DATA / name}: data hash {manifest['data_hash']}")
    for split, part in manifest["splits"].items():
        notes = part["skipped"] | part["warnings"]
        noun = "boxes" if split == DETECTIONS else "persons"
        print(
            f"  {split}: {part['persons']} {noun} in {part['images']} photos, "
            f"{part['labelled_keypoints']} labelled keypoints"
            + "".join(f"\n    {count} x {kind}" for kind, count in notes.items())
        )


if __name__ == "__main__":
    run_stage(main)
