"""The source ``coco``: COCO 2017's persons, in its own files and folders."""

from stages.prepare.coco_dir import find_split
from stages.prepare.public.parts import fetch_parts
from stages.prepare.splits import SplitFiles


def find_coco(settings: dict, split: str) -> SplitFiles:
    """Fetch what is missing, and find one split.

    Args:
        settings: as in conf/data/coco.yaml.
        split: ``train`` or ``val``.

    Raises:
        StageError: a part cannot be had, or the folder is not COCO's.
    """
    root = fetch_parts(settings)
    given = {
        "annotations": root / f"annotations/person_keypoints_{split}2017.json",
        "images": root / f"{split}2017",
    }
    return find_split(settings | {split: given}, split)
