"""Bring the parts of a public dataset into its folder: those that are not there yet."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from stages.files import StageError
from stages.prepare.public.download import digest, download
from stages.prepare.public.unpack import BrokenArchive, unpack

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")


def fetch_parts(settings: dict) -> Path:
    """Bring what is missing of a dataset into ``settings["root"]``; gives that folder.

    A part is there once all that it ``gives`` is, for that appears by renaming: what is
    there is never fetched again, wherever it came from, and nothing is written where
    nothing is missing.

    Args:
        settings: with ``download``, as in conf/data/coco.yaml.

    Raises:
        StageError: a part cannot be had, or is not what was expected.
    """
    source, root = settings["source"], settings.get("root")
    if not isinstance(root, str) or not root:
        raise StageError(f"{source}: no root is set; expected a folder for the data")
    root, mirror = Path(root), settings["download"]["mirror"]
    parts = settings["download"]["parts"]
    missing = [part for part in parts if not _is_there(root, part)]
    if missing:
        _refuse_repository(root)
        with _only_one(root):
            for part in missing:
                if not _is_there(root, part):  # another process may have brought it
                    _bring(part, mirror, root)
    return root


def _is_there(root: Path, part: dict) -> bool:
    layouts = (part["gives"], part.get("instead", part["gives"]))
    return any(all((root / name).exists() for name in names) for names in layouts)


def _bring(part: dict, mirror: str | None, root: Path) -> None:
    """Fetch a part, check it, and put what it gives into its place."""
    file = _find_or_download(part, mirror, root)
    if file is None:
        return
    own = file.parent == root
    with _scratch(root / f".{file.name}.partial") as aside:
        if file.name.endswith(ARCHIVES):
            try:
                unpack(file, aside, part["largest"])
            except BrokenArchive as error:
                if own:
                    file.unlink()
                    error.args = (f"{error}; it was removed: run it again",)
                raise
        else:
            shutil.copyfile(file, aside / file.name)
        found = {name: _inside(aside, name, file) for name in part["gives"]}
        os.sync()  # once: their bytes are on disk before their names are
        for name, path in found.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if not (root / name).exists():
                os.replace(path, root / name)
    if own:
        file.unlink()


def _find_or_download(part: dict, mirror: str | None, root: Path) -> Path | None:
    """The part's file, checked; None where it is optional and nowhere to be had."""
    name, checksum, url = part["file"], part["checksum"], part["url"]
    places = [root / name]
    if mirror and mirror.startswith(("http://", "https://")):
        url = f"{mirror.rstrip('/')}/{name}"
    elif mirror:
        url = None
        places.append(Path(mirror) / name)
    for path in places:
        if path.is_file():
            if (found := digest(path, checksum)) != checksum:
                raise StageError(f"{path}: has {found}, expected {checksum}: remove it")
            return path
    if url is not None:
        download(url, root / name, checksum)
        return root / name
    if part.get("optional"):
        return None
    raise StageError(
        f"{root}: {', '.join(part['gives'])} is missing, and {name} is in none of "
        f"{', '.join(str(path.parent) for path in places)}: put it there, or name a "
        "folder or URL that has it (data.download.mirror)"
    )


def _inside(aside: Path, name: str, archive: Path) -> Path:
    """What an archive gives: at its top, or in the only folder that is there."""
    top = list(aside.iterdir())
    starts = [aside, *(top if len(top) == 1 else [])]
    places = [start / part for start in starts for part in (name, Path(name).name)]
    for path in places:
        if path.exists():
            return path
    held = ", ".join(sorted(path.name for path in top)[:5])
    raise StageError(f"{archive}: expected {name} in it; it holds {held or 'nothing'}")


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards; what a killed run left in it too."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_repository(root: Path) -> None:
    """Gigabytes of photos do not belong among files that git knows."""
    here = Path.cwd().resolve()
    place = root.resolve()
    if place.is_relative_to(here) and not place.is_relative_to(here / "data"):
        raise StageError(
            f"data.root={root}: lies among the repository's files; expected a folder "
            "outside of it to download into"
        )


@contextlib.contextmanager
def _only_one(root: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel lets go of it however the process ends.

    Raises:
        StageError: another process downloads into it, or it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with open(root / ".download.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError:
        raise StageError(
            f"{root}: another process is fetching into it; wait for it or end it"
        ) from None
    except OSError as error:
        raise StageError(f"{root}: {error.strerror}: {error.filename}") from None
