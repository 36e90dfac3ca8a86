"""A Dask scheduler and its workers on this machine, as their commands start them: processes that can be killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import tiny


class Cluster:
    """A scheduler on loopback, and workers of one thread each; ``environment`` is what they have beside the usual."""

    def __init__(self, folder, cache, workers=2, protocol="tcp", **environment):
        self.folder, self.started = Path(folder), []
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([tiny.PACKAGE, str(Path(__file__).parent)]),
            "HOME": str(folder),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HWSIM_CACHE": str(cache),
        } | environment
        told = self.folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", "--protocol", protocol, "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
            "--dashboard-address", "127.0.0.1:0", "--scheduler-file", told,
        )  # fmt: skip
        _until(lambda: told.exists() and told.read_text().endswith("}"), "the scheduler starts")
        self.address = json.loads(told.read_text())["address"]
        self.workers = [self.worker() for _ in range(workers)]

    def worker(self, **environment):
        """Start one more worker."""
        return self._start(
            "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--no-nanny", "--no-dashboard",
            "--dashboard-address", "127.0.0.1:0", "--local-directory", self.folder / "scratch", **environment,
        )  # fmt: skip

    def kill(self, process):
        """Kill a process and wait until it has gone."""
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)

    def close(self):
        for process in reversed(self.started):
            if process.poll() is None:
                self.kill(process)

    def _start(self, what, *arguments, **environment):
        script = "import sys; from dask.__main__ import main; main()"
        with (self.folder / "said").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", script, what, *map(str, arguments)],
                cwd=self.folder,
                env=self.environment | environment,
                stdout=said,
                stderr=said,
            )
        self.started.append(process)
        return process


def _until(so, what, within_s=60.0):
    until = time.monotonic() + within_s
    while not so():
        assert time.monotonic() < until, f"not within {within_s} s: {what}"
        time.sleep(0.05)
