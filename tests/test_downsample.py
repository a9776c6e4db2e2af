"""The stage at scale: any workers, any kill, one at a time, memory that stays."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from joblib import delayed
from PIL import Image

from benchmarks.downsample import family, peak_memory
from plugins.datasets.crop_store import CropStore
from plugins.datasets.keypoint_sets import COCO17
from plugins.datasets.prepared import Entries, open_split
from stages.downsample import crops, downsample, unfinished, workers
from stages.downsample.table import find_order
from stages.downsample.unfinished import Progress, only_one
from stages.files import StageError
from stages.prepare import prepare
from tests.coco_folder import write_coco_folder
from tests.conftest import STORE

TOP = Path(__file__).parent.parent
SETTINGS = STORE | {"size": "32x24"}
STORE_FOLDER = Path("data/stores/new")


@pytest.fixture
def work(tiny_data, tmp_path, monkeypatch) -> Path:
    """A copy of the tiny data, as the working folder; tasks of two photos."""
    shutil.copytree(tiny_data, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(crops, "PHOTOS_PER_TASK", 2)
    return tmp_path / "work"


@pytest.fixture(scope="module")
def expected(tiny_data, tmp_path_factory) -> dict[str, str]:
    """Hashes of the store that one run without a break makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny_data)
        folder = tmp_path_factory.mktemp("stores") / "new"
        downsample(SETTINGS, folder, 1)
    assert np.load(folder / "train/crops.npy").std() > 10
    return hashes(folder)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    found = {str(p.relative_to(folder)): p.read_bytes() for p in files}
    assert sorted(found) == [
        "manifest.json",
        *(f"{split}/{name}" for split in ("train", "val")
          for name in ("crops.npy", "table.npz")),
    ]  # fmt: skip
    return {
        name: hashlib.sha256(content).hexdigest() for name, content in found.items()
    }


def left_over() -> list[str]:
    return [p.name for p in Path("data/stores").iterdir() if p.name.startswith(".new")]


@pytest.mark.parametrize(
    ("backend", "jobs"), [("loky", 2), ("threading", 3), ("threading", 1)]
)
def test_bytes_do_not_depend_on_the_workers(work, expected, backend, jobs):
    downsample(SETTINGS, STORE_FOLDER, jobs, backend)
    assert hashes(STORE_FOLDER) == expected
    assert left_over() == []


# By file, of what write_pattern describes; the first version's, and to stay.
GOLDEN = {
    "train/crops.npy": "f97c3ec2d8cd19773026593d1e9ac402"
    "b71c4ad14e0361aae05381f85326ee60",
    "train/table.npz": "508529c08b257e9366f84e1c3e42104e"
    "0edda7b8942a39037f0bb1fd1b19c899",
}


def write_pattern(root: Path) -> dict:
    """A dataset without loss or chance: PNG photos of a pattern; gives settings."""
    y, x = np.mgrid[:150, :200]
    channels = (7 * x + 3 * y) % 256, (x * y) % 251, (x * x + 5 * y) % 241
    pixels = np.stack(channels, axis=-1).astype(np.uint8)
    boxes = ([10, 20, 150, 90], [3.5, 1.25, 31, 47], [120, 60, 75.5, 110])
    keypoints = np.stack((np.arange(17) * 5, np.arange(17) * 4, np.full(17, 2)), -1)
    for split, first in (("train", 1), ("val", 10)):
        (root / split).mkdir(parents=True)
        Image.fromarray(pixels).save(root / split / "pattern.png")
        image = {"id": first, "file_name": "pattern.png", "width": 200, "height": 150}
        annotations = [
            {"id": first + number, "image_id": first, "category_id": 1, "iscrowd": 0}
            | {"bbox": box, "area": 1000.5, "keypoints": keypoints.ravel().tolist()}
            for number, box in enumerate(boxes)
        ]
        category = {"id": 1, "name": "person", "keypoints": list(COCO17.names)}
        coco = {"images": [image], "annotations": annotations}
        path = root / "annotations" / f"{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(coco | {"categories": [category]}))
    found = {"annotations": None, "images": None}
    return {"source": "coco_dir", "root": str(root), "train": found, "val": found}


def test_a_fixed_input_gives_the_bytes_that_it_always_gave(tmp_path, monkeypatch):
    """Pattern and camera are of whole numbers and float32 sums in a fixed order."""
    monkeypatch.chdir(tmp_path)
    prepare(write_pattern(Path("photos")), Path("data/tiny"), 1)
    downsample(SETTINGS, STORE_FOLDER, 1)
    found = hashes(STORE_FOLDER)
    assert {name: found[name] for name in GOLDEN} == GOLDEN


