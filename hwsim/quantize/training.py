"""Stochastic gradient descent over a training split: what fine-tuning in float and in integers share.

One thread, float64 parameters, float32 arithmetic: equal seeds give equal bytes on one kind of processor; on
another the last digits may differ.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass

import safetensors.torch
import torch
from torch import Tensor

from hwsim import cache
from hwsim.data import Split
from hwsim.errors import HwsimError
from hwsim.network import FloatNetwork


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned.

    SGD with momentum; ``rate`` is divided by 5 after half of the epochs, as Hu, Zeng, Wu (Bag of Tricks with
    Quantized Convolutional Neural Networks, 2023, arXiv 2303.07080) divide theirs after 10 of 20. Images are moved by up
    to ``shift`` pixels each way, black following, and mirrored at random if ``mirror`` is set.
    """

    epochs: int = 6
    rate: float = 0.01
    batch: int = 128
    momentum: float = 0.9
    decay: float = 1e-4
    shift: int = 2
    mirror: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise HwsimError(f"a network is trained for 0 or more epochs, not {self.epochs}")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise HwsimError(f"a learning rate is above 0, not {self.rate}; 0.01 is a beginning")
        if self.batch < 1:
            raise HwsimError(f"a batch holds at least one image, not {self.batch}")
        if self.shift < 0:
            raise HwsimError(f"images are moved by 0 or more pixels, not {self.shift}")
        if self.seed < 0:
            raise HwsimError(f"a seed is 0 or more, not {self.seed}")

    def rate_in(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0.

        >>> [Recipe(epochs=4, rate=0.05).rate_in(epoch) for epoch in range(4)]
        [0.05, 0.05, 0.01, 0.01]
        """
        return self.rate if 2 * epoch < self.epochs else self.rate / 5


@dataclass(frozen=True)
class Epoch:
    """One pass over the training split: of the images so far mean loss, how many it got right, and seconds."""

    number: int
    loss: float
    correct: int
    images: int
    planned: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"epoch {self.number}: loss {self.loss:.4f}, {100 * self.correct / self.images:.2f}% of the training images right, "
            f"{self.images / self.seconds:.0f} images/s"
        )


Progress = Callable[[int, int, Epoch], None]
"""Called with the images done and planned, of all epochs, and the epoch so far."""

Forward = Callable[[Tensor], Tensor]
"""From images uint8 [n, height, width, channels] to logits [n, classes], by the state's tensors."""


@dataclass(frozen=True, eq=False)
class State:
    """All that training changes: learned and running tensors by name, momenta, and the generator's state; and its epochs."""

    learned: Mapping[str, Tensor]
    running: Mapping[str, Tensor]
    momenta: Mapping[str, Tensor]
    generator: torch.Generator
    epochs: list[Epoch]


_RUNNING = (".running_mean", ".running_var")


def beginning(network: FloatNetwork, seed: int) -> State:
    """Return the state in which training begins; learned values are float64, running statistics float32."""
    tensors = {name: torch.tensor(array, dtype=torch.float64) for name, array in network.parameters.items()}
    running = {name: tensors.pop(name).float() for name in list(tensors) if name.endswith(_RUNNING)}
    momenta = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    return State(tensors, running, momenta, torch.Generator().manual_seed(seed), [])


def descend(
    forward: Forward,
    state: State,
    split: Split,
    recipe: Recipe,
    *,
    sparse: Collection[str] = (),
    key: str = "",
    progress: Progress | None = None,
) -> None:
    """Move a state down the cross entropy of ``split``, in place.

    Zeros of the learned tensors named in ``sparse`` stay zeros. With a ``key`` that names everything the result depends on, the
    state is kept in the user's cache folder after every epoch, and training goes on from what is kept there. Raises
    :class:`HwsimError` where the loss is no number any more.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        masks = {name: state.learned[name] != 0 for name in sparse}
        _restore(state, key)
        for number in range(len(state.epochs), recipe.epochs):
            state.epochs.append(_epoch(forward, state, split, recipe, masks, number, progress))
            if key:
                cache.remember(_to_bytes(state), "trained", key)
    finally:
        torch.set_num_threads(threads)


def _epoch(
    forward: Forward,
    state: State,
    split: Split,
    recipe: Recipe,
    masks: Mapping[str, Tensor],
    number: int,
    progress: Progress | None,
) -> Epoch:
    begun, loss, correct, done = time.perf_counter(), 0.0, 0, 0
    for images, labels in _batches(split, recipe, state.generator):
        with torch.enable_grad():
            for tensor in state.learned.values():
                tensor.requires_grad_().grad = None
            logits = forward(images)
            batch_loss = torch.nn.functional.cross_entropy(logits, labels)
            batch_loss.backward()  # type: ignore[no-untyped-call]
        _check_finite(batch_loss, recipe, number)
        _step(state, masks, recipe, number)
        done += len(labels)
        loss += batch_loss.item() * len(labels)
        correct += int((logits.argmax(1) == labels).sum())
        epoch = Epoch(number + 1, loss / done, correct, done, len(split), time.perf_counter() - begun)
        if progress is not None:
            progress(number * len(split) + done, recipe.epochs * len(split), epoch)
    _check_finite(sum((tensor.sum() for tensor in state.learned.values()), torch.zeros(())), recipe, number)
    return epoch


def _step(state: State, masks: Mapping[str, Tensor], recipe: Recipe, number: int) -> None:
    """Momentum SGD with weight decay: v = momentum v + gradient + decay w, w = w - rate v."""
    for name, tensor in state.learned.items():
        tensor.requires_grad_(False)
        if tensor.grad is not None:
            gradient = tensor.grad + recipe.decay * tensor
            velocity = state.momenta[name]
            velocity.mul_(recipe.momentum).add_(gradient * masks[name] if name in masks else gradient)
            tensor.sub_(recipe.rate_in(number) * velocity)


_PARTS = ("learned", "running", "momenta")


def _to_bytes(state: State) -> bytes:
    tensors = {f"{part}/{name}": t for part in _PARTS for name, t in getattr(state, part).items()}
    epochs = json.dumps([asdict(epoch) for epoch in state.epochs]).encode()
    tensors |= {
        "epochs": torch.frombuffer(bytearray(epochs), dtype=torch.uint8),
        "generator": state.generator.get_state(),
    }
    return safetensors.torch.save(tensors)


def _restore(state: State, key: str) -> None:
    """Set a state to what is kept under a key, if anything is."""
    kept = cache.recall("trained", key) if key else None
    if kept is None:
        return
    tensors = safetensors.torch.load(kept)
    for part in _PARTS:
        for name, tensor in getattr(state, part).items():
            tensor.copy_(tensors[f"{part}/{name}"])
    state.generator.set_state(tensors["generator"])
    state.epochs[:] = [Epoch(**fields) for fields in json.loads(tensors["epochs"].numpy().tobytes())]


def _check_finite(value: Tensor, recipe: Recipe, number: int) -> None:
    if not torch.isfinite(value):
        raise HwsimError(
            f"training diverges in epoch {number + 1}: the loss is no number any more; "
            f"choose a learning rate below {recipe.rate_in(number):g}"
        )


def _batches(split: Split, recipe: Recipe, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in random order and moved at random: uint8 [n, h, w, c] and labels."""
    order = torch.randperm(len(split), generator=generator).numpy()
    for start in range(0, len(split), recipe.batch):
        part = split.part(order[start : start + recipe.batch])
        images = moved(torch.from_numpy(part.images[:]), recipe.shift, recipe.mirror, generator)
        yield images, torch.from_numpy(part.labels)


def moved(images: Tensor, shift: int, mirror: bool, generator: torch.Generator) -> Tensor:
    """Return images [n, h, w, c], each moved by -shift to shift pixels along both axes and mirrored or not."""
    n, height, width, _ = images.shape
    moves = torch.randint(-shift, shift + 1, (n, 2), generator=generator)
    flipped = torch.randint(2, (n,), generator=generator).bool() & mirror
    padded = torch.nn.functional.pad(images, (0, 0, shift, shift, shift, shift))
    rows = moves[:, :1] + shift + torch.arange(height)
    columns = moves[:, 1:] + shift + torch.arange(width)
    columns = torch.where(flipped[:, None], columns.flip(1), columns)
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
