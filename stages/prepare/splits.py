"""One split of a dataset on its way: where it lies, what of it stands, its files."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from plugins.datasets.keypoint_sets import KeypointSet
from stages.files import StageError, new_file
from stages.prepare.coco_file import check_images, person_category, read_coco
from stages.prepare.findings import Findings
from stages.prepare.ignored import IGNORED, find_ignored
from stages.prepare.persons import Known, check_persons
from stages.prepare.photos import check_photos

DATASET, WORKING_FOLDER = "dataset", "working folder"
"""What a manifest's ``images_root`` is relative to."""


@dataclass(frozen=True)
class SplitFiles:
    """Where one split of a source lies.

    Attributes:
        annotations: the COCO keypoint file, or what ``read`` makes one of.
        images: the photos' folder, from here.
        images_root: the same, as the manifest states it.
        images_root_is: what ``images_root`` is relative to.
        read: gives the content of ``annotations`` as COCO has it.
    """

    annotations: Path
    images: Path
    images_root: str
    images_root_is: str
    read: Callable[[Path], dict] = read_coco


@dataclass
class Split:
    """The entries of a split that passed the checks so far.

    Attributes:
        extra: what the file holds besides images, annotations and categories.
        category: the category of persons.
        keypoint_set: what its keypoints are.
        sound: all sound entries of images, by id.
        images: entries of the images that have a person, in the order of the file.
        persons: sound annotations, in the order of the file.
        digests: SHA-256 of each image's file, once the photos are checked.
    """

    files: SplitFiles
    findings: Findings
    extra: dict
    category: dict
    keypoint_set: KeypointSet
    sound: dict[int, dict]
    images: list[dict]
    persons: list[dict]
    digests: list[str] = field(default_factory=list)


def read_split(files: SplitFiles, keep_ignored: bool = False) -> Split:
    """Read and check the annotations; no photo is opened.

    Args:
        files: of the split.
        keep_ignored: whether ``extra`` gets the persons that COCO's evaluation ignores.

    Raises:
        StageError: the file as a whole cannot be used.
    """
    coco = files.read(files.annotations)
    findings = Findings(files.annotations)
    category, keypoint_set = person_category(coco, files.annotations)
    categories = [c.get("id") for c in coco["categories"] if isinstance(c, dict)]
    images, left_out = check_images(coco, findings)
    known = Known(images, left_out, categories, category["id"], keypoint_set)
    persons = check_persons(coco, known, findings)
    used = {person["image_id"] for person in persons}
    kept = [image for image in images.values() if image["id"] in used]
    findings.dropped["image without a person"] += len(images) - len(kept)
    extra = {
        key: value
        for key, value in coco.items()
        if key not in ("images", "annotations", "categories", IGNORED)
    }
    if keep_ignored and (ignored := find_ignored(coco, known)):
        extra[IGNORED] = ignored
    return Split(files, findings, extra, category, keypoint_set, images, kept, persons)


def check_split_photos(split: Split, name: str, jobs: int) -> None:
    """Decode and hash the photos; what has a faulty one leaves the split.

    Raises:
        StageError: no person is left.
    """
    users: dict[int, list[int]] = {}
    for person in split.persons:
        users.setdefault(person["image_id"], []).append(person["id"])
    kept = {}
    photos = check_photos(split.images, split.files.images, jobs, name)
    for position, (image, photo) in enumerate(zip(split.images, photos, strict=True)):
        if photo.fault is None:
            kept[image["id"]] = image
            split.digests.append(photo.sha256)
            split.findings.warnings["EXIF orientation ignored"] += photo.turned
            continue
        kind, message = photo.fault
        where = f"annotation {users[image['id']][0]}, image {image['id']}"
        split.findings.error(kind, position, f"{where}: {message}")
        split.findings.dropped["person on a skipped image"] += len(users[image["id"]])
    split.images = list(kept.values())
    split.persons = [p for p in split.persons if p["image_id"] in kept]


def write_annotations(split: Split, path: Path) -> None:
    """Write the checked annotations, one entry per line.

    Raises:
        StageError: NaN or Infinity in a field that no stage reads.
    """
    try:
        with new_file(path) as handle:
            handle.writelines(_lines(split))
    except ValueError as error:
        raise StageError(f"{split.files.annotations}: {error}") from None


def _lines(split: Split) -> Iterator[str]:
    yield "{\n"
    for key, value in split.extra.items():
        yield f"{_json(key, 'key')}: {_json(value, key)},\n"
    yield f'"categories": [{_json(split.category, "categories")}],\n'
    sections = (
        ("images", "image", split.images, "],\n"),
        ("annotations", "annotation", split.persons, "]\n"),
    )
    for section, noun, entries, closing in sections:
        yield f'"{section}": [\n'
        for position, entry in enumerate(entries):
            comma = "," if position + 1 < len(entries) else ""
            yield _json(entry, f"{noun} {entry['id']}") + comma + "\n"
        yield closing
    yield "}\n"


def _json(value: object, where: str) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError(
            f"{where}: holds NaN or Infinity, which JSON does not know; write null"
        ) from None


def describe_split(split: Split, annotations: str, sha256: str) -> dict:
    """Give the split's part of the manifest."""
    digests = "\n".join(split.digests)
    rendered = split.files.images_root_is == DATASET
    return {
        "annotations": annotations,
        "annotations_sha256": sha256,
        "read_from": None if rendered else split.files.annotations.as_posix(),
        "images_root": split.files.images_root,
        "images_root_is": split.files.images_root_is,
        "images": len(split.images),
        "images_sha256": hashlib.sha256(digests.encode()).hexdigest(),
        "persons": len(split.persons),
        "labelled_keypoints": sum(p["num_keypoints"] for p in split.persons),
        "skipped": split.findings.skipped,
        "warnings": dict(+Counter(split.findings.warnings)),
    }
