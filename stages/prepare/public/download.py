"""Download one file over HTTP: resumed where it stopped, whole and checked or not.

The bytes so far are kept in ``<name>.part``, whatever ends the download: a kill, a
dropped connection, a full disk. ``<name>.part.version`` says of which version of the
remote file they are (RFC 9110, If-Range), so that no two versions are joined.
"""

import contextlib
import hashlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from stages.files import StageError

ATTEMPTS = 5
"""Connections in a row that bring nothing, before giving up."""
PAUSE = 1.0
"""Seconds before the second of them; doubled each time."""
TIMEOUT = (15, 60)
"""Seconds to wait for a connection, and for bytes."""
CHUNK = 1 << 20
LATER = {408, 425, 429, 500, 502, 503, 504}
"""Answers of a server that may answer otherwise in a moment."""


class _Interrupted(Exception):
    """The connection ended before the file did; the next one may go on."""


def download(url: str, path: Path, checksum: str | None) -> None:
    """Download a file to ``path``, which appears once it is whole and checked.

    Args:
        checksum: such as ``md5:<hex digits>``; None: only the length is checked.

    Raises:
        StageError: it cannot be had, is not what was expected, or the disk is full.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        _bring_all(url, part)
        found = digest(part, checksum)
        if found == checksum:
            os.replace(part, path)
            _version_file(part).unlink(missing_ok=True)
            return
        # Nobody can say which bytes are wrong: from the start, once.
        _discard(part)
        print(f"{url}: {found}, expected {checksum}", file=sys.stderr)
    raise StageError(
        f"{url}: its content has {found}, expected {checksum}, twice: it was removed. "
        "If the file was really replaced, set its new checksum in conf/data"
    )


def digest(path: Path, like: str | None) -> str | None:
    """Checksum of a file by the algorithm that ``like`` names.

    Raises:
        StageError: there is no such algorithm.
    """
    if like is None:
        return None
    algorithm = like.partition(":")[0]
    if algorithm not in hashlib.algorithms_guaranteed:
        raise StageError(f"checksum {like!r}: expected such as sha256:<hex digits>")
    with open(path, "rb") as handle:
        return f"{algorithm}:{hashlib.file_digest(handle, algorithm).hexdigest()}"


def _bring_all(url: str, part: Path) -> None:
    """Connect until ``part`` is whole."""
    idle = 0
    while True:
        before = _size(part)
        try:
            return _bring(url, part)
        except (requests.RequestException, HTTPError, _Interrupted) as error:
            idle = idle + 1 if _size(part) <= before else 0
            if idle >= ATTEMPTS:
                raise StageError(
                    f"{url}: {error}; {_size(part):,} bytes are kept in {part}: run it "
                    "again to go on, or name a mirror (data.download.mirror)"
                ) from None
            print(f"{url}: {error}; going on", file=sys.stderr)
        time.sleep(PAUSE * 2 ** max(idle - 1, 0))


def _bring(url: str, part: Path) -> None:
    """One connection: write what it brings behind what is there.

    Raises:
        _Interrupted, requests.RequestException, HTTPError: it ended too early.
        StageError: the server refuses, or the disk is full.
    """
    start = _size(part)
    # Bytes as they are stored: ranges of compressed ones would not join.
    headers = {"Accept-Encoding": "identity"}
    version = _read_version(part)
    if start:
        headers["Range"] = f"bytes={start}-"
        headers |= {"If-Range": version} if version else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:
            if _content_range(answer)[1] == start:
                return
            _discard(part)
            raise _Interrupted("other bytes were there than the server has")
        if answer.status_code in LATER:
            raise _Interrupted(f"the server answers {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise StageError(
                f"{url}: the server answers {answer.status_code} {answer.reason}; name "
                "a mirror (data.download.mirror), or put the data into data.root"
            )
        if answer.status_code == 206 and _content_range(answer)[0] != start:
            raise _Interrupted("the server sent another range than was asked for")
        if answer.status_code == 206 and _version(answer) != version:
            _discard(part)
            raise _Interrupted("the file on the server has changed")
        start = start if answer.status_code == 206 else 0
        _write(answer, part, start)


def _write(answer: requests.Response, part: Path, start: int) -> None:
    """Write an answer's body from ``start`` on."""
    length = answer.headers.get("Content-Length")
    whole = start + int(length) if length and length.isdigit() else None
    try:
        if whole is not None:
            refuse_full_disk(part, whole - start)
        with open(part, "r+b" if start else "wb") as handle:
            _version_file(part).write_text(_version(answer) or "")
            handle.seek(start)
            with progress(part.stem, whole, start) as bar:
                # iter_content would hold back, and at an error lose, part of a chunk.
                while chunk := answer.raw.read1(CHUNK):
                    handle.write(chunk)
                    bar.update(len(chunk))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise StageError(
            f"{part}: {error.strerror}: {_size(part):,} bytes are kept; make room and "
            "run it again: it goes on"
        ) from None
    if whole is not None and _size(part) != whole:
        raise _Interrupted(f"{_size(part):,} of {whole:,} bytes came")


def progress(name: str, whole: int | None, start: int = 0) -> tqdm:
    """A bar of bytes; quiet in CI and where nobody watches."""
    quiet = True if "CI" in os.environ else None
    return tqdm(
        desc=name, total=whole, initial=start, unit="B", unit_scale=True, disable=quiet
    )


def refuse_full_disk(path: Path, needed: int) -> None:
    """Say it before the first byte, not after hours.

    Raises:
        StageError: the disk has no room for so many bytes.
    """
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise StageError(
            f"{path}: {needed / 1e9:.3f} GB needed and {free / 1e9:.3f} GB free; make "
            "room and run it again: it goes on"
        )


def _content_range(answer: requests.Response) -> tuple[int | None, int | None]:
    """First byte and whole length of ``Content-Range: bytes 5-9/10`` or ``*/10``."""
    stated = answer.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", stated.strip())
    if not match:
        return None, None
    first, whole = match.groups()
    return int(first) if first else None, int(whole) if whole.isdigit() else None


def _version(answer: requests.Response) -> str | None:
    """What ``If-Range`` may name: a strong ETag, else the date of the last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag.startswith('"') else answer.headers.get("Last-Modified")


def _read_version(part: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return _version_file(part).read_text() or None
    return None


def _version_file(part: Path) -> Path:
    return part.with_name(part.name + ".version")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
