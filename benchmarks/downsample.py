"""The stage downsample beside bare decoding of the same photos, and its memory.

Throughput: photos per second of the whole stage (annotations, table, crops, disk), and
of decoding each photo once to RGB at full size, by the stage's decoder (libjpeg-turbo)
and by PIL. All by the same workers, without their start, in turns, and as DVC runs it:
what an earlier run made is gone before. Medians over the rounds; ratios are to the
stage's decoder in the same round. Decoding all photos at an eighth of their size,
whether the crops allow it or not, is what reduced decoding could bring at the most: it
reads the same bits. Also of photos that were made six times as wide and high (COCO's
then have 10 megapixels), where most JPEGs can be decoded at reduced scale. They have
less detail than a camera's, and so fewer bits to read.

Memory: largest sum, over the process and its workers, of anonymous memory (RssAnon of
/proc/PID/status, 50 times a second); pages of mapped files belong to the kernel's cache
and do not count.

.venv/bin/python benchmarks/downsample.py --root COCO_FOLDER --out downsample.json
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from operator import truediv
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

import PIL.Image  # noqa: E402
from joblib import cpu_count, delayed  # noqa: E402

from stages.downsample import downsample  # noqa: E402
from stages.downsample.camera import REDUCTIONS, read_photo  # noqa: E402
from stages.downsample.crops import PHOTOS_PER_TASK  # noqa: E402
from stages.downsample.workers import start_workers  # noqa: E402

SIZES = ("64x48", "256x192")
STORE = {"data": "repeated", "padding": 1.25, "context": 0.25, "oversample": 1}
NEW = Path("data/stores/new")
ENLARGED = 6
LARGE_PHOTOS = 24
"""How many are enlarged, and then repeated."""
RUN = (
    "import json, sys; from pathlib import Path; from stages.downsample import "
    "downsample; settings, folder, jobs = sys.argv[1:]; "
    "downsample(json.loads(settings), Path(folder), int(jobs))"
)


def write_repeated(root: Path, folder: Path, persons: int) -> int:
    """Write ``folder`` as prepare would: photos of ``root``, again and again.

    Args:
        root: in COCO format, with annotations/train.json and train/.
        persons: at least so many.

    Returns:
        how many photos there are.
    """
    coco = json.loads((root / "annotations/train.json").read_text())
    groups: dict[int, list[dict]] = {}
    for annotation in coco["annotations"]:
        if is_usable(annotation):
            groups.setdefault(annotation["image_id"], []).append(annotation)
    if not groups:
        raise SystemExit(f"{root}: train has no person with a labelled keypoint")
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    images, annotations, splits = [], [], {}
    while len(annotations) < persons:
        for image_id, group in groups.items():
            images.append({"id": len(images) + 1, "file_name": names[image_id]})
            for own in group:
                numbers = {"id": len(annotations) + 1, "image_id": len(images)}
                annotations.append(own | numbers)
    for split, count in (("train", len(images)), ("val", 1)):
        chosen = [a for a in annotations if a["image_id"] <= count]
        text = "".join(_lines(images[:count], chosen))
        path = folder / f"annotations/{split}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        splits[split] = {
            "annotations": f"annotations/{split}.json",
            "annotations_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "images_root": str(root.resolve() / "train"),
            "images_root_is": "working folder",
        }
    manifest = {"splits": splits, "data_hash": f"{persons}", "keypoints": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return len(images)


def enlarge(root: Path, folder: Path) -> Path:
    """Write the first photos of ``root``'s train, ENLARGED times as wide and high.

    As cameras write JPEGs: quality 90, colours at half the resolution.

    Returns:
        ``folder``, in COCO format with train alone.
    """
    coco = json.loads((root / "annotations/train.json").read_text())
    usable = [a for a in coco["annotations"] if is_usable(a)]
    chosen = list(dict.fromkeys(a["image_id"] for a in usable))[:LARGE_PHOTOS]
    coco["images"] = [image for image in coco["images"] if image["id"] in chosen]
    coco["annotations"] = [a for a in usable if a["image_id"] in chosen]
    for annotation in coco["annotations"]:
        annotation["bbox"] = [ENLARGED * value for value in annotation["bbox"]]
        annotation["area"] *= ENLARGED**2
        for axis in range(2):
            places = annotation["keypoints"][axis::3]
            annotation["keypoints"][axis::3] = [ENLARGED * value for value in places]
    for image in coco["images"]:
        old, new = (top / "train" / image["file_name"] for top in (root, folder))
        new.parent.mkdir(parents=True, exist_ok=True)
        with PIL.Image.open(old) as photo:
            size = [ENLARGED * side for side in photo.size]
            large = photo.convert("RGB").resize(size, PIL.Image.Resampling.LANCZOS)
        large.save(new, "JPEG", quality=90, subsampling="4:2:0")
        image["width"], image["height"] = size
    (folder / "annotations").mkdir()
    (folder / "annotations/train.json").write_text(json.dumps(coco))
    return folder


def is_usable(annotation: dict) -> bool:
    """Whether prepare would take this person."""
    return not annotation.get("iscrowd") and max(annotation["keypoints"][2::3]) > 0


def _lines(images: list[dict], annotations: list[dict]) -> Iterator[str]:
    yield "{\n"
    sections = {"images": (images, "],\n"), "annotations": (annotations, "]\n}\n")}
    for section, (entries, closing) in sections.items():
        yield f'"{section}": [\n'
        yield ",\n".join(map(json.dumps, entries)) + "\n"
        yield closing


def decode_all(paths: list[Path], decode: Callable[[Path], object]) -> int:
    """What any camera has to do first."""
    for path in paths:
        decode(path)
    return len(paths)


def decode_eighth(path: Path) -> None:
    """Decode one photo at an eighth of its size, where it is a JPEG."""
    read_photo(path, max(REDUCTIONS))


def decode_by_pil(path: Path) -> None:
    """Decode one photo at full size to RGB."""
    with PIL.Image.open(path) as image:
        if image.mode == "RGB":
            image.load()  # convert would copy it, which takes up to as long again
        else:
            image.convert("RGB")


def decoding(
    photos: list[Path], decode: Callable[[Path], object], jobs: int
) -> Callable[[], object]:
    """Decode all photos, as many per task as the stage."""
    starts = range(0, len(photos), PHOTOS_PER_TASK)

    def run_all() -> None:
        with start_workers("loky", jobs) as run:
            tasks = (photos[s : s + PHOTOS_PER_TASK] for s in starts)
            list(run(delayed(decode_all)(task, decode) for task in tasks))

    return run_all


def take_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list]:
    """Seconds of each in every round but a first one."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            shutil.rmtree(NEW, ignore_errors=True)
            started = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - started)
    return {name: seconds[1:] for name, seconds in taken.items()}


