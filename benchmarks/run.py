"""``make bench``: every measurement of this folder, on one machine, in one run.

    python benchmarks/run.py [--root FOLDER]

FOLDER is in COCO format: annotations/train.json, annotations/val.json, train/, val/;
without one, the synthetic people of data/synthetic serve. Writes
benchmarks/results/<device>.json, .md and .png.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matplotlib  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
import torch  # noqa: E402

from stages.files import StageError, new_file, run_stage, write_json  # noqa: E402

matplotlib.use("Agg")
HERE = Path(__file__).parent
RESULTS = HERE / "results"
SYNTHETIC = Path("data/synthetic")
COLOURS = {"bare step": "#999999", "ours": "#0072B2", "stock MMPose": "#D55E00"}
"""Okabe and Ito's, which the colour-blind tell apart."""


def device_name() -> str:
    """Short name of the machine that trains, for a file."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        name = f"cpu-{len(os.sched_getaffinity(0))}-cores"
    return re.sub(r"\W+", "-", name.lower()).strip("-")


PERSONS = {"64x48": 2048, "128x96": 1024, "256x192": 512}
"""In an epoch: so many that each size takes about as long."""


def training_runs() -> dict[str, list[str]]:
    """Arguments of training.py by what they measure."""
    if not torch.cuda.is_available():
        return {"hrnet_micro, batch 32, fp32": ["--backbone", "hrnet_micro"]}
    fast = ["--batch-size", "512", "--schedule", "precision=bf16"]
    return {
        f"{backbone}, batch 512, bf16": ["--backbone", backbone, *fast]
        for backbone in ("hrnet_w32", "resnet18")
    }


def run_training(arguments: list[str]) -> dict:
    """Figures of training.py by size; a GPU needs eight times as many persons."""
    found, factor = {}, 8 if torch.cuda.is_available() else 1
    for size, persons in PERSONS.items():
        extra = ["--sizes", size, "--persons", str(factor * persons)]
        found |= run("training.py", [*arguments, *extra])
    return found


def run(script: str, arguments: list[str]) -> dict:
    """Figures of one script; its table goes to the terminal.

    Raises:
        StageError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, str(HERE / script), *arguments, "--out", str(out)]
        if subprocess.run(command, check=False).returncode:
            raise StageError(f"{script} {' '.join(arguments)}: failed, see above")
        return json.loads(out.read_text())


def measure(root: Path) -> dict:
    """All figures."""
    data = ["--root", str(root)]
    found = {
        "device": device_name(),
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "data": root.name,
        "training": {
            name: run_training([*data, *arguments])
            for name, arguments in training_runs().items()
        },
    }
    found["downsample"] = run("downsample.py", data)
    found["decode"] = run("decode.py", [])
    return found


def render(found: dict) -> str:
    """Tables in Markdown."""
    lines = [
        f"# Speed on {found['device']}, {found['cores']} cores, torch {found['torch']}",
        "",
        f"`make bench`, {found['date']}, photos of {found['data']}.",
    ]
    for name, sizes in found["training"].items():
        columns = list(next(iter(sizes.values())))
        names = [c for c in columns if c != "ratios"]
        lines += ["", f"## Training: {name}", "", _row(["", *sizes]), _rule(len(sizes))]
        for column in names:
            figures = [f"{part[column]['images_per_s']:.0f}" for part in sizes.values()]
            lines.append(_row([f"{column}, images/s", *figures]))
        for column in ("ours", names[-1]):
            memory = [
                f"{part[column]['peak_memory_mb']:.0f}" for part in sizes.values()
            ]
            lines.append(_row([f"{column}, peak memory, MB", *memory]))
        for ratio in next(iter(sizes.values()))["ratios"]:
            figures = [f"{part['ratios'][ratio]:.2f}" for part in sizes.values()]
            lines.append(_row([ratio, *figures]))
    decode = found["decode"]["milliseconds"]
    lines += ["", "## Decoding, as a ratio to one argmax pass", ""]
    lines += [_row(["", *decode]), _rule(len(decode))]
    for name in next(iter(decode.values())):
        ratios = [f"{part[name] / part['bare argmax']:.2f}" for part in decode.values()]
        lines.append(_row([name, *ratios]))
    speeds, peaks = (
        found["downsample"][key] for key in ("photos_per_second", "peak_mb")
    )
    lines += ["", "## Downsampling, as a ratio to decoding the photos alone", ""]
    lines += [_row(["", *speeds]), _rule(len(speeds))]
    for name in next(iter(speeds.values())):
        ratios = [
            f"{part[name] / part['bare decoding']:.2f}" for part in speeds.values()
        ]
        lines.append(_row([name, *ratios]))
    lines += ["", _row(["peak memory, MB", *map(str, next(iter(peaks.values())))])]
    lines.append(_rule(len(next(iter(peaks.values())))))
    for persons, peak in peaks.items():
        lines.append(
            _row([f"{persons} persons", *(f"{mb:.0f}" for mb in peak.values())])
        )
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int) -> str:
    return "|" + " :-- |" + " --: |" * columns


def plot(found: dict, path: Path) -> None:
    """Bars of images per second by size, one panel per network."""
    runs = found["training"]
    figure, axes = plt.subplots(
        1,
        len(runs),
        figsize=(5.5 * len(runs), 3.6),
        layout="constrained",
        squeeze=False,
    )
    for axis, (name, sizes) in zip(axes[0], runs.items(), strict=True):
        for place, (label, colour) in enumerate(COLOURS.items()):
            rates = [_rate(part, label) for part in sizes.values()]
            places = [index + 0.27 * (place - 1) for index in range(len(sizes))]
            bars = axis.bar(places, rates, 0.25, label=label, color=colour)
            axis.bar_label(bars, fmt="%.0f", fontsize=8)
        axis.set_xticks(range(len(sizes)), sizes)
        axis.margins(y=0.15)
        axis.set_xlabel("input size (height x width, px)")
        axis.set_ylabel("training, images/s")
        axis.set_title(name, fontsize=10)
    axes[0][0].legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _rate(part: dict, label: str) -> float:
    if label == "bare step":
        return part["step"]["images_per_s"]
    if label == "ours":
        return part["ours"]["images_per_s"]
    return max(v["images_per_s"] for k, v in part.items() if k.startswith("stock"))


def main() -> None:
    """Measure, and write the figures, the tables and the plot."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--root", type=Path, help="folder in COCO format")
    root = parser.parse_args().root
    with tempfile.TemporaryDirectory() as folder:
        found = measure((root or synthetic_folder(Path(folder))).resolve())
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{found['device']}.json"
    write_json(path, found)
    with new_file(path.with_suffix(".md")) as handle:
        handle.write(render(found))
    plot(found, path.with_suffix(".png"))
    print(f"{path} and .md, .png")


def synthetic_folder(folder: Path) -> Path:
    """The synthetic people under the names that a folder in COCO format has.

    Raises:
        StageError: they are not rendered yet.
    """
    if not (SYNTHETIC / "manifest.json").exists():
        raise StageError(
            f"{SYNTHETIC}: not found; render it with python -m stages.prepare "
            "synthetic, or name a folder in COCO format: make bench DATA=FOLDER"
        )
    root = folder / "synthetic"
    root.mkdir()
    (root / "annotations").symlink_to((SYNTHETIC / "annotations").resolve())
    for split in ("train", "val"):
        (root / split).symlink_to((SYNTHETIC / "images" / split).resolve())
    return root


if __name__ == "__main__":
    run_stage(main)
