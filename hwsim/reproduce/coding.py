"""What a variable-length code of a quantized network comes down to: ACIQ's mid-tread levels beside the circuits' integers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwsim import cache
from hwsim.cost.entropy import entropy_bits, mean_over_values, measure_entropies
from hwsim.data import Split
from hwsim.formats import IntArray
from hwsim.layers import INPUT
from hwsim.models.forward import propagate
from hwsim.network import FloatNetwork
from hwsim.quantize.calibrate import Calibration
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.mid_tread import activation_grid, weight_grid
from hwsim.reproduce.measure import Measured, gain
from hwsim.reproduce.table import Bench, Show, Table
from hwsim.reproduce.write import as_csv, markdown

IMAGES = 1024
"""Test images that codes are counted over: as many as the authors take."""

BUDGETS = (3.0, 3.5, 4.0, 4.5, 5.0, 5.4, 6.0)
"""Bits a value that the bins are worth before coding."""

PUBLISHED = (
    ("VGG16", 5.3, 2.2),
    ("VGG16-BN", 5.4, 2.4),
    ("ResNet-18", 5.4, 3.7),
    ("ResNet-50", 5.7, 4.1),
    ("ResNet-101", 5.8, 4.4),
    ("Inception-v3", 6.1, 3.1),
)
"""Bits a value at which accuracy is that of 8 bits, without and with variable-length coding: the authors' talk at NeurIPS
2019, slides 20 to 23. Their code gives 2.2155 bits an activation of VGG16 at 5.3."""

_LARGEST_MACS = 10**8
"""Networks of more are left out: their float64 passes take minutes."""

_VERSION = 1
_BATCH = 64


@dataclass(frozen=True)
class Coded:
    """A network on mid-tread levels over some images: which it gets right, and the entropy in bits a value."""

    correct: list[bool]
    activation_bits: float
    weight_bits: float


def measure_coded(network: FloatNetwork, calibration: Calibration, split: Split, mean_bits: float) -> Coded:
    """Return what mid-tread levels worth ``mean_bits`` a value make of a network: weights, and what layers with weights read.

    The mean of each output channel's weights is corrected, as in the authors' command. The input keeps its 8 bits. Entropy
    is that of the code words of a whole tensor, the mean over tensors weighted by their values.
    """
    folded = fold_batch_norm(network)
    weights, words = _weights(folded, mean_bits)
    read = {layer.inputs[0] for layer in folded.layers if layer.has_weights} - {INPUT}
    grids = {name: activation_grid(calibration.channels[name], mean_bits) for name in read}
    seen: dict[str, IntArray] = {
        name: np.zeros(int(grid.high.max() - grid.low.min()) + 1, np.int64) for name, grid in grids.items()
    }

    def quantized(name: str, x: Tensor) -> Tensor:
        if name not in grids:
            return x
        codes = grids[name].codes(x.numpy())
        seen[name] += np.bincount(codes.ravel() - grids[name].low.min(), minlength=seen[name].size)
        return torch.from_numpy(grids[name].values(codes))

    correct: list[bool] = []
    with torch.inference_mode():
        for start in range(0, len(split), _BATCH):
            part = split.part(slice(start, start + _BATCH))
            x = torch.from_numpy(np.ascontiguousarray(network.preprocessing.apply(part.images[:])))
            *_, (_, scores) = propagate(folded.layers, weights, x, change=quantized)
            correct += (scores.flatten(1).argmax(1).numpy() == part.labels).tolist()
    return Coded(correct, _entropy(seen), _entropy(words))


def _entropy(counts: Mapping[str, IntArray]) -> float:
    return mean_over_values({name: entropy_bits(seen) for name, seen in counts.items()}, counts)


def _weights(folded: FloatNetwork, mean_bits: float) -> tuple[dict[str, Tensor], dict[str, IntArray]]:
    """Return the parameters with quantized weights, and how often each code word of each layer's weights occurs."""
    parameters = dict(folded.parameters)
    words = dict[str, IntArray]()
    for layer in folded.layers:
        if layer.has_weights:
            rows = parameters[f"{layer.name}.weight"].reshape(layer.output_shape[0], -1)
            grid = weight_grid(rows, mean_bits)
            codes = grid.codes(rows.T)
            values = grid.values(codes).T
            values += (rows - values).mean(axis=1, keepdims=True)
            parameters[f"{layer.name}.weight"] = values.reshape(layer.weight_shape)
            words[layer.name] = np.unique(codes, return_counts=True)[1]
    return {name: torch.tensor(array) for name, array in parameters.items()}, words


_EIGHT = "8/8 min-max"
_INTEGERS = (_EIGHT, "4/4 all three")
"""Setups whose circuits' integers stand beside: their own tensors, scales and edges."""


