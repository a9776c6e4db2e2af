"""Decode and hash every photo of a split, in parallel, with constant memory."""

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from joblib import Parallel, delayed
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from stages.prepare.findings import shown

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
"""What may be opened: pixels only, no format that runs a program (EPS)."""
CHUNK = 32
"""Photos per task."""
ORIENTATION = 0x0112
"""EXIF tag; anything but 1 asks viewers to turn the picture."""


@dataclass(frozen=True)
class Photo:
    """Result for one photo: its hash, or what is wrong with it.

    Attributes:
        sha256: of the file's bytes, in hex; empty where there is a fault.
        turned: whether EXIF asks to turn it, which COCO (and this suite) ignores.
        fault: kind and message, or None.
    """

    sha256: str = ""
    turned: bool = False
    fault: tuple[str, str] | None = None


def check_photos(
    images: list[dict], root: Path, jobs: int, split: str
) -> Iterator[Photo]:
    """Give the result for each image entry, in order.

    Threads suffice: reading, hashing and decoding all release Python's lock.
    """
    real_root = os.path.realpath(root)
    # return_as="generator" keeps joblib from collecting; it reads ahead a few chunks.
    results = Parallel(
        n_jobs=jobs, prefer="threads", batch_size=CHUNK, return_as="generator"
    )(
        delayed(check_photo)(
            real_root, image["file_name"], (image["width"], image["height"])
        )
        for image in images
    )
    quiet = True if "CI" in os.environ else None
    yield from tqdm(
        results, f"{split}: photos", len(images), unit="photo", disable=quiet
    )


def check_photo(root: str, name: str, size: tuple[int, int]) -> Photo:
    """Read one photo once: hash its bytes and decode all of them.

    Args:
        root: real path of the folder that the photo must lie in.
        name: path below it, as the annotations have it.
        size: width and height in px that the annotations state.
    """
    try:
        path = os.path.realpath(os.path.join(root, name))
        inside = os.path.commonpath([root, path]) == root
        missing = not os.path.isfile(path)
    except ValueError as error:  # a null byte or a lone surrogate in the name
        return _faulty("missing photo", f"has no possible file name: {error}", name)
    if not inside:
        message = "leaves that folder (absolute name, .. or a link)"
        return _faulty("photo outside the folder", message, name, root)
    if missing:
        return _faulty("missing photo", "is missing: no such file", name, root)
    try:
        data = Path(path).read_bytes()
        actual, turned = _decode(data)
    except UnidentifiedImageError:
        message = f"is none of {', '.join(FORMATS)}"
        return _faulty("unreadable photo", message, name, root)
    except Exception as error:  # PIL raises OSError, SyntaxError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        return _faulty("unreadable photo", f"cannot be decoded: {reason}", name, root)
    if actual != size:
        message = f"has {_size(actual)} px, but the annotations say {_size(size)}"
        if turned:
            message += (
                "; its EXIF orientation is ignored, as COCO does: turn the "
                "pixels and remove the tag"
            )
        return _faulty("photo of another size", message, name, root)
    return Photo(hashlib.sha256(data).hexdigest(), turned)


def _decode(data: bytes) -> tuple[tuple[int, int], bool]:
    """Width and height in px as stored, and whether EXIF asks to turn the photo.

    Raises whatever PIL raises for a file that is damaged or cut off.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        size = image.size
        turned = False
        if "exif" in image.info:
            with contextlib.suppress(Exception):  # damaged EXIF says nothing
                turned = image.getexif().get(ORIENTATION, 1) != 1
        # JPEG: all bits are still read, but only 1/8 of the pixels computed.
        image.draft(image.mode, (1, 1))
        image.load()
    return size, turned


def _faulty(kind: str, message: str, name: str, root: str | None = None) -> Photo:
    where = f" in {root}" if root else ""
    return Photo(fault=(kind, f"photo {shown(name)}{where} {message}"))


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
