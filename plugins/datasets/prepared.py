"""Read what the stage prepare wrote: a checked COCO-format dataset."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from plugins.datasets.keypoint_sets import COCO17

SECTIONS = {b'"images": [\n': "images", b'"annotations": [\n': "annotations"}
"""Lines after which prepare writes one entry per line."""


@dataclass(frozen=True)
class PreparedSplit:
    """One split of a prepared dataset.

    Attributes:
        coco: ``images``, ``annotations`` and ``categories`` as COCO has them.
        images_root: folder that every ``file_name`` is relative to.
        data_hash: of annotations and photos of both splits.
        keypoints: names, in the order of the annotations.
        keypoint_set: the name of their set.
    """

    coco: dict
    images_root: Path
    data_hash: str
    keypoints: tuple[str, ...]
    keypoint_set: str


def open_split(folder: Path, split: str) -> PreparedSplit:
    """Read one split of the prepared dataset ``folder``, such as data/synthetic.

    Photos may have EXIF orientation: the annotations refer to the pixels as stored, so
    read them with PIL, or with OpenCV's IMREAD_IGNORE_ORIENTATION.

    Raises:
        ValueError: a file is missing, or the annotations are not those that were
            prepared.
    """
    with Entries(folder, split) as entries:
        coco = _parse(entries.content())
        return PreparedSplit(
            coco,
            entries.images_root,
            entries.data_hash,
            entries.keypoints,
            entries.keypoint_set,
        )


def open_truth(folder: Path, boxes: str = "gt", data_hash: str | None = None) -> dict:
    """What COCO's evaluation of val compares with: ``coco`` of a ``PreparedSplit``.

    Also the persons that it ignores (crowds, nobody labelled), and for detected boxes
    the images on which nobody is. So it is as with the file that was prepared.

    Args:
        boxes: ``gt`` or ``detections``, those of the predictions.
        data_hash: of the crop store that was predicted; None: not known.

    Raises:
        ValueError: see ``open_split``; the crop store is of other data.
    """
    split = open_split(folder, "val")
    if data_hash not in (None, split.data_hash):
        raise ValueError(
            f"{folder} now holds data {split.data_hash}, the crop store was made from "
            f"{data_hash}: run python -m stages.downsample, or dvc repro"
        )
    coco = split.coco
    coco["annotations"] += coco.pop("ignored_persons", [])
    if boxes == "detections":
        known = {image["id"] for image in coco["images"]}
        with Entries(folder, "val_detections") as entries:
            found = (e for section, _, e in entries.scan() if section == "images")
            coco["images"] += [image for image in found if image["id"] not in known]
    return coco


class Entries:
    """A split's images and annotations, read one by one and never all at once.

    Close it, or use it in a with block. What prepare writes meanwhile is not seen.

    Attributes:
        images_root: folder that every ``file_name`` is relative to.
        data_hash: of annotations and photos of both splits.
        keypoints: names, in the order of the annotations.
        keypoint_set: the name of their set.
        sha256: of the annotations' file.

    Raises:
        ValueError: a file is missing, or the annotations are not those that were
            prepared.
    """

    def __init__(self, folder: Path, split: str) -> None:
        folder = Path(folder)
        manifest_path = folder / "manifest.json"
        with _open(manifest_path, folder) as handle:
            manifest = json.load(handle)
        if split not in manifest["splits"]:
            known = ", ".join(manifest["splits"])
            raise ValueError(f"{manifest_path}: no split {split!r}; it has: {known}")
        part = manifest["splits"][split]
        start = folder if part["images_root_is"] == "dataset" else Path()
        self.images_root = start / part["images_root"]
        self.data_hash: str = manifest["data_hash"]
        self.keypoints = tuple(manifest["keypoints"])
        # Datasets that name none were prepared when there was no other set.
        self.keypoint_set: str = manifest.get("keypoint_set", COCO17.name)
        self._path = folder / part["annotations"]
        self._remedy = _remedy(folder)
        self._file = _open(self._path, folder)
        self.sha256 = hashlib.file_digest(self._file, "sha256").hexdigest()
        if self.sha256 != part["annotations_sha256"]:
            self._file.close()
            raise ValueError(
                f"{self._path} was changed after it was prepared (its SHA-256 is not "
                f"the one in {manifest_path}): {self._remedy}"
            )

    def __enter__(self) -> "Entries":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def content(self) -> bytes:
        """The whole file, JSON."""
        self._file.seek(0)
        return self._file.read()

    def scan(self) -> Iterator[tuple[str, int, dict]]:
        """Give section (images or annotations), place and entry, as the file has them.

        Raises:
            ValueError: the file is not as prepare writes it, one entry per line.
        """
        self._file.seek(0)
        place, section, seen = 0, None, set()
        for line in self._file:
            if line in SECTIONS:
                section = SECTIONS[line]
                seen.add(section)
            elif line.startswith(b"]"):
                section = None
            elif section:
                yield section, place, _entry(line)
            place += len(line)
        if seen != set(SECTIONS.values()):
            raise ValueError(
                f"{self._path}: expected images and annotations, one per line: "
                f"{self._remedy}"
            )

    def read(self, place: int) -> dict:
        """The entry at a place that ``scan`` gave."""
        self._file.seek(place)
        return _entry(self._file.readline())


def _entry(line: bytes) -> dict:
    return _parse(line.rstrip(b",\n"))


def _parse(text: bytes) -> dict:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # file names that are no Unicode
        return json.loads(text)


def _open(path: Path, folder: Path):
    try:
        return open(path, "rb")
    except OSError as error:
        message = f"{path}: {error.strerror}: {_remedy(folder)}"
        raise ValueError(message) from None


def _remedy(folder: Path) -> str:
    return f"run python -m stages.prepare {Path(folder).name}"
