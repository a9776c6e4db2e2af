"""One at a time: on one host by the kernel, on several by a heartbeat."""

import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stages import locks
from stages.files import StageError
from stages.locks import only_one

TOP = Path(__file__).parent.parent
HOLD = """
import sys, time
from pathlib import Path
from stages.locks import only_one
with only_one(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "deep" / "cell.lock"


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.5)
    monkeypatch.setattr(locks, "HEARTBEAT", 0.05)


def write_holder(path: Path, host: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": host, "process": 77}))


def assert_free(path: Path) -> None:
    with only_one(path, "busy"):
        pass
    assert path.read_text() == ""


def test_the_second_is_refused_and_told_who_holds_it(path):
    with only_one(path, "cell: another process trains"):
        assert json.loads(path.read_text())["process"] == os.getpid()
        with pytest.raises(StageError, match="trains .process") as caught:
            with only_one(path, "cell: another process trains"):
                raise AssertionError("held twice")
    said = f"process {os.getpid()} on host {platform.node()}); wait for it or end it"
    assert said in str(caught.value)
    assert_free(path)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_holder_lets_go_at_once(path, how):
    command = [sys.executable, "-c", HOLD, str(path)]
    holder = subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StageError, match=f"busy .process {holder.pid} on host"):
        with only_one(path, "busy"):
            raise AssertionError("held twice")
    holder.send_signal(how)
    holder.communicate()
    assert "process" in path.read_text()
    started = time.monotonic()
    assert_free(path)
    assert time.monotonic() - started < 1


def test_another_hosts_living_process_is_respected(path, impatient):
    """Where flock is each host's own: the file is free here, and touched there."""
    write_holder(path, "elsewhere")
    ended = threading.Event()
    with open(path, "a") as lock:
        touching = threading.Thread(target=locks._touch, args=(lock, ended))
        touching.start()
        try:
            with pytest.raises(StageError, match="process 77 on host elsewhere"):
                with only_one(path, "busy"):
                    raise AssertionError("held twice")
        finally:
            ended.set()
            touching.join()
    assert json.loads(path.read_text())["host"] == "elsewhere"


def test_another_hosts_dead_process_is_not(path, impatient, capsys):
    write_holder(path, "elsewhere")
    with only_one(path, "busy"):
        assert json.loads(path.read_text())["host"] == platform.node()
    assert "holder is dead (process 77 on host elsewhere)" in capsys.readouterr().err


def test_a_lock_that_a_dead_host_still_holds_is_replaced(path, impatient):
    """As a file server does that waits for its client to come back."""
    write_holder(path, "elsewhere")
    with open(path) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with only_one(path, "busy"):
            assert json.loads(path.read_text())["host"] == platform.node()
            with pytest.raises(StageError):
                with only_one(path, "busy"):
                    raise AssertionError("held twice")


def test_a_holder_touches_its_file(path, impatient):
    with only_one(path, "busy"):
        before = path.stat().st_mtime_ns
        time.sleep(0.3)
        assert path.stat().st_mtime_ns > before


@pytest.mark.parametrize("content", ["", "not json", "[]", '{"host": null}'])
def test_a_file_without_a_holder_is_free(path, content):
    path.parent.mkdir()
    path.write_text(content)
    assert_free(path)


def test_a_file_system_without_locks_is_named(path, monkeypatch):
    def refuse(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.raises(StageError, match="has no locks .Function not impl.*be a link"):
        with only_one(path, "busy"):
            raise AssertionError("held")
