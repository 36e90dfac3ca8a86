"""The Liberty format: a tree of groups with their attributes, and the lines they stand on.

Only the groups and attributes that a circuit's cost is read from are kept; what surrounds them must be well
formed all the same. Size, nesting and the number of tokens are bounded, and every step reads on, so that a file
costs time in proportion to its length.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hwsim.errors import HwsimError

LIMIT_BYTES = 64 << 20
_GZIP = b"\x1f\x8b"
_NESTING = 24
_TOKENS = 10_000_000
_GROUPS = 500_000
_TOKEN = re.compile(r'"[^"]*"|[^\s(){};:,"\\/]+|/\*|//|\\[ \t]*\r?\n|\S')
_KEPT_GROUPS = {
    *("library", "lu_table_template", "power_lut_template", "cell", "pin", "timing", "internal_power"),
    *("ff", "ff_bank", "latch", "latch_bank", "statetable", "bus", "bundle", "leakage_power"),
    *("cell_rise", "cell_fall", "rise_transition", "fall_transition", "rise_constraint", "fall_constraint"),
    *("rise_power", "fall_power", "power"),
}
_KEPT_ATTRIBUTES = {
    *("time_unit", "capacitive_load_unit", "leakage_power_unit", "voltage_unit", "nom_voltage"),
    *("variable_1", "variable_2", "variable_3", "index_1", "index_2", "index_3", "values"),
    *("area", "dont_use", "cell_leakage_power", "value", "clock_gating_integrated_cell", "is_macro_cell"),
    *("direction", "function", "capacitance", "three_state", "timing_type", "related_pin"),
    *("intrinsic_rise", "intrinsic_fall", "rise_resistance", "fall_resistance"),
    *("clocked_on", "next_state", "clear", "preset"),
}


@dataclass(frozen=True, slots=True)
class Attribute:
    """The values of ``name : value ;`` (one) or ``name (value, ...) ;``, quotes removed."""

    values: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Group:
    """``name (arguments) { ... }``; of attributes given twice the last counts, as in other readers."""

    name: str
    arguments: tuple[str, ...]
    line: int
    attributes: dict[str, Attribute] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def of(self, *names: str) -> list[Group]:
        """Return the groups directly inside that have one of the names, in the file's order."""
        return [group for group in self.groups if group.name in names]

    def text(self, name: str, default: str = "") -> str:
        """Return an attribute's values as one text."""
        return " ".join(self.attributes[name].values) if name in self.attributes else default


def read(path: Path) -> bytes:
    """Return a Liberty file's bytes, unpacked if it is gzip's; refuse what is no regular file or larger than 64 MiB."""
    try:
        content = _beginning(path) if path.is_file() else None
    except OSError as error:
        raise HwsimError(
            f"cannot read the {name_of(path)}: {error.strerror}; give the path of a Liberty file"
        ) from None
    if content is None:
        raise HwsimError(
            f"{name_of(path)} is missing or no regular file; give the path of a Liberty file (.lib or .lib.gz)"
        )
    if content.startswith(_GZIP):
        content = _unpacked(content, path)
    if len(content) > LIMIT_BYTES:
        raise HwsimError(
            f"{name_of(path)} is larger than {LIMIT_BYTES >> 20} MiB; leave out the cells or current-source "
            "models that synthesis does not need"
        )
    return content


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LIMIT_BYTES + 1)


def _unpacked(content: bytes, path: Path) -> bytes:
    """Return what is packed, as much as tells that it is too much."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            return stream.read(LIMIT_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise HwsimError(f"{name_of(path)} is damaged: {error}; pack it again with gzip") from None


def name_of(path: Path) -> str:
    """Return how an error calls a Liberty file."""
    return f"Liberty file {quote(path.name or str(path))}"


def quote(text: str) -> str:
    """Return a foreign text for an error's sentence: one line, at most 60 characters."""
    quoted = json.dumps(text[:61])
    return quoted if len(quoted) <= 62 else f'{quoted[:58]}..."'


def error_at(what: str, line: int, complaint: str) -> HwsimError:
    """Return the error for one line of a Liberty file; ``complaint`` ends with the way out."""
    return HwsimError(f"{what}, line {line}: {complaint}")


def parse(content: bytes, what: str) -> Group:
    """Return the library group of a Liberty file; ``what`` names the file in :class:`HwsimError`."""
    return _Reader(content.decode("latin-1"), what).library()


