"""Downloads and archives: what fails on the way, and that the next run goes on."""

import hashlib
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from stages.files import StageError
from stages.prepare.public import download as module
from stages.prepare.public.download import download
from stages.prepare.public.parts import fetch_parts
from stages.prepare.public.unpack import unpack
from tests.file_server import Behaviour, FileServer

CONTENT = np.random.default_rng(0).bytes(200_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)


@pytest.fixture
def server():
    with FileServer({"a.bin": CONTENT}) as started:
        yield started


def fetch(server: FileServer, folder: Path, checksum: str | None = MD5) -> Path:
    path = folder / "a.bin"
    download(f"{server.url}/a.bin", path, checksum)
    return path


def test_a_whole_file_arrives_alone(server, tmp_path):
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert server.ranges == [None]


def test_a_dropped_connection_goes_on_where_it_was(server, tmp_path):
    server.behaviour.drop_after = [50_000, 0, 70_000]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=50000-", "bytes=50000-", "bytes=120000-"]


def test_a_server_without_ranges_starts_again(server, tmp_path):
    server.behaviour.ranges = False
    server.behaviour.drop_after = [50_000]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=50000-"]


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.behaviour.statuses = [503, 500]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_what_a_server_does_not_have_is_said_at_once(server, tmp_path):
    with pytest.raises(StageError, match="answers 404 Not Found; name a mirror"):
        download(f"{server.url}/b.bin", tmp_path / "b.bin", None)
    assert len(server.ranges) == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_are_fetched_once_more(server, tmp_path):
    server.behaviour.change = [lambda content: content[:-1] + b"?"]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, None]


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(StageError, match=f"has {MD5}, expected md5:0, twice"):
        fetch(server, tmp_path, "md5:0")
    assert list(tmp_path.iterdir()) == []


def test_no_two_versions_of_a_file_are_joined(server, tmp_path):
    """The second connection finds another file there: all of that one comes."""
    old = np.random.default_rng(1).bytes(len(CONTENT))
    server.behaviour.change = [lambda _: old]
    server.behaviour.drop_after = [50_000]
    assert fetch(server, tmp_path, checksum=None).read_bytes() == CONTENT


def test_what_was_whole_but_not_renamed_is_taken(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT)
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=200000-"]


def test_more_than_the_server_has_is_thrown_away(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"more")
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_giving_up_keeps_what_came(server, tmp_path):
    server.behaviour.drop_after = [50_000] + [0] * 20
    with pytest.raises(StageError, match="50,000 bytes are kept in .*a.bin.part"):
        fetch(server, tmp_path)
    server.behaviour = Behaviour()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=50000-"]


def test_nobody_there(tmp_path):
    with pytest.raises(StageError, match="127.0.0.1.*0 bytes are kept"):
        download("http://127.0.0.1:9/a.bin", tmp_path / "a.bin", None)


KILLED = """
import sys
from pathlib import Path
from stages.prepare.public.download import download
download(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
"""


def test_a_killed_download_goes_on(server, tmp_path):
    """SIGKILL in the middle of a body; the next run asks for the rest alone."""
    server.behaviour.pace = lambda: time.sleep(0.05)
    path = tmp_path / "a.bin"
    command = [sys.executable, "-c", KILLED, f"{server.url}/a.bin", str(path), MD5]
    process = subprocess.Popen(command)
    part = tmp_path / "a.bin.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT) and not path.exists()
    server.behaviour = Behaviour()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={kept}-"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount).returncode:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("announced", [True, False])
def test_a_full_disk_is_said_and_the_next_run_goes_on(
    server, small_disk, monkeypatch, announced
):
    """Before the first byte where the length is known, else when it is full."""
    if not announced:
        monkeypatch.setattr(module, "refuse_full_disk", lambda *_: None)
    with pytest.raises(StageError, match="make room and run it again: it goes on"):
        fetch(server, small_disk)
    assert not (small_disk / "a.bin").exists()
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    assert fetch(server, small_disk).read_bytes() == CONTENT
    assert (server.ranges[-1] is None) == announced


