"""Unpack archives that nobody has checked: plain files below one folder, bounded."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from stages.files import StageError
from stages.prepare.findings import shown
from stages.prepare.public.download import progress, refuse_full_disk

MOST_FILES = 1_000_000
CHUNK = 1 << 20
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that Python does not know
    RuntimeError,  # encrypted
)
"""What the libraries raise for archives that are damaged or of another kind."""


class BrokenArchive(StageError):
    """Damaged or cut off: fetching it anew may help."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        name: its path, as the archive has it.
        size: in bytes, unpacked; the libraries give no more than this.
        kind: ``file``, ``folder``, or what else it is.
        content: to read from; None unless it is a file.
    """

    name: str
    size: int
    kind: str
    content: IO[bytes] | None = None


def unpack(archive: Path, folder: Path, largest: int) -> None:
    """Unpack a zip or tar archive into an empty folder.

    Args:
        largest: bytes that the files may have together.

    Raises:
        BrokenArchive: it cannot be read to its end.
        StageError: an entry leaves the folder, or is a link; it unpacks
            to more than ``largest`` bytes; the disk is full.
    """
    members = _zip_members if archive.suffix == ".zip" else _tar_members
    written = count = 0
    try:
        with progress(f"unpacking {archive.name}", None) as bar:
            for member in members(archive, folder):
                count += member.kind == "file"
                written += member.size
                path = _place(archive, member, folder)
                if written > largest or count > MOST_FILES:
                    raise StageError(
                        f"{archive}: unpacks to more than {largest:,} bytes or "
                        f"{MOST_FILES:,} files, which this dataset does not have"
                    )
                _write(member, path, bar)
    except BROKEN as error:
        raise BrokenArchive(f"{archive}: broken or cut off ({error})") from None
    except OSError as error:
        reason = error.strerror or error
        raise StageError(f"{archive}: cannot be unpacked: {reason}") from None


def _zip_members(path: Path, folder: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        refuse_full_disk(folder, sum(entry.file_size for entry in entries))
        for entry in entries:
            mode = stat.S_IFMT(entry.external_attr >> 16)
            if stat.S_ISLNK(mode):
                yield Member(entry.filename, 0, "link")
            elif entry.is_dir():
                yield Member(entry.filename, 0, "folder")
            elif mode in (0, stat.S_IFREG):
                with archive.open(entry) as content:
                    yield Member(entry.filename, entry.file_size, "file", content)
            else:
                yield Member(entry.filename, 0, "special file")


def _tar_members(path: Path, folder: Path) -> Iterator[Member]:
    with tarfile.open(path) as archive:
        for entry in archive:
            if entry.issym() or entry.islnk():
                yield Member(entry.name, 0, "link")
            elif entry.isdir():
                yield Member(entry.name, 0, "folder")
            elif entry.isreg():
                with archive.extractfile(entry) as content:
                    yield Member(entry.name, entry.size, "file", content)
            else:
                yield Member(entry.name, 0, "special file")


def _place(archive: Path, member: Member, folder: Path) -> Path:
    """Where an entry goes, if it may go anywhere."""
    name = PurePosixPath(member.name)
    if member.kind not in ("file", "folder"):
        raise StageError(
            f"{archive}: {shown(member.name)} is a {member.kind}; expected files and "
            "folders alone, so nothing of it is used"
        )
    strange = "\\" in member.name or "\0" in member.name or ":" in member.name
    if name.is_absolute() or ".." in name.parts or strange:
        raise StageError(
            f"{archive}: {shown(member.name)} leaves the folder that it is unpacked "
            "into, so nothing of it is used"
        )
    return folder / name


def _write(member: Member, path: Path, bar: tqdm) -> None:
    if member.content is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # "x": two entries of one name are no archive to trust.
    with open(path, "xb") as handle:
        written = 0
        while chunk := member.content.read(CHUNK):
            handle.write(chunk)
            written += len(chunk)
            bar.update(len(chunk))
        if written != member.size:
            raise EOFError(f"{shown(member.name)} ends after {written:,} bytes")
