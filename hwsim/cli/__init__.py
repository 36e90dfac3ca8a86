"""The command line: one command per stage, in the order of the work, one command a file.

Commands import what they need when they run, so that ``hwsim --help`` starts at once.
"""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from hwsim.cli import (
    certify,
    characterise,
    check,
    compress,
    cost,
    decompress,
    diff,
    energy,
    explore,
    export,
    fine_tune,
    listing,
    quantize,
    report,
    reproduce,
    sensitivity,
    simulate,
    teach,
    traffic,
)
from hwsim.errors import HwsimError

COMMANDS: dict[str, Callable[..., None]] = {
    "list": listing.command,
    "quantize": quantize.command,
    "fine-tune": fine_tune.command,
    "simulate": simulate.command,
    "certify": certify.command,
    "check": check.command,
    "cost": cost.command,
    "characterise": characterise.command,
    "traffic": traffic.command,
    "energy": energy.command,
    "compress": compress.command,
    "decompress": decompress.command,
    "sensitivity": sensitivity.command,
    "explore": explore.command,
    "report": report.command,
    "diff": diff.command,
    "export": export.command,
    "reproduce": reproduce.command,
    "teach": teach.command,
}

app = typer.Typer(
    name="hwsim",
    help="Cost and accuracy of quantized neural networks, from the circuits themselves.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for name, command in COMMANDS.items():
    app.command(name)(command)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"hwsim {version('hwsim')}")
        raise typer.Exit


_VERSION = typer.Option(
    "--version", callback=_say_version, is_eager=True, help="Print the version and leave."
)


@app.callback()
def _options(_: Annotated[bool, _VERSION] = False) -> None:
    """What can be given before a command."""


_INTERRUPTED = 130

_ECHO_S = 1.0
"""For how long a signal that comes again is the same one: what ends a program often tells its process and its group."""


def main() -> None:
    """Run the command line; a refused input is one sentence on stderr and exit status 2, SIGTERM and SIGHUP are Ctrl-C."""
    _interrupt_at_signals()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where it cannot keep a cache of fonts
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may know nothing but ASCII
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
        print(end="", flush=True)
    except HwsimError as error:
        _fail(str(error))
    except (typer.Abort, KeyboardInterrupt):
        status = _INTERRUPTED
    except TyperException as error:
        _fail(f"{error.format_message()} (see hwsim --help)")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f' "{error.filename}"' if error.filename else ""
        _fail(f"cannot read or write{place}: {error.strerror or error}; free or choose another place")
    except MemoryError:
        _fail("the memory does not suffice; take fewer images or a smaller network")
    except Exception as error:
        if "HWSIM_TRACEBACK" in os.environ:
            raise
        _fail(
            f"a fault of hwsim's own, {type(error).__name__}: {error}; HWSIM_TRACEBACK=1 shows where",
            status=3,
        )
    if status == _INTERRUPTED:
        _fail("interrupted; no file is half-written, and explore goes on where it was", _INTERRUPTED)
    sys.exit(status)


def _interrupt_at_signals() -> None:
    """Raise KeyboardInterrupt at each signal that asks to end, unless it is ignored, as behind nohup."""
    last = -_ECHO_S

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before >= _ECHO_S:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def _fail(sentence: str, status: int = 2) -> NoReturn:
    """Print one line, control characters made visible and endless words cut, and leave."""
    sentence = re.sub(r"\S{400,}", lambda word: f"{word[0][:100]}...{word[0][-20:]}", sentence)
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in sentence.replace("\n", " "))
    print(f"hwsim: {line}", file=sys.stderr)
    sys.exit(status)
