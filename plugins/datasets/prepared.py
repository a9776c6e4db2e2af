"""Read what the stage prepare wrote: a checked COCO-format dataset."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PreparedSplit:
    """One split of a prepared dataset.

    Attributes:
        coco: ``images``, ``annotations`` and ``categories`` as COCO has them.
        images_root: folder that every ``file_name`` is relative to.
        data_hash: of annotations and photos of both splits.
        keypoints: names, in the order of the annotations.
    """

    coco: dict
    images_root: Path
    data_hash: str
    keypoints: tuple[str, ...]


def open_split(folder: Path, split: str) -> PreparedSplit:
    """Read one split of the prepared dataset ``folder``, such as data/synthetic.

    Photos may have EXIF orientation: the annotations refer to the pixels as stored, so
    read them with PIL, or with OpenCV's IMREAD_IGNORE_ORIENTATION.

    Raises:
        ValueError: a file is missing, or the annotations are not those that were
            prepared.
    """
    manifest_path = Path(folder) / "manifest.json"
    manifest = json.loads(_read(manifest_path, folder))
    if split not in manifest["splits"]:
        known = ", ".join(manifest["splits"])
        raise ValueError(f"{manifest_path}: no split {split!r}; it has: {known}")
    part = manifest["splits"][split]
    path = Path(folder) / part["annotations"]
    content = _read(path, folder)
    if hashlib.sha256(content).hexdigest() != part["annotations_sha256"]:
        raise ValueError(
            f"{path} was changed after it was prepared (its SHA-256 is not the one in "
            f"{manifest_path}): {_remedy(folder)}"
        )
    start = Path(folder) if part["images_root_is"] == "dataset" else Path()
    return PreparedSplit(
        coco=json.loads(content),
        images_root=start / part["images_root"],
        data_hash=manifest["data_hash"],
        keypoints=tuple(manifest["keypoints"]),
    )


def _read(path: Path, folder: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{path}: {error.strerror}: {_remedy(folder)}"
        raise ValueError(message) from None


def _remedy(folder: Path) -> str:
    return f"run python -m stages.prepare {Path(folder).name}"
