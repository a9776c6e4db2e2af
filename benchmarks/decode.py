"""Decoding speed beside one bare argmax pass and beside MMPose's decoders.

One thread, batches of 64 persons with 17 keypoints, noisy heatmaps. Every figure is the
fastest of many repetitions, taken in turns, so that other work on the machine disturbs
all alike: .venv/bin/python benchmarks/decode.py --out decode.json
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from plugins import mmpose_compat

mmpose_compat.install()

import torch  # noqa: E402
from mmpose.codecs import MSRAHeatmap, UDPHeatmap  # noqa: E402

from plugins.codecs import build_codec  # noqa: E402
from plugins.codecs.common.peaks import argmax  # noqa: E402
from plugins.sizes import heatmap_size, parse_size  # noqa: E402

SIZES = ("64x48", "128x96", "256x192")
CODECS = ("argmax", "msra", "dark", "udp", "quadfit", "udp_offset", "cal")
PERSONS, KEYPOINTS, NOISE = 64, 17, 0.05


def noisy_outputs(name: str, size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Targets of uniform keypoints with noise, as a network would give them."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(PERSONS, KEYPOINTS, 2, generator=generator)
    codec = build_codec(name, size)
    keypoints = unit * (torch.tensor(size) - 1)
    target = codec.encode_batch(keypoints, torch.ones(PERSONS, KEYPOINTS))
    outputs = {k: v.float() for k, v in target.items() if k in ("heatmaps", "offsets")}
    noise = torch.rand(outputs["heatmaps"].shape, generator=generator)
    return outputs | {"heatmaps": outputs["heatmaps"] + NOISE * noise}


def ours(name: str, size: tuple[int, int]) -> Callable[[], object]:
    """One decode of the batch."""
    codec, outputs = build_codec(name, size), noisy_outputs(name, size)
    return lambda: codec.decode_batch(outputs)


def bare_argmax(size: tuple[int, int]) -> Callable[[], object]:
    """One argmax over every map: what any decoder has to do first."""
    maps = noisy_outputs("dark", size)["heatmaps"].flatten(-2)
    return lambda: maps.argmax(-1)


def our_argmax(size: tuple[int, int]) -> Callable[[], object]:
    """The pass that the codecs make in its place."""
    maps = noisy_outputs("dark", size)["heatmaps"].flatten(-2)
    return lambda: argmax(maps)


def mmpose(name: str, size: tuple[int, int]) -> Callable[[], object]:
    """MMPose's decoder, person by person as it works."""
    codec = build_codec("dark", size)
    settings = dict(sigma=codec.sigma, blur_kernel_size=codec.kernel)
    kind = {
        "msra": lambda: MSRAHeatmap(size, heatmap_size(size), **settings),
        "dark": lambda: MSRAHeatmap(
            size, heatmap_size(size), unbiased=True, **settings
        ),
        "udp": lambda: UDPHeatmap(size, heatmap_size(size), **settings),
    }
    decoder = kind[name]()
    maps = noisy_outputs("dark", size)["heatmaps"].numpy()
    return lambda: [decoder.decode(person.copy()) for person in maps]


def fastest(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Shortest time of each in milliseconds, taken in turns for so many seconds."""
    best = dict.fromkeys(runs, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            best[name] = min(best[name], 1000 * (time.perf_counter() - started))
    return best


def measure(size: str, seconds: float) -> dict[str, float]:
    """Milliseconds per batch of every decoder at one size."""
    pixels = parse_size(size)
    runs = {"bare argmax": bare_argmax(pixels), "argmax pass here": our_argmax(pixels)}
    runs |= {name: ours(name, pixels) for name in CODECS}
    times = fastest(runs, seconds)
    theirs = {
        f"mmpose {name}": mmpose(name, pixels) for name in ("msra", "dark", "udp")
    }
    return times | fastest(theirs, seconds)


def main() -> None:
    """Measure all sizes, print the ratios and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--seconds", type=float, default=4.0, help="per size and group")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        found = {size: measure(size, arguments.seconds) for size in SIZES}
    names = list(found[SIZES[0]])
    print(f"{'ratio to one bare argmax pass':30}" + "".join(f"{s:>12}" for s in SIZES))
    for name in names:
        row = "".join(f"{t[name] / t['bare argmax']:12.2f}" for t in found.values())
        print(f"{name:30}{row}")
    print("bare argmax, ms:", {s: round(t["bare argmax"], 3) for s, t in found.items()})
    if arguments.out:
        record = {"milliseconds": found, "torch": torch.__version__}
        record |= {"threads": 1, "persons": PERSONS, "machine": platform.machine()}
        arguments.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
