"""Boolean functions of cell pins as Liberty writes them, and their truth tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce

Expression = tuple[str, "tuple[Expression, ...]"]
"""An operator of ``! & ^ |`` with its operands, or a pin's name with none."""

_LENGTH = 4000
_NESTING = 50
_TOKEN = re.compile(r"[A-Za-z0-9_\[\]]+|\S")
_PIN = re.compile(r"[A-Za-z0-9_\[\]]+")


def parse(text: str) -> Expression:
    """Return a function's expression; ``ValueError`` names what is wrong with it.

    ``!A`` and ``A'`` negate; then ``A ^ B``; then ``A & B``, ``A * B`` and ``A B``; last ``A | B`` and ``A + B``:
    the order of precedence in the Liberty reference manual (Open Source Liberty, "function attribute").

    >>> written(parse("(A B)' + C"), {"A": "A", "B": "B", "C": "C"})
    '(!(A & B) | C)'
    """
    if len(text) > _LENGTH:
        raise ValueError(f"is longer than {_LENGTH} characters")
    return _Reader(_TOKEN.findall(text)).result()


def pins(expression: Expression) -> set[str]:
    """Return the names of the pins that an expression reads."""
    operator, operands = expression
    return set().union(*map(pins, operands)) if operands else {operator}


def written(expression: Expression, names: Mapping[str, str]) -> str:
    """Return an expression with its pins renamed, every operation of two operands in parentheses."""
    operator, operands = expression
    if not operands:
        return names[operator]
    texts = [written(operand, names) for operand in operands]
    return f"!{texts[0]}" if operator == "!" else f"({f' {operator} '.join(texts)})"


def truth_table(expression: Expression, order: Sequence[str]) -> int:
    """Return the function's values as bits: bit i is the one where pin k of ``order`` has bit k of i.

    >>> bin(truth_table(parse("A & B"), "AB"))
    '0b1000'
    """
    rows = 1 << len(order)
    value = {pin: sum(1 << row for row in range(rows) if row >> index & 1) for index, pin in enumerate(order)}
    return _evaluated(expression, value, (1 << rows) - 1)


def _evaluated(expression: Expression, value: Mapping[str, int], ones: int) -> int:
    operator, operands = expression
    if not operands:
        return value[operator]
    values = [_evaluated(operand, value, ones) for operand in operands]
    if operator == "!":
        return values[0] ^ ones
    return reduce({"&": int.__and__, "|": int.__or__, "^": int.__xor__}[operator], values)


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.position, self.depth = [*tokens, ""], 0, 0

    @property
    def word(self) -> str:
        return self.tokens[self.position]

    def result(self) -> Expression:
        value = self.operation(0)
        if self.word:
            raise ValueError(f"has {self.word!r} where an operator must stand")
        return value

    def operation(self, level: int) -> Expression:
        """Return a chain of one precedence: 0 is ``|``, 1 is ``&``, 2 is ``^``, 3 a factor."""
        if level == 3:
            return self.factor()
        operands = [self.operation(level + 1)]
        while self.taken(level):
            operands.append(self.operation(level + 1))
        return ("|&^"[level], tuple(operands)) if len(operands) > 1 else operands[0]

    def taken(self, level: int) -> bool:
        if self.word and self.word in ("|+", "&*", "^")[level]:
            self.position += 1
            return True
        return level == 1 and (self.word in ("!", "(") or bool(_PIN.fullmatch(self.word)))

    def factor(self) -> Expression:
        negated = False
        while self.word == "!":
            self.position, negated = self.position + 1, not negated
        value = self.atom()
        while self.word == "'":
            self.position, negated = self.position + 1, not negated
        if not negated:
            return value
        return value[1][0] if value[0] == "!" else ("!", (value,))

    def atom(self) -> Expression:
        word, self.position = self.word, min(self.position + 1, len(self.tokens) - 1)
        if word == "(":
            self.depth += 1
            if self.depth > _NESTING:
                raise ValueError(f"is nested deeper than {_NESTING}")
            value = self.operation(0)
            if self.word != ")":
                raise ValueError("has a parenthesis that is never closed")
            self.position, self.depth = self.position + 1, self.depth - 1
            return value
        if not _PIN.fullmatch(word):
            raise ValueError(
                f"has {word!r} where a pin must stand" if word else "ends where a pin must stand"
            )
        if word in ("0", "1"):
            raise ValueError(f"has the constant {word} inside")
        return (word, ())
