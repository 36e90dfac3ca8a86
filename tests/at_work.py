"""Processes at work in a folder, and whether all of them have ended."""

import contextlib
import time
from pathlib import Path


def at_work(folder):
    """The processes whose working folder is a folder or inside it."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (place / "cwd").readlink().is_relative_to(folder):
                found.append(int(place.name))
    return found


def all_ended(folder, within_s=10.0):
    """Whether nobody is at work in a folder any more; killed processes may take a moment to go."""
    until = time.monotonic() + within_s
    while at_work(folder) and time.monotonic() < until:
        time.sleep(0.02)
    return not at_work(folder)
