"""A child on a tether: it ends with its parent, and its end leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from streams.tethered import Tethered

FOREVER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
PARENT = """
import sys, time
from streams.tethered import Tethered
with open(sys.argv[1], "wb") as log:
    child = Tethered([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"], output=log)
print(child.pid, flush=True)
time.sleep(600)
"""
PATIENCE_SECONDS = 60


def group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def wait_for(what) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", PARENT, str(log)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for(lambda: log.read_bytes() == b"up\n")
        parent.kill()
    wait_for(lambda: group_is_gone(child))


def test_the_end_of_a_child_has_its_code_and_leaves_no_watcher(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = Tethered(FOREVER, output=log)
    wait_for(lambda: (tmp_path / "log").read_bytes() == b"up\n")
    assert child.exit_code is None
    assert child.end(signal.SIGTERM) == -signal.SIGTERM
    wait_for(lambda: group_is_gone(child.pid))


def test_a_child_that_does_not_want_to_end_is_killed_when_patience_ends(tmp_path: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    with (tmp_path / "log").open("wb") as log:
        child = Tethered([sys.executable, "-c", deaf], output=log)
    wait_for(lambda: (tmp_path / "log").read_bytes() == b"up\n")
    assert child.end(signal.SIGTERM, patience_seconds=0.2) == -signal.SIGKILL
    wait_for(lambda: group_is_gone(child.pid))
