"""Does the fast data path change what a training gives? Its AP beside MMPose's way.

One cell (udp, HRNet-micro) is trained from scratch with the same first weights, order
of persons, draws and schedule, on batches that are made in these ways:

* batches: as `stages.train` makes them, from the crop store;
* crops: person by person from the same crops, by MMPose's transforms (OpenCV's warp,
  which smooths nothing) and by its `UDPHeatmap`;
* photos: the same from the photos at their full size, decoded for every person again;
* fine: as `batches`, from crops of four times as many pixels along each axis
  (`store.oversample=4`), so that what augmentation magnifies is as sharp as in a photo;
* wide: as `batches`, from crops with three times the context (`store.context=0.75`),
  so that augmentation brings nothing black into view that a photo does not.

All are evaluated alike, on the crops of val, with flip test. So the networks of
`photos`, whose inputs are sampled from sharp photos without smoothing, are tested on
another camera's pixels than they learnt from.

    python benchmarks/same_result.py --root FOLDER --out benchmarks/results/same_result

FOLDER is in COCO format: annotations/train.json, annotations/val.json, train/, val/.
Writes OUT.csv, a row per run, after each run, and OUT.md; what OUT.csv has is not run
again.
"""

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from plugins import mmpose_compat  # noqa: E402

mmpose_compat.install()

import cv2  # noqa: E402  (MMPose's imports come after the adaptations)
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from joblib import Parallel, delayed  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmpose.codecs import UDPHeatmap  # noqa: E402
from mmpose.datasets.transforms import (  # noqa: E402
    RandomBBoxTransform,
    RandomFlip,
    RandomHalfBody,
    TopdownAffine,
)
from mmpose.structures.bbox import get_udp_warp_matrix  # noqa: E402
from scipy.stats import norm  # noqa: E402
from scipy.stats import t as student  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from benchmarks.training import DATA, prepare_data  # noqa: E402
from plugins.datasets.augment import DRAWS, AugmentSettings  # noqa: E402
from plugins.datasets.crop_store import CropStore  # noqa: E402
from plugins.datasets.prepared import open_split, open_truth  # noqa: E402
from plugins.datasets.preprocessor import CropPreprocessor  # noqa: E402
from plugins.datasets.training_crops import TrainingCrops, epoch_draws  # noqa: E402
from stages.downsample import downsample  # noqa: E402
from stages.evaluate.annotated import evaluate_persons  # noqa: E402
from stages.files import StageError, new_file, run_stage  # noqa: E402
from stages.plan import plan  # noqa: E402
from stages.train import make_runner  # noqa: E402

WAYS = ("batches", "crops", "photos", "fine", "wide")
STORES = {"fine": "store.oversample=4", "wide": "store.context=0.75"}
"""Ways that train from a store of their own, and its setting."""
METRICS = {"AP": "AP", "AP50": "AP50", "PCK": "PCK@0.05", "error_px": "error, px"}


