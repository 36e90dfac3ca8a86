"""The one exception a user sees, and the sentence it carries."""

from __future__ import annotations

from collections.abc import Iterable


class HwsimError(ValueError):
    """A refused input: one sentence naming the rule, the value and the way out.

    The command line prints the sentence on stderr and exits with status 2.
    """


class MachineError(HwsimError):
    """What the machine refuses, whatever the input: a file's place, a process, space for temporary files."""


def unknown(kind: str, value: object, known: Iterable[str], way_out: str = "") -> HwsimError:
    """Return the error for a name that is in no catalogue.

    >>> str(unknown("datapath", "mca", ["mac", "shift_mac"], "give file.py:name"))
    'unknown datapath "mca"; known: mac, shift_mac; or give file.py:name'
    """
    tail = f"; or {way_out}" if way_out else ""
    return HwsimError(f'unknown {kind} "{value}"; known: {", ".join(known)}{tail}')
