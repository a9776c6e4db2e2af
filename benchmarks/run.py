"""``make bench``: every measurement of this folder, on one machine, in one run.

    python benchmarks/run.py [--root FOLDER] [--only training step ...]

FOLDER is in COCO format: annotations/train.json, annotations/val.json, train/, val/;
without one, the synthetic people of data/synthetic serve. Writes
benchmarks/results/<device>.json, .md and .png. With ``--only`` these parts are measured
anew, and the others stay; each says when it was measured, and is written as soon as it
is. On a GPU all is training and step; ``--sizes 64x48`` measures but that size.
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
OF_BOTH = {
    "evaluated_per_s": "evaluation, images/s",
    "peak_memory_mb": "peak memory, MB",
}
"""Figures of training.py, ours and those of stock MMPose's best number of workers."""
COLOURS = {"bare step": "#999999", "ours": "#0072B2", "stock MMPose": "#D55E00"}
"""Okabe and Ito's, which the colour-blind tell apart."""


def device_name() -> str:
    """Short name of the machine that trains, for a file."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        name = f"cpu-{len(os.sched_getaffinity(0))}-cores"
    return re.sub(r"\W+", "-", name.lower()).strip("-")


PARTS = ["training", "step", "memory", "downsample", "decode"]
OF_A_GPU = ["training", "step"]
"""The others measure processors alone."""
WITHOUT_PHOTOS = ("step", "memory", "decode")
PERSONS = {"64x48": 2048, "128x96": 1024, "256x192": 512}
"""In an epoch: so many that each size takes about as long."""


def networks() -> dict[str, list[str]]:
    """Arguments that choose a network and its batch, by what they are."""
    if not torch.cuda.is_available():
        return {"hrnet_micro, batch 32": ["--backbone", "hrnet_micro"]}
    return {
        f"{backbone}, batch 512": ["--backbone", backbone, "--batch-size", "512"]
        for backbone in ("hrnet_w32", "resnet18")
    }


def run_training(root: Path, sizes: list[str]) -> dict:
    """Figures of training.py by network and size.

    A GPU trains in bf16, MMPose too, and needs eight times as many persons.
    """
    on_gpu = torch.cuda.is_available()
    precision = "bf16" if on_gpu else "fp32"
    found: dict[str, dict] = {}
    for name, arguments in networks().items():
        by_size = found[f"{name}, {precision}"] = {}
        for size in sizes:
            extra = ["--sizes", size, "--schedule", f"precision={precision}"]
            persons = PERSONS[size] * (8 if on_gpu else 1)
            extra += ["--persons", str(persons)]
            by_size |= run("training.py", ["--root", str(root), *arguments, *extra])
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


def measure(root: Path | None, part: str, sizes: list[str]) -> dict:
    """Figures of a part, with its date and what it ran on.

    Args:
        root: of the photos, where the part needs any.
        sizes: of the training.
    """
    scripts = {
        "training": lambda: run_training(root, sizes),
        "step": lambda: {
            name: run("step.py", arguments) for name, arguments in networks().items()
        },
        "memory": lambda: run("freed_memory.py", []),
        "downsample": lambda: run("downsample.py", ["--root", str(root)]),
        "decode": lambda: run("decode.py", []),
    }
    machine = {
        "processor": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
    }
    photos = {} if part in WITHOUT_PHOTOS else {"photos": root.name}
    date = time.strftime("%Y-%m-%d")
    return {"date": date} | machine | photos | {"figures": scripts[part]()}


def render(device: str, found: dict) -> str:
    """Tables in Markdown."""
    lines = [f"# Speed on {device}", ""]
    tables = {
        "training": training,
        "step": stepping,
        "memory": remembering,
        "downsample": downsampling,
        "decode": decoding,
    }
    for part, measured in found.items():
        about = f"{measured['cores']} cores, torch {measured['torch']}"
        if "photos" in measured:
            about += f", photos of {measured['photos']}"
        command = f"`python benchmarks/run.py --only {part}`"
        lines += [f"## {part.capitalize()}", ""]
        lines += [f"{command}, {measured['date']}, {about}.", ""]
        lines += tables[part](measured["figures"])
    return "\n".join(lines).rstrip() + "\n"


def training(networks: dict) -> list[str]:
    """Training and evaluation beside stock MMPose, and the memory of both."""
    lines = []
    for name, sizes in networks.items():
        best = [part[stock_name(part)] for part in sizes.values()]
        rows = [
            [f"{column}, images/s", *_of(sizes, column, "images_per_s")]
            for column in next(iter(sizes.values()))
            if column != "ratios"
        ]
        for figure, label in OF_BOTH.items():
            rows.append([f"ours, {label}", *_of(sizes, "ours", figure)])
            rows.append([f"stock, {label}", *(f"{b[figure]:.0f}" for b in best)])
        for ratio in next(iter(sizes.values()))["ratios"]:
            rows.append([ratio, *_of(sizes, "ratios", ratio, ".2f")])
        rows[-1][1:] = [str(b["workers"]) for b in best]
        lines += [f"{name}; stock N: MMPose with N workers.", ""]
        lines += [*_table(["", *sizes], rows), ""]
    return lines


def stepping(networks: dict) -> list[str]:
    """Time of a training step with one setting changed, and of the first one."""
    lines = []
    for name, figures in networks.items():
        size = figures["size"]
        lines += [f"{name}, {size}; a whole training step.", ""]
        for method in (part for part in figures if part != "size"):
            usual = next(iter(figures[method].values()))["ms"]
            rows = [
                [variant, f"{found['ms'] / usual:.3f}", f"{found['first_s']:.1f}"]
                for variant, found in figures[method].items()
            ]
            columns = [method, "time, as a ratio to the first", "first step, s"]
            lines += [*_table(columns, rows), ""]
    return lines


def remembering(sizes: dict) -> list[str]:
    """Steps with freed memory kept beside those with it returned to the kernel."""
    ways = [(part["returned"], part["kept"]) for part in sizes.values()]
    rows = [
        ["time, kept / returned", *(f"{b['ms'] / a['ms']:.2f}" for a, b in ways)],
        ["peak memory, kept / returned"]
        + [f"{b['peak_mb'] / a['peak_mb']:.2f}" for a, b in ways],
    ]
    for name, place in (("returned", 0), ("kept", 1)):
        shares = [way[place]["kernel_share"] for way in ways]
        faults = [way[place]["page_faults"] for way in ways]
        rows.append([f"{name}: time in the kernel", *(f"{s:.0%}" for s in shares)])
        rows.append([f"{name}: page faults a step", *(f"{f:.0f}" for f in faults)])
    about = "HRNet-micro, batch 32; bare steps, freed memory kept (stages/memory.py)"
    lines = [f"{about} or returned.", ""]
    return [*lines, *_table(["", *sizes], rows), ""]


def downsampling(found: dict) -> list[str]:
    """Throughput as a ratio to decoding the photos alone, also by PIL, and memory."""
    speeds, peaks = found["throughput"], found["peak_mb"]
    names = list(next(iter(speeds.values())))
    rows = [[name, *_of(speeds, name, "ratio", ".2f")] for name in names]
    pil = "decoding alone, PIL"
    for name in names[names.index(pil) + 1 :]:
        parts = speeds.values()
        ratios = (part[name]["ratio"] / part[pil]["ratio"] for part in parts)
        rows.append([f"{name}, as a ratio to PIL", *(f"{r:.2f}" for r in ratios)])
    memory = [
        [f"{persons} persons", *(f"{mb:.0f}" for mb in peak.values())]
        for persons, peak in peaks.items()
    ]
    columns = ["peak memory, MB", *next(iter(peaks.values()))]
    throughput = _table(["photos/s, as a ratio", *speeds], rows)
    return [*throughput, "", *_table(columns, memory), ""]


def decoding(found: dict) -> list[str]:
    """Time of each decoder as a ratio to one argmax pass."""
    sizes = found["milliseconds"]
    rows = [
        [name, *(f"{part[name] / part['bare argmax']:.2f}" for part in sizes.values())]
        for name in next(iter(sizes.values()))
    ]
    return [*_table(["time, as a ratio to one argmax pass", *sizes], rows), ""]


def stock_name(part: dict) -> str:
    """Which number of workers was best for stock MMPose."""
    stock = [name for name in part if name.startswith("stock")]
    return max(stock, key=lambda name: part[name]["images_per_s"])


def _of(sizes: dict, column: str, figure: str, form: str = ".0f") -> list[str]:
    return [format(part[column][figure], form) for part in sizes.values()]


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    rule = "|" + " :-- |" + " --: |" * (len(columns) - 1)
    return [_row(columns), rule, *map(_row, rows)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plot(found: dict, path: Path) -> None:
    """Bars of images per second by size, one panel per network."""
    runs = found["training"]["figures"]
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
    return part[stock_name(part)]["images_per_s"]


def main() -> None:
    """Measure, and write the figures, the tables and the plot."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    add = parser.add_argument
    add("--root", type=Path, help="folder in COCO format")
    usual = OF_A_GPU if torch.cuda.is_available() else PARTS
    add("--only", nargs="+", choices=PARTS, default=usual, help="parts to measure")
    add("--sizes", nargs="+", choices=PERSONS, default=list(PERSONS), help="to train")
    arguments = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{device_name()}.json"
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root and arguments.root.resolve()
        if not root and set(arguments.only) - set(WITHOUT_PHOTOS):
            root = synthetic_folder(Path(folder))
        for part in arguments.only:
            add_part(path, part, measure(root, part, arguments.sizes))
    print(f"{path} and what is drawn from it")


def add_part(path: Path, part: str, measured: dict) -> None:
    """Write a part's figures beside those of the others, and what is drawn from all."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known[part] = measured
    found = {name: known[name] for name in PARTS if name in known}
    write_json(path, found)
    with new_file(path.with_suffix(".md")) as handle:
        handle.write(render(path.stem, found))
    if "training" in found:
        plot(found, path.with_suffix(".png"))


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
