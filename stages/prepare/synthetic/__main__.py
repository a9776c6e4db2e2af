"""A contact sheet of the synthetic people, to look at what a setting does.

python -m stages.prepare.synthetic --sheet people.png [--split val] [--first 40]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import yaml

from plugins.datasets.keypoint_sets import COCO17
from stages.files import StageError, run_stage

from . import SPLITS, render

SETTINGS = Path("conf/data/synthetic.yaml")
CROP = (192, 256)
"""Width and height of every crop, px."""
GRID = (10, 4)
"""Columns of the sheet, and pairs of rows: crops, then the same with keypoints."""
PADDING = 1.25
COLOURS = {1: (255, 70, 40), 2: (60, 220, 90)}
"""RGB of hidden and of visible keypoints."""


def main() -> None:
    """Draw the sheet that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sheet", type=Path, required=True, help="PNG to write")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--first", type=int, default=0, help="index of the first image")
    options = parser.parse_args()
    picture = sheet(yaml.safe_load(SETTINGS.read_text()), options.split, options.first)
    if not cv2.imwrite(str(options.sheet), picture[..., ::-1]):
        raise StageError(f"{options.sheet}: not written; give an existing folder, .png")


def sheet(settings: dict, split: str, first: int) -> np.ndarray:
    """RGB picture (h, w, 3) uint8 of people's crops, plain and with keypoints."""
    columns, rows = GRID
    plain, drawn, index = [], [], first
    while len(plain) < columns * rows:
        image, people = render(settings, split, index)
        for person in people:
            cropped, keypoints = _crop(image, person)
            plain.append(cropped)
            drawn.append(_draw(cropped.copy(), keypoints))
        index += 1
    strips = []
    for row in range(rows):
        part = slice(row * columns, (row + 1) * columns)
        strips += [np.hstack(plain[part]), np.hstack(drawn[part])]
    return np.vstack(strips)


def _crop(image: np.ndarray, person: dict) -> tuple[np.ndarray, np.ndarray]:
    """The padded box brought to ``CROP`` px, and keypoints (17, 3) in it."""
    left, top, wide, tall = person["bbox"]
    scale = 1 / (PADDING * max(wide / CROP[0], tall / CROP[1]))
    middle = np.array([left + (wide - 1) / 2, top + (tall - 1) / 2])
    shift = (np.array(CROP) - 1) / 2 - scale * middle
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    keypoints = np.array(person["keypoints"], dtype=float).reshape(-1, 3)
    keypoints[:, :2] = keypoints[:, :2] * scale + shift
    return cv2.warpAffine(image, affine, CROP, flags=cv2.INTER_AREA), keypoints


def _draw(image: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Draw limbs and keypoints (17, 3) into an RGB image."""
    places = [tuple(int(v) for v in np.rint(point)) for point in keypoints[:, :2]]
    labelled = keypoints[:, 2] > 0
    for one, other in COCO17.skeleton:
        if labelled[one] and labelled[other]:
            cv2.line(image, places[one], places[other], (240, 240, 60), 1, cv2.LINE_AA)
    for place, visible in zip(places, keypoints[:, 2], strict=True):
        if visible:
            cv2.circle(image, place, 2, COLOURS[int(visible)], -1, cv2.LINE_AA)
    return image


if __name__ == "__main__":
    run_stage(main)