class PersonByPerson(TrainingCrops):
    """Batches of ``TrainingCrops``, whose persons MMPose's transforms make one by one.

    ``crops`` are then the network's inputs ``(B, h, w, 3)``, and ``keypoints`` and
    ``visible`` lie in them; ``heatmaps`` and ``weights`` are the targets.

    Args:
        photos: file of each person's photo; None: its crop serves.
        settings: of the augmentation.
        sigma: of the targets, in cells.
    """

    def __init__(
        self,
        store: CropStore,
        seed: int,
        photos: list[Path] | None,
        settings: AugmentSettings,
        sigma: float,
    ) -> None:
        super().__init__(store, seed, settings)
        if settings.colours or store.geometry.oversample > 1:
            raise ValueError("expected crops of oversample 1 and no change of colours")
        self.store, self.photos = store, photos
        cells = tuple(side // 4 for side in store.input_size)
        self.codec = UDPHeatmap(store.input_size, cells, sigma=sigma)
        self.places = store.to_image_pixels(store.input_keypoints)
        middle = (np.array(store.input_size) - 1.0) / 2
        count = len(store), len(store.keypoint_set), 2
        self.centres = store.to_image_pixels(np.broadcast_to(middle, count))[:, 0]
        self.boxes = store.box_sides * store.padded_share

    def __getitem__(self, item: tuple[int, np.ndarray]) -> dict[str, torch.Tensor]:
        epoch, rows = item
        draws = epoch_draws(self.seed, epoch, len(self)).numpy()
        persons = [self.person(row, draws[row]) for row in rows]
        return {
            name: torch.from_numpy(np.stack([person[name] for person in persons]))
            for name in persons[0]
        }

    def person(self, row: int, draws: np.ndarray) -> dict[str, np.ndarray]:
        """One person's input, keypoints, visibility and targets."""
        found = self._transform(row, draws)
        image = found["img"]
        if self.photos is None:
            image = self._warped_crop(row, found)
        keypoints = found["transformed_keypoints"].astype(np.float32)
        visible = found["keypoints_visible"].astype(np.uint8)
        target = self.codec.encode(keypoints, (visible > 0).astype(np.float32))
        return {
            "crops": image,
            "keypoints": keypoints[0],
            "visible": visible[0],
            "heatmaps": target["heatmaps"],
            "weights": target["keypoint_weights"][0],
        }

    def _transform(self, row: int, draws: np.ndarray) -> dict:
        """What MMPose's transforms give for these draws."""
        keypoint_set, chosen = self.store.keypoint_set, self.settings
        draw = dict(zip(DRAWS, draws.astype(float), strict=True))
        flip, box = RandomFlip(), RandomBBoxTransform()
        half = RandomHalfBody()
        flipped = draw["flip"] < chosen.flip
        flip._choose_direction = lambda: "horizontal" if flipped else None
        half._random_select_half_body = lambda keypoints_visible, **_: [
            self._half_body(keypoints_visible[0] > 0, draw)
        ]
        # It counts angles the other way round, and turns a photo that was mirrored.
        mirror = -1 if flipped else 1
        angle = chosen.rotation * clipped_normal(draw["angle"], 2)
        turned, moved = (
            draw["rotate"] < chosen.rotate,
            draw["shift"] < chosen.shifted,
        )
        shift = [clipped_normal(draw[name], 1) for name in ("shift_x", "shift_y")]
        shift = chosen.shift * np.array(shift) * [mirror, 1] * moved
        factor = 1 + chosen.scale * clipped_normal(draw["scale"], 1)
        box._get_transform_params = lambda count: (
            shift[None],
            np.array([[factor]]),
            np.array([-mirror * angle * turned]),
        )
        image, shape = np.zeros((1, 1, 3), np.uint8), (1, 1)
        if self.photos is not None:
            # The annotations are of the pixels as stored.
            flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
            image = cv2.imread(str(self.photos[row]), flags)[..., ::-1]
            shape = image.shape[:2]
        results = dict(
            img=image,
            img_shape=shape,
            keypoints=self.places[row : row + 1].copy(),
            keypoints_visible=self.visible[row : row + 1].numpy().astype(float),
            bbox_center=self.centres[row : row + 1].copy(),
            bbox_scale=self.boxes[row : row + 1].copy(),
            flip_indices=keypoint_set.flip_indices,
            upper_body_ids=[],
            lower_body_ids=[],
        )
        affine = TopdownAffine(self.store.input_size, use_udp=True)
        for transform in (flip, half, box, affine):
            results = transform(results)
        return results

    def _half_body(self, labelled: np.ndarray, draw: dict) -> list[int] | None:
        """Keypoints that are shown, by HRNet's rules; None: all."""
        chosen, lower_body = self.settings, self.store.keypoint_set.lower_body
        ids = np.flatnonzero(labelled)
        upper = [index for index in ids if index not in lower_body]
        lower = [index for index in ids if index in lower_body]
        wanted = draw["half_body"] < chosen.half_body
        if not wanted or len(ids) <= chosen.half_body_keypoints:
            return None
        prefers_upper = draw["upper_body"] < chosen.upper_body
        take_upper = (prefers_upper and len(upper) > 2) or len(lower) <= 2
        part = upper if take_upper else lower
        return part if len(part) >= 2 else None

    def _warped_crop(self, row: int, found: dict) -> np.ndarray:
        """The input, sampled as MMPose would from the photo, from the crop."""
        to_input = square(
            get_udp_warp_matrix(
                found["input_center"],
                found["input_scale"],
                found["bbox_rotation"][0],
                self.store.input_size,
            )
        )
        # The photo that MMPose flipped is one pixel wide.
        mirror = np.diag([-1.0 if found["flip"] else 1.0, 1.0, 1.0])
        matrix = to_input @ mirror @ square(self.store.to_image[row])
        crop = np.ascontiguousarray(self.store.crops[row])
        return cv2.warpAffine(
            crop, matrix[:2], self.store.input_size, flags=cv2.INTER_LINEAR
        )


def clipped_normal(uniform: float, limit: float) -> float:
    """A normal number from a uniform one, cut at ``limit`` deviations."""
    return float(np.clip(norm.ppf(uniform), -limit, limit))


def square(affine: np.ndarray) -> np.ndarray:
    """An affine ``(2, 3)`` as a matrix ``(3, 3)``."""
    return np.vstack([affine, [0, 0, 1]])


class Normalised(CropPreprocessor):
    """Takes the inputs of ``PersonByPerson`` as they are; keeps their targets."""

    def augment(self, data: dict[str, torch.Tensor]) -> torch.Tensor:
        self.targets = {name: data[name] for name in ("heatmaps", "weights")}
        return data["crops"].permute(0, 3, 1, 2).float()


def feed_one_by_one(
    runner: Runner, settings: dict, store: CropStore, photos: list[Path] | None
) -> None:
    """Have a Runner of `stages.train` read ``PersonByPerson``, in the same order."""
    model, loop = runner.model, runner.train_loop
    codec = model.head.codec
    augment = AugmentSettings(**settings["augment"])
    persons = PersonByPerson(store, settings["seed"], photos, augment, codec.sigma)
    order = loop.dataloader.sampler
    loop.dataloader = DataLoader(persons, sampler=order, batch_size=None)
    given = Normalised(store.geometry, store.keypoint_set)
    model.data_preprocessor = given.to(next(model.parameters()).device)
    codec.encode_batch = lambda keypoints, visible: given.targets


def store_name(way: str) -> str:
    """The store's that a way trains from, without the size."""
    return f"{DATA}-{way}" if way in STORES else DATA


def photos_of(store: CropStore, data: Path) -> list[Path]:
    """File of each person's photo in a prepared dataset's split train."""
    split = open_split(data, "train")
    names = {image["id"]: image["file_name"] for image in split.coco["images"]}
    return [split.images_root / names[number] for number in store.image_id]


def train_once(way: str, seed: int, size: str, epochs: int, threads: int) -> dict:
    """Train and evaluate; gives a row of the table."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(1)
    chosen = [f"size={size}", f"seed={seed}", f"schedule.epochs={epochs}"]
    chosen += ["method=udp", f"schedule.validate_every={epochs}"]
    (cell,) = plan(["grid=single", *chosen])["cells"].values()
    settings = cell["train"]
    stores = Path("data/stores")
    training = CropStore(stores / f"{store_name(way)}-{size}/train")
    validation = CropStore(stores / f"{DATA}-{size}/val")
    truth = open_truth(Path("data") / DATA)
    with tempfile.TemporaryDirectory() as scratch, open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere):
            runner, history = make_runner(
                settings, training, validation, truth, None, Path(scratch)
            )
            if way in ("crops", "photos"):
                data = Path("data") / DATA
                photos = photos_of(training, data) if way == "photos" else None
                feed_one_by_one(runner, settings, training, photos)
            runner.train()
            decoders = {"udp": runner.model.head.codec}
            (found,), _, _ = evaluate_persons(
                runner.model, validation, truth, decoders, cell["evaluate"]
            )
    row = {"way": way, "seed": seed, "size": size, "epochs": epochs}
    row |= {name: round(found[name], 3) for name in METRICS}
    seconds = sum(epoch["seconds"] for epoch in history.rows)
    row |= {"persons": len(training), "train_s": round(seconds), "threads": threads}
    return row | {"date": time.strftime("%Y-%m-%d"), "torch": torch.__version__}


def render(rows: pd.DataFrame) -> str:
    """The table: mean and deviation over seeds, and differences from ``batches``."""
    size, epochs = rows["size"].iloc[0], rows["epochs"].iloc[0]
    lines = [
        "# Training from batches, and person by person",
        "",
        f"udp, HRNet-micro, {size}, {epochs} epochs of {rows['persons'].iloc[0]} "
        "persons from scratch. Mean and deviation over seeds; below, the difference "
        "from `batches` of the same seed, with its 95 % interval (Student's t over "
        "seeds). The ways are explained in benchmarks/same_result.py; networks of "
        "`photos` are tested on another camera's pixels than they learnt from.",
        "",
        "| way | seeds | " + " | ".join(METRICS.values()) + " |",
        "| :-- | --: |" + " --: |" * len(METRICS),
    ]
    by_way = {way: part.set_index("seed") for way, part in rows.groupby("way")}
    for way in (name for name in WAYS if name in by_way):
        part = by_way[way]
        cells = [spread(part[name]) for name in METRICS]
        lines.append(f"| {way} | {len(part)} | " + " | ".join(cells) + " |")
    for way in (name for name in WAYS[1:] if name in by_way and "batches" in by_way):
        pairs = [(by_way[way][name], by_way["batches"][name]) for name in METRICS]
        differences = [(other - own).dropna() for other, own in pairs]
        cells = [interval(values) for values in differences]
        lines.append(
            f"| {way} - batches | {len(differences[0])} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def spread(values: pd.Series) -> str:
    """Mean, and deviation where there are several."""
    several = f" ± {values.std():.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{several}"


def interval(values: pd.Series) -> str:
    """Mean with its interval where there are several values."""
    if len(values) < 2:
        return f"{values.mean():+.1f}" if len(values) else ""
    half = student.ppf(0.975, len(values) - 1) * values.sem()
    low, high = values.mean() - half, values.mean() + half
    return f"{values.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    add = parser.add_argument
    add("--root", type=Path, required=True, help="folder in COCO format")
    add("--size", default="64x48", help="one with a sigma of whole cells (64x48)")
    add("--epochs", type=int, default=60)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--ways", nargs="+", choices=WAYS, default=WAYS)
    add("--jobs", type=int, default=1, help="trainings at once (1)")
    add("--out", type=Path, required=True, help="files without their endings")
    return parser.parse_args()


def main() -> None:
    """Run what is missing and write the rows and the table."""
    arguments = parse_arguments()
    out, root = arguments.out.resolve(), arguments.root.resolve()
    csv = out.with_suffix(".csv")
    rows = pd.read_csv(csv) if csv.exists() else pd.DataFrame()
    asked = {"size": arguments.size, "epochs": arguments.epochs}
    if len(rows) and not (rows[list(asked)] == pd.Series(asked)).all(axis=None):
        raise StageError(f"{csv} has runs of other settings than {asked}: move it away")
    done = set(zip(rows["way"], rows["seed"], strict=True)) if len(rows) else set()
    runs = [(way, seed) for seed in arguments.seeds for way in arguments.ways]
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.jobs)
    with tempfile.TemporaryDirectory() as folder:
        prepare_data(root, 1, [arguments.size], Path(folder))
        for way in (way for way in arguments.ways if way in STORES):
            chosen = [f"size={arguments.size}", STORES[way]]
            (store,) = plan(["grid=single", *chosen])["stores"].values()
            place = Path(f"data/stores/{store_name(way)}-{arguments.size}")
            downsample(store | {"data": DATA}, place)
        workers = Parallel(arguments.jobs, return_as="generator_unordered")
        tasks = (
            delayed(train_once)(*run, arguments.size, arguments.epochs, threads)
            for run in runs
            if run not in done
        )
        for row in workers(tasks):
            print(row, flush=True)
            rows = pd.concat([rows, pd.DataFrame([row])], ignore_index=True)
            rows = rows.sort_values(["way", "seed"], ignore_index=True)
            with new_file(csv) as handle:
                rows.to_csv(handle, index=False)
    with new_file(out.with_suffix(".md")) as handle:
        handle.write(render(rows))
    print(render(rows))


if __name__ == "__main__":
    # By its name, so that joblib's workers find what they are to run.
    from benchmarks import same_result

    run_stage(same_result.main)