def test_dask_makes_the_same_store(work, expected):
    """Its workers are processes of a cluster that is started for this."""
    downsample(SETTINGS, STORE_FOLDER, 2, "dask")
    assert hashes(STORE_FOLDER) == expected


@pytest.mark.slow
def test_ray_makes_the_same_store(work, expected):
    pytest.importorskip("ray", reason="pip install ray to run this")
    downsample(SETTINGS, STORE_FOLDER, 2, "ray")
    assert hashes(STORE_FOLDER) == expected


def test_rounds_take_tasks_as_they_need_them(monkeypatch):
    """How Ray works, which gives results only all at once."""
    monkeypatch.setattr(workers, "BATCHES", 2)
    taken = []

    def tasks():
        for number in range(7):
            taken.append(number)
            yield delayed(abs)(-number)

    with workers.start_workers("threading", 2):
        results = workers.run_in_rounds(tasks())
        assert next(results) == 0
        assert taken == [0, 1, 2, 3]
        assert list(results) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("backend", "package"), [("dask", "dask.distributed"), ("ray", "ray")]
)
def test_a_missing_package_is_named(work, monkeypatch, backend, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StageError, match=f"{backend}: .*not installed; pip install"):
        downsample(SETTINGS, STORE_FOLDER, 1, backend)
    with pytest.raises(StageError, match="'spark': expected loky, threading, dask"):
        downsample(SETTINGS, STORE_FOLDER, 1, "spark")


def test_reduced_decode_changes_crops_alone(work, expected):
    """And those little: 9 image pixels per crop pixel, decoded at a half."""
    write_coco_folder(work / "large", {"train": 4, "val": 2}, (1200, 900))
    settings = {"name": "large", "source": "coco_dir", "root": "large", "strict": True}
    splits = {"annotations": None, "images": None}
    prepare(settings | {"train": splits, "val": splits}, Path("data/large"), 1)
    stores = []
    for reduced in (False, True):
        wanted = SETTINGS | {"data": "large", "reduced_decode": reduced}
        downsample(wanted, Path(f"data/stores/{reduced}"), 1)
        stores.append(Path(f"data/stores/{reduced}"))
    full, half = (CropStore(folder / "train") for folder in stores)
    assert (full.to_image[:, 0, 0] > 8).all()
    tables = [(folder / "train/table.npz").read_bytes() for folder in stores]
    assert tables[0] == tables[1]
    difference = np.abs(full.crops.astype(int) - half.crops)
    assert 0 < difference.mean() < 1 and difference.max() < 20


