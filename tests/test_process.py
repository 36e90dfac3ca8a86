"""Programs of others: bound to the process that runs them, and none of their processes left."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tiny
from hwsim import process

RUNS = """
from pathlib import Path
from hwsim import process
process.run("sleeping", ["/bin/sh", "-c", "echo $$ > pid; /bin/sleep 1000; true"], Path("."), 1000)
"""


def alive(folder):
    """The processes that work in a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (place / "cwd").readlink() == folder:
                found.append(int(place.name))
    return found


def gone(folder, within_s=10.0):
    until = time.monotonic() + within_s
    while alive(folder) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(folder)


def test_a_program_ends_with_the_killed_process_that_ran_it(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", RUNS], cwd=tmp_path, env={"PATH": "", "PYTHONPATH": tiny.PACKAGE}
    )
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.02)
    program = int((tmp_path / "pid").read_text())
    assert {parent.pid, program} < set(alive(tmp_path))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert gone(tmp_path)


def test_what_a_program_printed_and_its_status_come_back_and_nothing_stays(tmp_path):
    assert (
        process.run("printing", ["/bin/sh", "-c", "echo said; sleep 1000 >&- 2>&- & true"], tmp_path, 10)
        == "said\n"
    )
    assert gone(tmp_path)
    with pytest.raises(process.FailedError) as failed:
        process.run("failing", ["/bin/sh", "-c", "echo an error; exit 7"], tmp_path, 10)
    assert (failed.value.status, failed.value.complaint) == (7, "an error")
    with pytest.raises(process.OutOfTimeError):
        process.run("sleeping", ["/bin/sh", "-c", "sleep 1000"], tmp_path, 0.2)
    assert gone(tmp_path)


def test_a_program_reads_nothing(tmp_path):
    assert process.run("reading", ["/bin/cat"], tmp_path, 10) == ""
