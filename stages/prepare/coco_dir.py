"""The source ``coco_dir``: find annotations and photos in a folder of COCO format."""

import re
from pathlib import Path

from stages.files import StageError
from stages.prepare.splits import WORKING_FOLDER, SplitFiles


def find_split(settings: dict, split: str) -> SplitFiles:
    """Find one split of ``settings["root"]``; nothing is read yet.

    Args:
        settings: as in conf/data/coco_dir.yaml.
        split: ``train`` or ``val``.

    Raises:
        StageError: nothing, or more than one candidate, is found.
    """
    root = _root(settings)
    given = settings.get(split) or {}
    if given.get("annotations"):
        annotations = _existing(given, "annotations", split, is_folder=False)
    else:
        annotations = _only(
            _annotation_candidates(root, split), f"{split}.annotations", root
        )
    if given.get("images"):
        images = _existing(given, "images", split, is_folder=True)
    else:
        images = _find_images(root, split, annotations)
    return SplitFiles(annotations, images, images.as_posix(), WORKING_FOLDER)


def _root(settings: dict) -> Path:
    root = settings.get("root")
    if not isinstance(root, str) or not root:
        raise StageError("coco_dir: no root is set; expected a folder in COCO format")
    if not Path(root).is_dir():
        raise StageError(
            f"coco_dir: the root {root!r} is not a folder (relative paths start at "
            f"{Path.cwd()})"
        )
    return Path(root)


def _existing(given: dict, setting: str, split: str, is_folder: bool) -> Path:
    path = Path(str(given[setting]))
    if not (path.is_dir() if is_folder else path.is_file()):
        raise StageError(
            f"{split}.{setting}: {path} is not a {'folder' if is_folder else 'file'} "
            f"(relative paths start at {Path.cwd()})"
        )
    return path


def _annotation_candidates(root: Path, split: str) -> dict[str, list[Path]]:
    """Files found for each pattern that is looked for."""
    patterns = [
        f"annotations/person_keypoints_{split}*.json",
        f"annotations/{split}.json",
        f"{split}.json",
    ]
    return {pattern: sorted(root.glob(pattern)) for pattern in patterns}


def _find_images(root: Path, split: str, annotations: Path) -> Path:
    """Find the photos' folder; a year in the annotations' name may be in its own."""
    year = re.search(rf"{split}(\d{{4}})", annotations.stem)
    names = [split] + ([split + year[1]] if year else [])
    patterns = [*names, *(f"images/{name}" for name in names)]
    found = {name: _folders(root, name) for name in patterns}
    if not any(found.values()):
        found["images"] = _folders(root, "images")
    return _only(found, f"{split}.images", root)


def _folders(root: Path, name: str) -> list[Path]:
    return [root / name] if (root / name).is_dir() else []


def _only(found: dict[str, list[Path]], setting: str, root: Path) -> Path:
    paths = [path for several in found.values() for path in several]
    if len(paths) == 1:
        return paths[0]
    if paths:
        problem = "more than one was found: " + ", ".join(map(str, paths))
    else:
        problem = "none was found; looked for " + ", ".join(found)
    raise StageError(f"coco_dir: {setting} in {root}: {problem}. Set {setting}.")