def section(table: Table, benches: Sequence[Bench], show: Show) -> tuple[dict[str, str], dict[str, str]]:
    """Return a text on the entropy of ACIQ's code words on every small network, by heading, and the figures as a file."""
    small = [at for at in benches if sum(layer.macs for layer in at.network.layers) <= _LARGEST_MACS]
    if table.paper.name != "aciq" or not small:
        return {}, {}
    rows = [row for at in small for row in (*_mid_tread(table, at, show), *_integers(table, at))]
    published = [
        [f"{name} (paper)", "mid-tread", str(bits), str(coded), "", ""] for name, bits, coded in PUBLISHED
    ]
    ours = [
        [
            row["network"],
            row["levels"],
            f"{row['bits']:g}",
            f"**{row['activation_entropy']:.2f}** ({row['weight_entropy']:.2f})",
            f"{row['top1']:.2f}",
            row["against_8_bits"],
        ]
        for row in rows
    ]
    text = (
        "The paper codes with variable lengths and reports, where accuracy is that of 8 bits, the Shannon entropy of its code "
        "words. Its levels are mid-tread: a channel takes a real number of bins by its spread, all together as many as the bits "
        f"a value are worth (figures of their talk at NeurIPS 2019). Here over {rows[0]['images']} test images in float arithmetic, weights and activations on such levels, the "
        "input in 8 bits; and the integers of two setups above, at their circuits' accumulators and widths, whose entropy "
        "`hwsim quantize --entropy` prints. Bits a value of activations, in brackets of weights; gains are those over "
        f"the circuits of {_EIGHT}, of the same images. Also in [codes.csv](codes.csv).\n\n"
        + markdown(["network", "levels", "bits a value", "coded", "top-1", "gained"], [*published, *ours])
        + "\n\n"
        + " ".join(_gap(at.name, rows) for at in small)
    )
    return {"Variable-length codes": text}, {"codes.csv": as_csv(rows)}


def _mid_tread(table: Table, at: Bench, show: Show) -> Iterator[dict[str, Any]]:
    split = at.test.part(slice(IMAGES))
    for place, bits in enumerate(BUDGETS):
        show(f"{at.name} variable-length codes", place, len(BUDGETS))
        coded = _recalled(at, split, bits)
        entropies = (coded.activation_bits, coded.weight_bits)
        yield _row(table, at, "mid-tread", bits, entropies, np.array(coded.correct))


def _integers(table: Table, at: Bench) -> Iterator[dict[str, Any]]:
    split = at.test.part(slice(IMAGES))
    for setup in (setup for setup in table.paper.setups if setup.name in _INTEGERS):
        measured = table.of(setup.name, at.name)
        assert measured is not None
        found = measure_entropies(at.quantized(setup), split.images)
        entropies, bits = (found.mean_activation, found.mean_weight), float(setup.group[0])
        yield _row(table, at, f"circuits, {setup.name}", bits, entropies, measured.correct[:IMAGES])


def _row(
    table: Table,
    at: Bench,
    levels: str,
    bits: float,
    entropies: tuple[float, float],
    correct: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    eight = table.of(_EIGHT, at.name)
    assert eight is not None
    gained = gain(Measured(correct, 0.0), Measured(eight.correct[: len(correct)], 0.0))
    return {
        "network": at.name,
        "levels": levels,
        "bits": bits,
        "activation_entropy": round(entropies[0], 4),
        "weight_entropy": round(entropies[1], 4),
        "images": len(correct),
        "top1": round(100 * float(correct.mean()), 2),
        "against_8_bits": str(gained),
        "worse_than_8_bits": gained.high < 0,
    }


def _gap(network: str, rows: Sequence[dict[str, Any]]) -> str:
    """Return in words what the fewest bits without loss come down to, beside the paper's network nearest in kind."""
    own = [row for row in rows if row["network"] == network and row["levels"] == "mid-tread"]
    fits = list(takewhile(lambda row: not row["worse_than_8_bits"], reversed(own)))
    if not fits:
        return f"On {network} no number of bits here keeps the accuracy of 8 bits."
    row = fits[-1]
    name, bits, coded = PUBLISHED[2]
    return (
        f"On {network} {row['bits']:g} bits a value are the fewest here from which on none is worse than 8 bits; they come "
        f"down to {row['activation_entropy']:.2f}, {row['activation_entropy'] - coded:+.2f} against the paper's {coded} of "
        f"{name} at {bits}."
    )


def _recalled(at: Bench, split: Split, mean_bits: float) -> Coded:
    """Return what was measured before of a network, or what is measured now."""
    parts = [_VERSION, at.network.digest(), at.seen.digest(), split.digest(), mean_bits]
    name = f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.json"
    kept = cache.recall("measured", name)
    if kept is not None:
        return Coded(**json.loads(kept))
    coded = measure_coded(at.network, at.calibration, split, mean_bits)
    cache.remember(json.dumps(asdict(coded)).encode(), "measured", name)
    return coded
