"""Stage prepare: a data source becomes a checked COCO-format dataset and a manifest.

Photos that exist are never copied: the dataset refers to them where they are.
"""

import sys
from pathlib import Path

import joblib

from stages.files import StageError, hash_of, hash_of_file, new_folder, write_json
from stages.prepare.coco_dir import find_split
from stages.prepare.detections import read_detections
from stages.prepare.public.coco import find_coco
from stages.prepare.public.lspet import find_lspet
from stages.prepare.public.mpii import find_mpii
from stages.prepare.splits import (
    DATASET,
    Split,
    SplitFiles,
    check_split_photos,
    describe_split,
    read_split,
    write_annotations,
)

SPLITS = ("train", "val")
DETECTIONS = "val_detections"
"""Boxes of a person detector on val's images, as a split of their own."""
FOLDERS = {
    "coco_dir": find_split,
    "coco": find_coco,
    "mpii": find_mpii,
    "lspet": find_lspet,
}
"""Sources that are folders, by what finds a split in them."""


def prepare(settings: dict, folder: Path, jobs: int | None = None) -> dict:
    """Write the dataset ``folder`` whole or not at all, and give its manifest.

    Args:
        settings: one file of conf/data, with ``source`` and, for instance, ``strict``.
        folder: receives annotations/train.json, annotations/val.json, manifest.json.
        jobs: worker threads or processes, by default one per core; without
            influence on what is written.

    Raises:
        StageError: the source is not found or breaks a rule (see conf/data).
    """
    jobs = jobs or joblib.cpu_count()
    strict = settings.get("strict", True)
    with new_folder(folder) as aside:
        files = {name: _files(settings, name, aside, jobs) for name in SPLITS}
        detections = settings.get("detections")
        _refuse_overlap(files, detections, folder)
        # All annotations before the first photo: they take seconds, photos minutes.
        splits = {name: read_split(files[name], name == "val") for name in SPLITS}
        _refuse_other_keypoints(splits)
        if detections:
            splits[DETECTIONS] = read_detections(Path(detections), splits["val"])
        _raise_or_go_on(splits, strict)
        for name, split in splits.items():
            check_split_photos(split, name, jobs)
        _raise_or_go_on(splits, strict)
        for split in splits.values():
            for line in split.findings.examples():
                print(line, file=sys.stderr)
        _count_shared(splits)
        manifest = _write(settings, splits, aside, folder.name)
    return manifest


def _files(settings: dict, split: str, aside: Path, jobs: int) -> SplitFiles:
    """Find, or render, one split."""
    source = settings.get("source")
    if source in FOLDERS:
        return FOLDERS[source](settings, split)
    if source == "synthetic":
        # Only here, so that other sources need nothing of the renderer.
        from stages.prepare.synthetic import write_split

        write_split(settings, split, aside, jobs)
        images = f"images/{split}"
        return SplitFiles(
            aside / "annotations" / f"{split}.json", aside / images, images, DATASET
        )
    known = ", ".join(["synthetic", *FOLDERS])
    raise StageError(f"source is {source!r}, expected one of: {known}")


def _refuse_overlap(
    files: dict[str, SplitFiles], detections: str | None, folder: Path
) -> None:
    paths = [Path(detections)] if detections else []
    for split in files.values():
        paths += [split.annotations, split.images]
    for path in paths:
        if path.resolve().is_relative_to(folder.resolve()):
            raise StageError(
                f"{path} lies in {folder}, which this stage replaces: set another "
                "name for the prepared dataset, or move the source"
            )


def _refuse_other_keypoints(splits: dict[str, Split]) -> None:
    train, val = (splits[name] for name in SPLITS)
    if train.keypoint_set != val.keypoint_set:
        raise StageError(
            f"{val.files.annotations}: keypoints are {val.keypoint_set.name}, but "
            f"those of {train.files.annotations} are {train.keypoint_set.name}"
        )


def _raise_or_go_on(splits: dict[str, Split], strict: bool) -> None:
    for name, split in splits.items():
        if strict:
            split.findings.raise_errors()
        if not split.persons:
            skipped = ", ".join(f"{n} x {k}" for k, n in split.findings.skipped.items())
            raise StageError(
                f"{split.files.annotations}: no person is left in {name}; skipped: "
                f"{skipped or 'none'}"
            )


def _count_shared(splits: dict[str, Split]) -> None:
    """Warn of photos, by content, that are trained and evaluated on."""
    shared = set(splits["val"].digests) & set(splits["train"].digests)
    splits["val"].findings.warnings["photos that train has too"] += len(shared)


def _write(settings: dict, splits: dict[str, Split], aside: Path, name: str) -> dict:
    described = {}
    for split_name, split in splits.items():
        relative = f"annotations/{split_name}.json"
        write_annotations(split, aside / relative)
        sha256 = hash_of_file(aside / relative)
        described[split_name] = describe_split(split, relative, sha256)
    # Contents alone, so that the hash is the same wherever the photos lie; without the
    # detections, which no model is trained on.
    contents = {
        split: [part["annotations_sha256"], part["images_sha256"]]
        for split, part in described.items()
        if split in SPLITS
    }
    manifest = {
        "name": settings.get("name") or name,
        "source": settings["source"],
        "settings": settings,
        "keypoints": splits["train"].category["keypoints"],
        "keypoint_set": splits["train"].keypoint_set.name,
        "splits": described,
        "data_hash": hash_of(contents),
    }
    write_json(aside / "manifest.json", manifest)
    return manifest