class _Reader:
    """Recursive descent with one token of lookahead; "" is the end of the file."""

    def __init__(self, text: str, what: str) -> None:
        self.what, self.line, self.word, self.kept = what, 1, "", 0
        self.tokens = self.scan(text)
        self.advance()

    def scan(self, text: str) -> Iterator[tuple[str, int]]:
        position = seen = count = 0
        line = 1
        while found := _TOKEN.search(text, position):
            word, position = found[0], found.end()
            line += text.count("\n", seen, found.start())
            seen, count = found.start(), count + 1
            if word in ("/*", "//"):
                end = text.find("*/", position) + 2 if word == "/*" else text.find("\n", position)
                if word == "/*" and end < position:
                    raise error_at(self.what, line, "a comment is never closed; write */")
                position = end if end >= 0 else len(text)
            elif word == '"':
                raise error_at(self.what, line, "a quoted text is never closed; write the second quote")
            elif word == "\\":
                raise error_at(self.what, line, "a lone backslash stands there; remove it")
            elif count > _TOKENS:
                raise error_at(
                    self.what, line, f"more than {_TOKENS} words; leave out what synthesis does not need"
                )
            elif word[0] != "\\":
                yield word, line
        yield "", line + text.count("\n", seen)

    def advance(self) -> str:
        """Go to the next word; return the one left behind."""
        before = self.word
        self.word, self.line = next(self.tokens)
        return before

    def error(self, complaint: str) -> HwsimError:
        return error_at(self.what, self.line, complaint)

    def library(self) -> Group:
        if self.word != "library":
            raise self.error(f"a Liberty file begins with library (name) {{, not {quote(self.word)}")
        line = self.line
        self.advance()
        arguments = self.arguments() if self.word == "(" else ()
        if self.word != "{":
            raise self.error("the library has no body; write library (name) { ... }")
        result = self.body(Group("library", arguments, line), 1)
        if self.word:
            raise self.error(f"{quote(self.word)} follows the library; end the file with its closing brace")
        return result

    def body(self, group: Group, depth: int) -> Group:
        if depth > _NESTING:
            raise self.error(f"groups are nested deeper than {_NESTING}; flatten them")
        self.advance()
        while self.word != "}":
            if not self.word:
                raise self.error(
                    f"the file ends inside the {quote(group.name)} of line {group.line}; close it with }}"
                )
            self.statement(group, depth)
        if depth > 1:
            self.advance()
        else:
            self.finish()
        return group

    def finish(self) -> None:
        """Leave the library's closing brace, and semicolons after it."""
        self.advance()
        while self.word == ";":
            self.advance()

    def statement(self, group: Group, depth: int) -> None:
        if self.word == ";":
            self.advance()
            return
        line = self.line
        if self.word in "(){}:,/":
            raise self.error(
                f"{quote(self.word)} stands where a name must; write name : value ; or name (...)"
            )
        name = self.advance()
        if self.word == ":":
            self.keep(group, name, Attribute((self.value(line),), line))
        elif self.word == "(":
            arguments = self.arguments()
            if self.word == "{":
                inner = self.body(Group(name, arguments, line), depth + 1)
                if name in _KEPT_GROUPS:
                    group.groups.append(self.counted(inner))
            else:
                self.keep(group, name, Attribute(arguments, line))
        else:
            raise self.error(
                f"{quote(name)} must be followed by : or (, not by {quote(self.word)}; correct it"
            )

    def counted(self, group: Group) -> Group:
        self.kept += 1
        if self.kept > _GROUPS:
            raise self.error(f"more than {_GROUPS} groups; leave out the cells that synthesis does not need")
        return group

    @staticmethod
    def keep(group: Group, name: str, attribute: Attribute) -> None:
        if name in _KEPT_ATTRIBUTES:
            group.attributes[name] = attribute

    def value(self, line: int) -> str:
        """Return what follows a colon up to the semicolon, the group's end or, without these, the line's."""
        self.advance()
        words, start = [], self.line
        while self.word and self.word not in ";}" and self.line == start:
            if self.word in "{:":
                raise self.error(f"{quote(self.word)} stands inside a value; end the value with ;")
            words.append(self.advance().strip('"'))
        if not words:
            raise error_at(self.what, line, "a value is missing after the colon; write it")
        if self.word == ";":
            self.advance()
        return " ".join(words)

    def arguments(self) -> tuple[str, ...]:
        line, words = self.line, []
        self.advance()
        while self.word != ")":
            if not self.word or self.word in "{};(":
                raise error_at(self.what, line, "a parenthesis is never closed; write )")
            if self.word != ",":
                words.append(self.word.strip('"'))
            self.advance()
        self.advance()
        return tuple(words)
