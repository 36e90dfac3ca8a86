"""Programs of others: bound to the process that runs them, and none of their processes left."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest

import tiny
from at_work import all_ended, at_work
from hwsim import process

RUNS = """
from pathlib import Path
from hwsim import process
process.run("sleeping", ["/bin/sh", "-c", "echo $$ > pid; /bin/sleep 1000; true"], Path("."), 1000)
"""


def test_a_program_ends_with_the_killed_process_that_ran_it(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", RUNS], cwd=tmp_path, env={"PATH": "", "PYTHONPATH": tiny.PACKAGE}
    )
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.02)
    program = int((tmp_path / "pid").read_text())
    assert {parent.pid, program} < set(at_work(tmp_path))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert all_ended(tmp_path)


def test_what_a_program_printed_and_its_status_come_back_and_nothing_stays(tmp_path):
    assert (
        process.run("printing", ["/bin/sh", "-c", "echo said; sleep 1000 >&- 2>&- & true"], tmp_path, 10)
        == "said\n"
    )
    assert all_ended(tmp_path)
    with pytest.raises(process.FailedError) as failed:
        process.run("failing", ["/bin/sh", "-c", "echo an error; exit 7"], tmp_path, 10)
    assert (failed.value.status, failed.value.complaint) == (7, "an error")
    with pytest.raises(process.OutOfTimeError):
        process.run("sleeping", ["/bin/sh", "-c", "sleep 1000"], tmp_path, 0.2)
    assert all_ended(tmp_path)


def test_a_program_that_prints_without_end_takes_its_time_and_no_memory(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(process.OutOfTimeError):
        process.run("printing", ["/usr/bin/yes", "x" * 1000], tmp_path, 2)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 128 << 10  # KiB
    said = process.run("printing", ["/usr/bin/seq", "3000000"], tmp_path, 30)
    assert said.endswith("\n2999999\n3000000\n")
    assert len(said) == 16 << 20


def test_a_program_reads_nothing(tmp_path):
    assert process.run("reading", ["/bin/cat"], tmp_path, 10) == ""