def zip_of(path: Path, entries: dict[str, bytes], links: dict[str, str] | None = None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(entry, target)
    return path


def tar_of(path: Path, entries: dict[str, bytes], links: dict[str, str] | None = None):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return path


MAKERS = {"a.zip": zip_of, "a.tar.gz": tar_of}


@pytest.fixture(params=MAKERS)
def pack(request, tmp_path):
    """Write an archive of one kind; gives its path."""

    def make(entries: dict, links: dict | None = None) -> Path:
        return MAKERS[request.param](tmp_path / request.param, entries, links)

    return make


@pytest.fixture
def target(tmp_path) -> Path:
    folder = tmp_path / "deep" / "target"
    folder.mkdir(parents=True)
    return folder


def test_an_archive_is_unpacked(pack, target):
    unpack(pack({"images/1.jpg": CONTENT, "a/b/c.txt": b""}), target, 10**6)
    assert (target / "images/1.jpg").read_bytes() == CONTENT
    assert (target / "a/b/c.txt").read_bytes() == b""


ESCAPES = ["../x", "a/../../x", "/x", "..", "a\\..\\x", "C:x"]


@pytest.mark.parametrize("name", ESCAPES)
def test_no_entry_leaves_the_folder(pack, target, name):
    with pytest.raises(StageError, match="leaves the folder"):
        unpack(pack({"good": b"1", name: b"2"}), target, 10**6)
    assert not [p for p in target.parent.parent.rglob("x")]


@pytest.mark.parametrize("to", ["/etc/passwd", "good", ".."])
def test_links_are_refused(pack, target, to):
    with pytest.raises(StageError, match="'link' is a link; expected files"):
        unpack(pack({"good": b"1"}, {"link": to}), target, 10**6)
    assert not (target / "link").is_symlink()


def test_an_archive_that_grows_too_large_is_refused(pack, target):
    with pytest.raises(StageError, match="unpacks to more than 1,000,000 bytes"):
        unpack(pack({"a": bytes(900_000), "b": bytes(900_000)}), target, 10**6)
    assert not (target / "b").exists()


def test_two_entries_of_one_name_are_refused(target, tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for content in (b"1", b"2"):
            entry = tarfile.TarInfo("same")
            entry.size = 1
            archive.addfile(entry, io.BytesIO(content))
    with pytest.raises(StageError, match="cannot be unpacked: File exists"):
        unpack(path, target, 10**6)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_a_cut_archive_is_broken(pack, target, share):
    path = pack({"1.jpg": CONTENT, "2.jpg": CONTENT[::-1]})
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(StageError, match="broken or cut off"):
        unpack(path, target, 10**6)


def test_damaged_content_is_noticed(target, tmp_path):
    path = zip_of(tmp_path / "a.zip", {"1.jpg": CONTENT})
    damaged = bytearray(path.read_bytes())
    damaged[1000] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(StageError, match="broken or cut off"):
        unpack(path, target, 10**6)


def settings(root: Path, mirror: str | Path | None, **part: object) -> dict:
    """One part: a.zip with the folder ``images`` and the file ``joints.mat``."""
    usual = {"file": "a.zip", "url": None, "checksum": None, "largest": 10**6}
    usual |= {"gives": ["images", "joints.mat"]}
    download = {"mirror": mirror and str(mirror), "parts": [usual | part]}
    return {"source": "x", "root": str(root), "download": download}


@pytest.fixture
def mirror(tmp_path) -> Path:
    """A folder with a.zip, all of it below one folder."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    zip_of(folder / "a.zip", {"top/images/1.jpg": CONTENT, "top/joints.mat": b"m"})
    return folder


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


WHOLE = {"images", "images/1.jpg", "joints.mat", ".download.lock"}


def test_a_part_comes_from_a_folder_which_keeps_it(mirror, tmp_path):
    assert fetch_parts(settings(tmp_path / "d", mirror)) == tmp_path / "d"
    assert names(tmp_path / "d") == WHOLE
    assert (mirror / "a.zip").exists()


def test_a_part_comes_from_a_mirror_and_is_not_fetched_again(mirror, tmp_path):
    content = (mirror / "a.zip").read_bytes()
    with FileServer({"a.zip": content}) as server:
        given = settings(tmp_path / "d", server.url + "/", url="http://127.0.0.1:9/x")
        fetch_parts(given)
        fetch_parts(given)
        assert len(server.ranges) == 1
    assert names(tmp_path / "d") == WHOLE
    fetch_parts(settings(tmp_path / "d", None))  # nobody is asked


def test_what_is_there_is_left_alone(mirror, tmp_path):
    (tmp_path / "d/images").mkdir(parents=True)
    (tmp_path / "d/images/own.jpg").write_text("own")
    fetch_parts(settings(tmp_path / "d", mirror))
    assert names(tmp_path / "d") == WHOLE - {"images/1.jpg"} | {"images/own.jpg"}


def test_a_complete_folder_is_not_written_to(tmp_path):
    for name in ("annot/train.json",):
        (tmp_path / "d" / name).parent.mkdir(parents=True)
        (tmp_path / "d" / name).write_text("[]")
    fetch_parts(settings(tmp_path / "d", None, instead=["annot/train.json"]))
    assert names(tmp_path / "d") == {"annot", "annot/train.json"}


def test_a_broken_download_leaves_nothing_and_the_next_run_goes_on(mirror, tmp_path):
    """Of a truncated zip whose checksum nobody knows."""
    content = (mirror / "a.zip").read_bytes()
    with FileServer({"a.zip": content[:-100]}) as server:
        given = settings(tmp_path / "d", server.url)
        with pytest.raises(StageError, match="a.zip: broken .* removed: run it again"):
            fetch_parts(given)
        assert names(tmp_path / "d") == {".download.lock"}
        server.files["a.zip"] = content
        fetch_parts(given)
    assert names(tmp_path / "d") == WHOLE


@pytest.mark.parametrize("bad", ["../x", "link"])
def test_a_bad_archive_gives_nothing(mirror, tmp_path, bad):
    entries, links = {"images/1": b"", "joints.mat": b""}, {}
    if bad == "link":
        links[bad] = "images"
    else:
        entries[bad] = b""
    zip_of(mirror / "a.zip", entries, links)
    with pytest.raises(StageError, match="so nothing of it is used"):
        fetch_parts(settings(tmp_path / "d", mirror))
    assert names(tmp_path / "d") == {".download.lock"}


@pytest.mark.parametrize("name", MAKERS)
def test_a_disk_that_fills_while_unpacking(small_disk, tmp_path, name):
    """Of a zip the sizes are known before, of a compressed tar they are not."""
    MAKERS[name](tmp_path / name, {"images/1.jpg": CONTENT, "joints.mat": b"m"})
    given = settings(small_disk / "d", tmp_path, file=name)
    with pytest.raises(StageError, match="make room|No space left on device"):
        fetch_parts(given)
    assert names(small_disk / "d") == {".download.lock"}
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    fetch_parts(given)
    assert names(small_disk / "d") == WHOLE


def test_a_file_of_another_checksum_is_not_used(mirror, tmp_path):
    with pytest.raises(StageError, match="mirror/a.zip: has md5:.*, expected md5:0"):
        fetch_parts(settings(tmp_path / "d", mirror, checksum="md5:0"))


def test_an_archive_of_something_else_is_named(mirror, tmp_path):
    with pytest.raises(StageError, match="expected photos in it; it holds top"):
        fetch_parts(settings(tmp_path / "d", mirror, gives=["photos"]))


def test_a_plain_file_is_a_part_too(mirror, tmp_path):
    (mirror / "boxes.json").write_text("[]")
    part = {"file": "boxes.json", "gives": ["person/boxes.json"], "optional": True}
    fetch_parts(settings(tmp_path / "d", mirror, **part))
    assert (tmp_path / "d/person/boxes.json").read_text() == "[]"
    (mirror / "boxes.json").unlink()
    fetch_parts(settings(tmp_path / "e", mirror, **part))
    assert names(tmp_path / "e") == {".download.lock"}


def test_what_cannot_be_had_is_said(tmp_path):
    with pytest.raises(StageError, match="images, joints.mat is missing, and a.zip"):
        fetch_parts(settings(tmp_path / "d", None))
    with pytest.raises(StageError, match="x: no root is set"):
        fetch_parts(settings(tmp_path, None) | {"root": None})


def test_nothing_is_downloaded_among_the_repositorys_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match="expected a folder outside"):
        fetch_parts(settings(Path("photos"), None))


def test_two_runs_do_not_fetch_into_one_folder(mirror, tmp_path):
    with FileServer({"a.zip": (mirror / "a.zip").read_bytes()}) as server:
        given = settings(tmp_path / "d", server.url)

        def second() -> None:
            with pytest.raises(StageError, match="another process is fetching"):
                fetch_parts(given)
            server.behaviour.pace = lambda: None

        server.behaviour.pace = second
        fetch_parts(given)
    assert names(tmp_path / "d") == WHOLE