def test_persons_come_by_image_and_id(work):
    """However the file has them; so that each photo is decoded once."""
    path, manifest = Path("data/tiny/annotations/train.json"), Path("data/tiny")
    lines = path.read_text().splitlines()
    begin = lines.index('"annotations": [') + 1
    images = slice(lines.index('"images": [') + 1, begin - 2)
    named = [line.rstrip(",") for line in lines[images]]
    lines[images] = [f"{line}," for line in named[::-1]]
    lines[images.stop - 1] = named[0]
    entries = [json.loads(line.rstrip(",")) for line in lines[begin:-2]]
    for entry in entries:
        entry["id"] = 1000 - entry["id"]  # against the order of the images
    random.Random(0).shuffle(entries)
    text = ",\n".join(map(json.dumps, entries))
    path.write_text("\n".join([*lines[:begin], text, *lines[-2:]]) + "\n")
    record = json.loads((manifest / "manifest.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record["splits"]["train"]["annotations_sha256"] = digest
    (manifest / "manifest.json").write_text(json.dumps(record))
    annotations = open_split(manifest, "train").coco["annotations"]
    assert annotations == entries
    wanted = sorted((a["image_id"], a["id"]) for a in annotations)
    downsample(SETTINGS, STORE_FOLDER, 1)
    store = CropStore(STORE_FOLDER / "train")
    found = zip(store.image_id.tolist(), store.annotation_id.tolist(), strict=True)
    assert list(found) == wanted
    with Entries(manifest, "train") as opened:
        order = find_order(opened, work)
        names = [opened.read(place)["id"] for place in order.photos]
    assert names == sorted({image for image, _ in wanted})
    assert order.rows.tolist() == list(range(0, 17, 2))


def test_annotations_of_another_make_are_refused(work):
    path = Path("data/tiny/annotations/val.json")
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(StageError, match="was changed after it was prepared"):
        downsample(SETTINGS, STORE_FOLDER, 1)
    manifest = Path("data/tiny/manifest.json")
    record = json.loads(manifest.read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    record["splits"]["val"]["annotations_sha256"] = digest
    manifest.write_text(json.dumps(record))
    with pytest.raises(StageError, match="val.json: expected images.*one per line"):
        downsample(SETTINGS, STORE_FOLDER, 1)


class Killed(BaseException):
    pass


@pytest.fixture
def broken_run(work, monkeypatch):
    """Break off a run after so many tasks, as a kill would; counts what it does."""
    done = []

    def break_off(after: int, settings: dict = SETTINGS) -> list[int]:
        original = crops.write_crops

        def counted(job, number, *rest):
            if len(done) == after:
                raise Killed
            done.append((job.crops.parent.name, number))
            return original(job, number, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(crops, "write_crops", counted)
            with contextlib.suppress(Killed):
                downsample(settings, STORE_FOLDER, 1)
        return done

    return break_off


def test_a_run_goes_on_where_the_last_one_stopped(broken_run, expected):
    """train has 4 tasks and val 2: none is done twice."""
    assert broken_run(3) == [("train", 0), ("train", 1), ("train", 2)]
    assert not STORE_FOLDER.exists() and left_over() == [".new.partial"]
    done = broken_run(5)
    assert done[3:] == [("train", 3), ("val", 0)]
    assert broken_run(99)[5:] == [("val", 1)]
    assert hashes(STORE_FOLDER) == expected
    assert left_over() == []


def test_killed_once_the_store_is_in_place(work, expected, monkeypatch):
    """What is left aside helps nobody, and hinders nobody."""

    def killed(path):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(Killed):
            downsample(SETTINGS, STORE_FOLDER, 1)
    assert hashes(STORE_FOLDER) == expected and left_over() == [".new.partial"]
    downsample(SETTINGS, STORE_FOLDER, 1)
    assert hashes(STORE_FOLDER) == expected and left_over() == []


def test_other_settings_start_anew(broken_run, expected):
    broken_run(3, SETTINGS | {"padding": 1.5})
    assert len(broken_run(99)) == 3 + 6
    assert hashes(STORE_FOLDER) == expected
    assert left_over() == []


def test_what_is_left_of_other_settings_is_removed(broken_run):
    broken_run(3, SETTINGS | {"padding": 1.5})
    (first,) = (p for p in Path("data/stores/.new.partial").iterdir() if p.is_dir())
    broken_run(4)
    (second,) = (p for p in Path("data/stores/.new.partial").iterdir() if p.is_dir())
    assert first != second


def test_a_task_is_noted_only_once_its_crops_are_on_disk(tmp_path, monkeypatch):
    files = (tmp_path / "crops.npy", tmp_path / "done.npy")
    progress = Progress(*files, (6, 4, 3, 3), 3)
    progress.finish(1)
    synced = []

    def sync(path):
        synced.append((path, np.load(files[1]).tolist()))
        if len(synced) == 1:
            raise OSError("the disk is gone")

    monkeypatch.setattr(unfinished, "sync", sync)
    with pytest.raises(OSError, match="gone"):
        progress.commit()
    assert not np.load(files[1]).any()
    progress.commit()
    assert synced[1] == (files[0], [False] * 3)
    assert Progress(*files, (6, 4, 3, 3), 3).done.tolist() == [False, True, False]


def test_a_full_disk_is_seen_at_once(work, monkeypatch):
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StageError, match="GB needed and 0.0 GB free: make room"):
        downsample(SETTINGS, STORE_FOLDER, 1)


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_mended_photo_lets_the_run_go_on(work, expected, damage):
    photo = sorted(Path("photos/train").glob("*.jpg"))[-1]
    content = photo.read_bytes()
    photo.unlink()
    if damage == "cut short":
        photo.write_bytes(content[:300])
    with pytest.raises(StageError, match=f"{photo.name}: cannot be decoded.*again"):
        downsample(SETTINGS, STORE_FOLDER, 2, "threading")
    assert not STORE_FOLDER.exists()
    photo.write_bytes(content)
    downsample(SETTINGS, STORE_FOLDER, 1)
    assert hashes(STORE_FOLDER) == expected


def test_a_second_run_is_refused(work, expected):
    with (
        only_one(Path("data/stores/.new.partial/lock"), STORE_FOLDER),
        pytest.raises(StageError, match="new: another process is making this store"),
    ):
        downsample(SETTINGS, STORE_FOLDER, 1)
    downsample(SETTINGS, STORE_FOLDER, 1)
    downsample(SETTINGS, STORE_FOLDER, 1)  # in place of the first
    assert hashes(STORE_FOLDER) == expected


def test_a_lock_that_its_holder_removed_is_not_taken(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    flock = unfinished.fcntl.flock

    def removed_meanwhile(lock, how):
        monkeypatch.setattr(unfinished.fcntl, "flock", flock)
        path.unlink()
        path.touch()
        flock(lock, how)

    monkeypatch.setattr(unfinished.fcntl, "flock", removed_meanwhile)
    with only_one(path, tmp_path / "store"):
        with open(path) as other, pytest.raises(BlockingIOError):
            flock(other, unfinished.fcntl.LOCK_EX | unfinished.fcntl.LOCK_NB)


COMMAND = """
import sys
from stages.downsample import crops
from stages.downsample.__main__ import main
from stages.files import run_stage
crops.PHOTOS_PER_TASK, crops.COMMIT_SECONDS = 1, 0
sys.argv[1:] = ["new", "--jobs", "2"]
run_stage(main)
"""


def start_run() -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(TOP), "CI": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def many_photos(tmp_path, monkeypatch) -> dict[str, str]:
    """600 photos and the store's settings; gives the hashes of an unbroken run."""
    monkeypatch.chdir(tmp_path)
    write_coco_folder(Path("photos"), {"train": 1160, "val": 40})
    settings = {"name": "tiny", "source": "coco_dir", "root": "photos", "strict": True}
    splits = {"annotations": None, "images": None}
    prepare(settings | {"train": splits, "val": splits}, Path("data/tiny"), 1)
    params = {"stores": {"new": SETTINGS}}
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    downsample(SETTINGS, Path("unbroken"), 1)
    return hashes(Path("unbroken"))


def wait_until(true, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}/cwd").exists()}


def noted() -> int:
    """Tasks that are noted as done."""
    records = list(Path("data/stores").glob(".new.partial/*/*/done.npy"))
    with contextlib.suppress(OSError, ValueError):
        return sum(int(np.load(record).sum()) for record in records)
    return 0


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(many_photos):
    """Ten times, main process or worker; no worker outlives its parent."""
    rng = random.Random(0)
    counts = [0]
    for kill in range(10):
        process = start_run()
        if kill % 3:
            before = counts[-1]
            assert wait_until(lambda before=before: noted() > before, 30)
        time.sleep(rng.uniform(0, 0.3))
        everyone = set(family(process.pid))
        assert process.poll() is None, "it ended before the kill: use more photos"
        # loky's resource tracker, which removes what the others leave, ends by itself.
        victims = sorted(everyone - {process.pid}) if kill % 3 == 2 else [process.pid]
        os.kill(victims[-1], signal.SIGKILL)
        _, errors = process.communicate(timeout=20)
        if kill % 3 == 2:
            assert process.returncode == 1 and "a worker was ended" in errors
        assert wait_until(lambda pids=everyone: not alive(pids), 10), "workers live on"
        counts.append(noted())
    assert counts == sorted(counts) and 0 < counts[-1] < 600, counts
    process = start_run()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert hashes(STORE_FOLDER) == many_photos
    assert [p.name for p in Path("data/stores").iterdir()] == ["new"]


@pytest.mark.slow
def test_a_second_process_is_refused(many_photos):
    first = start_run()
    assert wait_until(lambda: noted() > 0, 30)
    first.send_signal(signal.SIGSTOP)
    second = start_run()
    _, errors = second.communicate(timeout=30)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1
    assert errors.endswith("wait for it or end it\n") and "Traceback" not in errors
    assert first.wait(120) == 0
    assert hashes(STORE_FOLDER) == many_photos


@pytest.mark.slow
def test_memory_does_not_grow_with_the_persons(tmp_path, monkeypatch):
    """From one to fifteen thousand persons; the benchmark goes to 100 thousand."""
    root = write_coco_folder(tmp_path / "photos", {"train": 20, "val": 2})
    monkeypatch.chdir(tmp_path)
    few, many = (peak_memory(root, "32x24", n, 2) for n in (1000, 15_000))
    assert many["all"] < 1.1 * few["all"], (few, many)
    assert many["first"] < 1.1 * few["first"], (few, many)
