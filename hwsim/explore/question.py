"""What a search asks of a study beside evaluations, and the designs that are left out where there is no answer.

Quantizers and datapaths may be a person's own and can do anything to their process. So prices and sensitivities are
worked out where design points are evaluated, under the same limit of time and number of tries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, TypeVar

from hwsim.explore.bench import Bench
from hwsim.explore.evaluation import DesignPoint, Layers, Shared, point_texts
from hwsim.explore.pricing import priced

Alive = Callable[[], None]
"""Called at each step of an answer: a limit of time is that of one step."""


@dataclass(frozen=True)
class Branch:
    """The designs that share all that is named, and with ``weights`` those with such weights in some layer."""

    quantizer: str
    datapath: str = ""
    array: str = ""
    buffers: str = ""
    weights: str = ""

    def covers(self, other: Branch) -> bool:
        """Return whether all designs of another branch are designs of this one."""
        return all(own in ("", asdict(other)[name]) for name, own in asdict(self).items())

    def holds(self, point: DesignPoint) -> bool:
        """Return whether a point is one of these designs."""
        shared = Branch.of(point.shared)
        forms = {weights_of(text) for text in point_texts(point)}
        return any(self.covers(replace(shared, weights=form)) for form in forms)

    @staticmethod
    def of(shared: Shared) -> Branch:
        return Branch(shared.quantizer, shared.datapath, shared.array, shared.buffers)

    def with_weights(self, weights: str) -> Branch:
        return replace(self, weights=weights)

    def key(self) -> str:
        """Return 16 hexadecimal digits that identify the branch, equal on every machine."""
        return hashlib.blake2b(json.dumps(asdict(self)).encode(), digest_size=8).hexdigest()

    def label(self) -> str:
        """Return the branch in a few words."""
        kind = f"all designs with {self.weights} weights" if self.weights else "all designs"
        return "; ".join(
            filter(
                None,
                (kind, " ".join(filter(None, (self.datapath, self.array, self.buffers))), self.quantizer),
            )
        )


def weights_of(text: str) -> str:
    """Return the format of the weights in a choice's text.

    >>> weights_of("int4*uint8/int16 huffman")
    'int4'
    """
    return text.partition("*")[0]


Asked = TypeVar("Asked", "Alone", "Pricing")


@dataclass(frozen=True)
class Alone:
    """What each choice of each layer does by itself under a quantizer; with ``parts`` its weights and input apart.

    ``weights`` is their format where the question is about one.
    """

    stage: ClassVar[str] = "measure choices alone"
    quantizer: str
    layers: Layers
    parts: bool = False
    weights: str = ""

    @property
    def branch(self) -> Branch:
        """The designs that nothing is known of without an answer."""
        return Branch(self.quantizer, weights=self.weights)

    def answer(self, bench: Bench, alive: Alive) -> Any:
        """Return, by layer and text, the fields of its :class:`hwsim.quantize.alone.Effect`."""
        from hwsim.explore.sensitivity import of_choices, of_parts  # torch, which evaluations do without

        measure = of_parts if self.parts else of_choices
        found = measure(bench, dict(self.layers), self.quantizer, lambda done, planned: alive())
        return {name: {text: asdict(effect) for text, effect in of.items()} for name, of in found.items()}


@dataclass(frozen=True)
class Pricing:
    """What the designs that share ``shared`` cost; layers of one number in ``choice_of`` choose together.

    ``weights`` is their format where the question is about one.
    """

    stage: ClassVar[str] = "price designs"
    shared: Shared
    layers: Layers
    choice_of: tuple[int, ...]
    objectives: tuple[str, ...]
    weights: str = ""

    @property
    def branch(self) -> Branch:
        """The designs that nothing is known of without an answer."""
        return replace(Branch.of(self.shared), weights=self.weights)

    def answer(self, bench: Bench, alive: Alive) -> Any:
        """Return what :func:`hwsim.explore.prices.prices` reads."""
        return priced(bench, self.shared, self.layers, self.choice_of, self.objectives, alive)


Question = Alone | Pricing


def formats(question: Question) -> tuple[str, ...]:
    """Return the formats of weights that some choice has."""
    return tuple(dict.fromkeys(weights_of(text) for _, texts in question.layers for text in texts))


def of_formats(question: Asked, weights: Collection[str], named: str = "") -> Asked:
    """Return a question about the choices with some formats of weights; a layer that has none of them keeps its own."""
    layers = tuple(
        (name, tuple(text for text in texts if weights_of(text) in weights) or texts)
        for name, texts in question.layers
    )
    return replace(question, layers=layers, weights=named)
