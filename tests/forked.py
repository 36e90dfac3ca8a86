"""Command lines in processes forked from one that has imported hwsim: each starts at once and can be killed."""

import json
import subprocess
import sys

import tiny

_SERVER = """
import errno, importlib, json, os, resource, sys, time
for name in "cli explore.exploration explore.workers results report models.onnx models.forward cost.equivalence".split():
    importlib.import_module(f"hwsim.{name}")
import rich.console
from hwsim.cli import main


def failing(call, number):
    calls = iter(range(1, number))
    def fail(*arguments):
        if next(calls, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*arguments)
    return fail


def child(job, pipes):
    os.chdir(job["cwd"])
    os.environ |= job["environment"]
    for stream, (_, end) in zip((1, 2), pipes):
        os.dup2(end, stream)
    if job["largest_file"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"],) * 2)
    if job["failing_write"]:
        os.fsync = failing(os.fsync, job["failing_write"])
    sys.argv = ["hwsim", *job["arguments"]]
    try:
        main()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code or 0)


for line in sys.stdin:
    jobs = json.loads(line)
    started = time.monotonic()
    running = []
    for job in jobs:
        pipes = [os.pipe(), os.pipe()]
        pid = os.fork()
        if not pid:
            child(job, pipes)
        for _, end in pipes:
            os.close(end)
        running.append((pid, pipes))
    for job, (pid, _) in zip(jobs, running):
        if job["signal"]:
            time.sleep(job["after_s"])
            os.kill(pid, job["signal"])
    results = []
    for pid, pipes in running:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = [open(start, errors="replace").read() for start, _ in pipes]
        results.append([status, *said, time.monotonic() - started])
    print(json.dumps(results), flush=True)
"""


class Forks:
    """Runs command lines; a result is [exit status, stdout, stderr, seconds]."""

    def __init__(self, scratch, cache):
        environment = {
            "PATH": "",
            "PYTHONPATH": tiny.PACKAGE,
            "HOME": str(scratch),
            "OMP_NUM_THREADS": "1",
            "HWSIM_CACHE": str(cache),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def together(self, *jobs):
        """Run jobs at the same time."""
        self.process.stdin.write(json.dumps(jobs) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __call__(self, cwd, *arguments, **given):
        """Run one command line; see :func:`job`."""
        return self.together(job(cwd, *arguments, **given))[0]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=10)


def job(cwd, *arguments, signal=0, after_s=0.0, largest_file=None, failing_write=0, **environment):
    """A command line in a folder, sent a signal after some seconds, on a disk that is full.

    A file takes at most ``largest_file`` bytes; the ``failing_write``-th file and all after it none.
    """
    return {
        "cwd": str(cwd),
        "arguments": list(map(str, arguments)),
        "signal": int(signal),
        "after_s": after_s,
        "largest_file": largest_file,
        "failing_write": failing_write,
        "environment": environment,
    }
