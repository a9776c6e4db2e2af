"""The embedded data source: rendered people with exact keypoints, in COCO's format.

Every image is a pure function of (settings, split, index), drawn from its own Philox
stream, so that neither the number of workers nor the order of work changes a byte.
"""

import os
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from stages.files import StageError, write_json
from stages.processes import end_with_parent

from .annotations import CATEGORY, MIN_AREA, MIN_SEEN, annotate, masks
from .imaging import develop, look, paint
from .scene import draw_scene

SPLITS = ("train", "val")
CROWD = (0.74, 0.20, 0.06)
"""Shares of images with one, two and three annotated people."""
ATTEMPTS = 40
"""Scenes that are drawn for an image before its settings are given up."""
CHUNK = 16
"""Images that a worker renders before it reports."""


def stream(settings: dict, split: str, *place: int) -> np.random.Generator:
    """The random stream of one place in one split; no two of them overlap."""
    key = (SPLITS.index(split), *place)
    seeds = np.random.SeedSequence(settings["seed"], spawn_key=key)
    return np.random.Generator(np.random.Philox(seeds))


def people_per_image(settings: dict, split: str) -> np.ndarray:
    """Annotated people in every image (n,); they sum to ``settings[split]``."""
    total = settings[split]
    counts = stream(settings, split).choice(len(CROWD), size=total, p=CROWD) + 1
    ends = np.cumsum(counts)
    images = int(np.searchsorted(ends, total)) + 1
    counts = counts[:images]
    counts[-1] -= ends[images - 1] - total
    return counts


def render(settings: dict, split: str, index: int) -> tuple[np.ndarray, list[dict]]:
    """Draw one image.

    Scenes are drawn again until exactly the planned number of people is large and
    clear enough to annotate; whoever else is in the image is smaller than that.

    Returns:
        RGB (h, w, 3) uint8 and one COCO annotation without ids per person; keypoints
        in image px, pixel centres at integers.

    Raises:
        StageError: no scene fits the settings.
    """
    wanted = int(people_per_image(settings, split)[index])
    for attempt in range(ATTEMPTS):
        rng = stream(settings, split, index, attempt)
        scene = draw_scene(settings, rng, wanted)
        view = look(scene)
        seen = masks(view, len(scene.people))
        large = np.flatnonzero(seen.sum(axis=(1, 2)) >= MIN_AREA)
        if len(large) != wanted:
            continue
        found = [
            annotate(scene.people[n], seen[n], scene.camera, view, rng, settings)
            for n in large
        ]
        if min(one["keypoints"][2::3].count(2) for one in found) >= MIN_SEEN:
            return develop(paint(scene, view), rng, settings["noise"]), found
    raise StageError(
        f"synthetic {split} image {index}: none of {ATTEMPTS} scenes shows {wanted} "
        "people well enough; make people larger (height) or lower occlusion or "
        "truncation in conf/data/synthetic.yaml"
    )


def write_split(settings: dict, split: str, folder: Path, jobs: int) -> None:
    """Write ``images/<split>/*.jpg`` and ``annotations/<split>.json`` under a folder.

    Args:
        settings: conf/data/synthetic.yaml.
        split: ``train`` or ``val``.
        folder: where to; the caller moves it into place once all splits are written.
        jobs: worker processes.
    """
    count = len(people_per_image(settings, split))
    images = Path(folder, "images", split)
    images.mkdir(parents=True, exist_ok=True)
    chunks = [range(i, min(i + CHUNK, count)) for i in range(0, count, CHUNK)]
    work = (delayed(_write_images)(settings, split, chunk, images) for chunk in chunks)
    mortal = {"initializer": end_with_parent, "initargs": (os.getpid(),)}
    with parallel_config(backend="loky", **mortal):
        done = Parallel(n_jobs=jobs, return_as="generator")(work)
    progress = tqdm(done, f"render {split}", len(chunks), disable=None, unit="chunk")
    entries = [entry for chunk in progress for entry in chunk]
    write_json(Path(folder, "annotations", f"{split}.json"), _coco(entries))


def _write_images(settings: dict, split: str, indices: range, images: Path) -> list:
    """Render and write some images; gives (index, width, height, annotations) each."""
    cv2.setNumThreads(1)
    low, high = settings["jpeg_quality"]
    entries = []
    for index in indices:
        rgb, found = render(settings, split, index)
        quality = int(stream(settings, split, index).integers(low, high + 1))
        flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
        _, jpeg = cv2.imencode(".jpg", rgb[..., ::-1], flags)
        (images / f"{index:06d}.jpg").write_bytes(jpeg.tobytes())
        entries.append((index, rgb.shape[1], rgb.shape[0], found))
    return entries


def _coco(entries: list[tuple]) -> dict:
    """A person_keypoints dataset of all images."""
    images = [
        {"id": index, "file_name": f"{index:06d}.jpg", "width": width, "height": height}
        for index, width, height, _ in entries
    ]
    people = [(index, one) for index, _, _, found in entries for one in found]
    annotations = [
        {"id": number, "image_id": index, **one}
        for number, (index, one) in enumerate(people, start=1)
    ]
    return {"images": images, "annotations": annotations, "categories": [CATEGORY]}
