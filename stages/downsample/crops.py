"""Cut all persons of a split, by many workers, into one file."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import delayed
from tqdm import tqdm

from plugins.datasets.prepared import Entries
from stages.downsample.camera import cut, greatest_reduction, read_photo
from stages.downsample.table import Order, Table
from stages.downsample.unfinished import Progress
from stages.files import StageError

PHOTOS_PER_TASK = 64
COMMIT_SECONDS = 1
"""How much work a kill or a loss of power may cost."""


@dataclass(frozen=True)
class Job:
    """What all tasks of a split have in common.

    Attributes:
        crops: file of the crops.
        size: crop ``(w, h)``.
        reduced_decode: whether JPEGs are decoded at reduced scale where that will do.
    """

    crops: Path
    size: tuple[int, int]
    reduced_decode: bool


def write_all_crops(
    entries: Entries, order: Order, table: Table, job: Job, record: Path, run: Callable
) -> None:
    """Write the crops of a split, but for those that an earlier run has written.

    Args:
        table: gets the persons, all of them, while workers cut.
        record: file that notes which tasks are done.
        run: of ``start_workers``.

    Raises:
        StageError: a photo cannot be read, no room on the disk, a worker was killed.
    """
    width, height = job.size
    shape = (len(order.persons), height, width, 3)
    photos = len(order.photos)
    progress = Progress(job.crops, record, shape, -(-photos // PHOTOS_PER_TASK))
    tasks = make_tasks(entries, order, table, job, progress.done.copy())
    before = min(int(progress.done.sum()) * PHOTOS_PER_TASK, photos)
    quiet = "CI" in os.environ or None
    committed = time.monotonic()
    name = record.parent.name
    bar = tqdm(None, name, photos, initial=before, unit="photo", disable=quiet)
    try:
        for task, count in run(tasks):
            progress.finish(task)
            bar.update(count)
            if time.monotonic() - committed >= COMMIT_SECONDS:
                progress.commit()
                committed = time.monotonic()
    except BrokenProcessPool as error:
        raise StageError(
            f"{job.crops.parent}: a worker was ended, perhaps for lack of memory; run "
            f"it again, with fewer --jobs: it goes on from here ({error})"
        ) from None
    finally:
        bar.close()
        progress.commit()


def make_tasks(
    entries: Entries, order: Order, table: Table, job: Job, done: np.ndarray
) -> Iterator[Callable]:
    """Tasks that are not done, one after the other as they are asked for.

    The table is written on the way: each annotation is read once more, by a process
    that would else wait for the workers.
    """
    root = entries.images_root.absolute()  # workers may have another working folder
    for number in range(len(done)):
        start = number * PHOTOS_PER_TASK
        places = order.photos[start : start + PHOTOS_PER_TASK].tolist()
        rows = order.rows[start : start + len(places) + 1].tolist()
        persons = order.persons[rows[0] : rows[-1]].tolist()
        affines = table.add([entries.read(place) for place in persons])
        if not done[number]:
            photos = [root / entries.read(place)["file_name"] for place in places]
            yield delayed(write_crops)(job, number, photos, rows, affines)


def write_crops(
    job: Job, number: int, photos: list[Path], rows: list[int], affines: np.ndarray
) -> tuple[int, int]:
    """Cut the persons of some photos and write their crops.

    Args:
        number: of the task.
        rows: first row of each photo's persons, and the end of the last one's.
        affines: ``(N, 2, 3)`` of all of them, crop pixels -> image pixels.

    Returns:
        the task's number and how many photos it had.
    """
    header = np.load(job.crops, mmap_mode="r").offset
    row_bytes = 3 * job.size[0] * job.size[1]
    try:
        # Not through a memory map, where a full disk would be a bus error.
        with open(job.crops, "r+b") as crops:
            crops.seek(header + rows[0] * row_bytes)
            for path, first, end in zip(photos, rows[:-1], rows[1:], strict=True):
                own = affines[first - rows[0] : end - rows[0]]
                reduction = greatest_reduction(own) if job.reduced_decode else 1
                photo = read_photo(path, reduction)
                for affine in own:
                    crops.write(cut(photo, affine, job.size))
    except OSError as error:
        raise StageError(
            f"{job.crops}: {error.strerror}; mend it and run it again: it goes on"
        ) from None
    return number, len(photos)
