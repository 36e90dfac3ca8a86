"""The one way to name a part: an entry of a catalogue, or ``path/to/file.py:NAME`` of a person's own."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from hwsim import files
from hwsim.errors import HwsimError, unknown

T = TypeVar("T")


def look_up(kind: str, text: str, known: Mapping[str, T], way_out: str = "give file.py:name") -> T:
    """Return what a name means in a catalogue, or what ``path/to/file.py:NAME`` defines.

    The file is executed. Its object is returned as it is: the caller checks that it is of the right kind.
    Raises :class:`HwsimError` for an unknown name and for a file that is missing, fails or lacks the name.
    """
    if text in known:
        return known[text]
    path, colon, name = text.rpartition(":")
    if not (colon and path.endswith(".py")):
        raise unknown(kind, text, known, way_out)
    module = _execute(path, files.read(Path(path), f"{kind} file"))
    try:
        return getattr(module, name)  # type: ignore[no-any-return]
    except AttributeError:
        raise HwsimError(f'"{path}" defines no "{name}"; give the name of a {kind} in that file') from None


def file_digest(text: str) -> str:
    """Return the SHA-256 of the file behind ``path/to/file.py:NAME``; "" for a catalogue's entry."""
    path, colon, _ = text.rpartition(":")
    return hashlib.sha256(files.read(Path(path), "Python file")).hexdigest() if colon else ""


@cache
def _execute(path: str, content: bytes) -> ModuleType:
    """Run a file once for each content, so that one class stays one class."""
    module = ModuleType(f"_hwsim_{hashlib.sha256(path.encode() + content).hexdigest()[:16]}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # dataclasses look their own module up there
    try:
        exec(compile(content, path, "exec"), module.__dict__)  # noqa: S102  the person's own file, named by them
    except (Exception, SystemExit) as error:
        raise HwsimError(f'"{path}" cannot be loaded: {reason(error)}; correct the file') from error
    return module


def reason(error: BaseException) -> str:
    """Return an exception of a person's own code in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def call(what: str, function: Any, *arguments: Any, **options: Any) -> Any:
    """Call a person's own code; an error in it is told as one of ``what``."""
    try:
        return function(*arguments, **options)
    except HwsimError:
        raise
    except (Exception, SystemExit) as error:
        raise HwsimError(f"{what} fails: {reason(error)}; correct it") from error
