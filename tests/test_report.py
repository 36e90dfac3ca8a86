"""The report: what it holds, that it is deterministic, and that no name in it can act."""

from __future__ import annotations

import random
from pathlib import Path

from hwsim.explore.evaluation import DesignPoint, Evaluation, LayerResult, Part
from hwsim.report import StudyFacts, write_report

OBJECTIVES = ("accuracy_loss", "gates", "bandwidth", "compression_ratio")
LAYERS = (
    ("stem", "convolution", 9, 16, 64),
    ("depthwise", "convolution", 9, 16, 64),
    ("pointwise", "convolution", 16, 24, 64),
    ("shortcut_add", "add", 0, 24, 64),
    ("pool", "max_pool", 0, 24, 16),
    ("conv2", "convolution", 216, 24, 16),
    ("average", "average_pool", 0, 24, 1),
    ("classifier", "linear", 24, 10, 1),
)


def parts(kind: str, weight: int, activation: int, accumulator: int, channels: int, shift: bool) -> tuple[Part, ...]:
    """Circuits of one layer with sizes of a plausible order; no measurement."""
    requantize = Part("requantize", f"Requantize(accumulator=int{accumulator}, output=uint{activation})", 1,
                      1450 + 31.5 * accumulator, 0, 1900.0 + 40 * accumulator, 2600.0, True)  # fmt: skip
    if kind in ("convolution", "linear"):
        name = f"{'ShiftMac' if shift else 'Mac'}(weight=int{weight}, activation=uint{activation}, accumulator=int{accumulator})"
        gates = (6.0 * weight * activation) * (0.55 if shift else 1) + 11.25 * accumulator
        mac = Part("mac", name, channels, gates, accumulator, gates * 1.33, 400 + 35.0 * (weight + activation), True)
        return (mac, requantize)
    circuit = Part(kind, f"{kind}(uint{activation})", channels, 14.0 * activation, activation, 20.0 * activation, 310.0, True)
    return (circuit, requantize) if kind != "max_pool" else (circuit,)


def evaluation(index: int, layers: tuple[tuple[str, str, int, int, int], ...], seed: int = 0) -> Evaluation:
    """A made-up evaluation, the same for the same arguments."""
    draw = random.Random(f"{seed} {index}")
    low = draw.choice((2, 3, 4, 5, 6, 8)) if index else 8
    shift, accumulator = index > 0 and draw.random() < 0.3, 32 if not index else draw.choice((12, 16, 20, 24, 32))
    results, bits, damage = [], [], 0.0
    for number, (name, kind, products, channels, positions) in enumerate(layers):
        weighted = kind in ("convolution", "linear")
        weight = 8 if not index else min(8, max(2, low + draw.choice((-1, 0, 0, 0, 1)) + (2 if number == 0 else 0)))
        activation = 8 if not index else min(8, max(2, low + draw.choice((0, 0, 1))))
        weight = min(weight, 5) if shift else weight
        text = f"{f'pow2x{weight}' if shift else f'int{weight}'}*uint{activation}/int{accumulator}"
        text += "/saturate" if draw.random() < 0.15 and index else ""
        short = max(0, weight + activation + max(products - 1, 0).bit_length() - 3 - accumulator)
        sums = products * channels * positions * 360 if weighted else 0
        weights = products * channels if weighted else 0
        damage += (2.6 ** (4.2 - weight) + 1.8 ** (3.5 - activation)) * 0.11 * draw.uniform(0.5, 1.5) + short if weighted else 0
        results.append(
            LayerResult(
                name, kind, text if weighted else "", f"uint{activation}", weights * positions, weights,
                parts(kind, weight, activation, accumulator, channels, shift), weights * weight // 8 + 1,
                channels * positions * activation // 8, channels * positions * activation // 8,
                weights * (weight - 1) // 8 + 12 if weighted else 0, sums, int(sums * 1e-4 * short),
            )
        )  # fmt: skip
        if weighted:
            bits.append((name, text))
    quantizer = f"weights=min_max activations={draw.choice(('aciq', 'kl', 'min_max'))} granularity=channel bias_correction=true"
    return Evaluation(
        index=index,
        point=DesignPoint(tuple(bits), "shift_mac" if shift else "mac", quantizer),
        correct=max(36, 355 - round(3.6 * damage)) if index else 354,
        images=360,
        float_correct=355,
        float32_bytes=4 * sum(r.weights for r in results) + 400,
        file_bytes=200 + sum(r.file_bytes for r in results),
        images_per_second=1000.0,
        layers=tuple(results),
    )


def evaluations(count: int, layers: tuple[tuple[str, str, int, int, int], ...] = LAYERS) -> list[Evaluation]:
    return [evaluation(index, layers) for index in range(count)]


def facts(listed: list[Evaluation]) -> StudyFacts:
    return StudyFacts(
        title="Bits for a small digits network",
        model="digits",
        objectives=OBJECTIVES,
        command="hwsim explore designs/digits.toml -o reports/digits",
        stamp={"hwsim": "0.1.0", "Yosys": "0.60", "search seed": "0", "model digest": "1f2e3d4c5b6a7988", "test images": "360", "calibration images": "300"},
        rebuild={e.point.key(): f"hwsim quantize digits --bits reports/digits/points/{e.point.key()}.toml -o {e.point.key()}.safetensors" for e in listed},
        notes=(
            "Bandwidth is counted at 1,000 images per second with 32 KiB on chip.",
            "The accuracies of the test split also ranked the points, so the best of them are flattered by chance.",
        ),
    )