def throughput(root: Path, size: str, persons: int, jobs: int, rounds: int) -> dict:
    """Photos per second of the stage in both ways and of decoding, and the ratios."""
    photos = write_repeated(root, Path("data/repeated"), persons)
    coco = json.loads(Path("data/repeated/annotations/train.json").read_text())
    paths = [root.resolve() / "train" / i["file_name"] for i in coco["images"]]

    def stage(reduced: bool) -> Callable[[], object]:
        settings = STORE | {"size": size, "reduced_decode": reduced}
        return lambda: downsample(settings, NEW, jobs)

    taken = take_turns(
        {
            "decoding alone": decoding(paths, read_photo, jobs),
            "decoding alone, PIL": decoding(paths, decode_by_pil, jobs),
            "decoding alone, all at 1/8": decoding(paths, decode_eighth, jobs),
            "downsample": stage(False),
            "downsample, reduced decode": stage(True),
        },
        rounds,
    )
    alone = taken["decoding alone"]
    return {
        name: {
            "photos_per_s": photos / statistics.median(seconds),
            "ratio": statistics.median(map(truediv, alone, seconds)),
        }
        for name, seconds in taken.items()
    }


def peak_memory(root: Path, size: str, persons: int, jobs: int) -> dict[str, float]:
    """Largest anonymous memory in MB: of all processes, the first, and any worker."""
    write_repeated(root, Path("data/repeated"), persons)
    settings = json.dumps(STORE | {"size": size, "reduced_decode": False})
    command = [sys.executable, "-c", RUN, settings, str(NEW), str(jobs)]
    environment = os.environ | {"PYTHONPATH": str(TOP), "CI": "1"}
    process = subprocess.Popen(command, env=environment)
    peak = {"all": 0.0, "first": 0.0, "worker": 0.0}
    while process.poll() is None:
        used = {pid: anonymous(pid) for pid in family(process.pid)}
        first = used.pop(process.pid, 0.0)
        now = {"all": first + sum(used.values()), "first": first}
        now["worker"] = max(used.values(), default=0.0)
        peak = {name: max(peak[name], now[name]) for name in peak}
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"downsample ended with status {process.returncode}")
    return peak


def family(pid: int) -> Iterator[int]:
    """A process and all that it started."""
    yield pid
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from family(int(child))


def anonymous(pid: int) -> float:
    """Anonymous memory of a process in MB; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1000
    return 0.0


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="in COCO format")
    parser.add_argument("--persons", type=int, default=2000, help="for the throughput")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=cpu_count())
    parser.add_argument("--sizes", nargs="*", default=SIZES)
    parser.add_argument("--memory", type=int, nargs="*", default=[2000, 100_000])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    root, jobs = arguments.root.resolve(), arguments.jobs
    record = {"jobs": jobs, "machine": platform.machine(), "pillow": PIL.__version__}
    record |= {"throughput": {}, "peak_mb": {}}
    os.environ["CI"] = "1"  # no progress bars
    with tempfile.TemporaryDirectory(dir=".") as folder, contextlib.chdir(folder):
        large = enlarge(root, Path("large"))
        settings = {size: (root, size, arguments.persons) for size in arguments.sizes}
        for size in arguments.sizes:
            persons = max(1, arguments.persons // 4)  # each photo takes longer
            settings[f"{size}, photos x {ENLARGED}"] = large, size, persons
        for case, (photos, size, persons) in settings.items():
            found = throughput(photos, size, persons, jobs, arguments.rounds)
            record["throughput"][case] = found
            for name, one in found.items():
                speed, ratio = one["photos_per_s"], one["ratio"]
                print(f"{case:24}{name:30}{speed:10.0f} photos/s{ratio:8.2f}")
        for persons in arguments.memory:
            peak = peak_memory(root, SIZES[0], persons, jobs)
            record["peak_mb"][persons] = peak
            parts = "".join(f"{name:>10} {mb:6.1f} MB" for name, mb in peak.items())
            print(f"{SIZES[0]:10}{persons:8} persons, memory of{parts}", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
