"""Zhao, Gao, Bates, Mullins, Xu, Focused quantization for sparse CNNs (NeurIPS 2019, arXiv 1903.03046), tables 1 and 2."""

from __future__ import annotations

from dataclasses import replace

from hwsim.reproduce.table import Claim, Paper, Setup, Training

_R18, _R50 = "ResNet-18", "ResNet-50"
_EPOCHS = {50: 2, 75: 4}
"""Float epochs of fine-tuning at each percentage of zeros."""

_INTEGER_EPOCHS = 2
"""Epochs of fine-tuning on the quantized weights."""

_PUBLISHED = {
    (75, "pruned, float"): {_R18: 69.24, _R50: 75.10},
    (75, "focused 5 bits, fine-tuned"): {_R18: 67.89, _R50: 74.86},
    (75, "focused 7 bits"): {_R18: 68.57, _R50: 74.99},
}


def _setups(percent: int) -> tuple[Setup, ...]:
    training = Training(percent / 100, _EPOCHS[percent])
    tuned = replace(training, epochs=_INTEGER_EPOCHS)
    setups = (
        Setup("", "pruned, float", "", ""),
        Setup("", "pruned, 8 bits", "w8a8/int32", ""),
        Setup("", "focused 5 bits", "f5a8/int32", ""),
        Setup("", "focused 7 bits", "f7a8/int32", ""),
        Setup("", "shift 5 bits", "f5a8/int32", "separation=99"),
        Setup("", "focused 5 bits, fine-tuned", "f5a8/int32", "", training=tuned),
        Setup("", "shift 5 bits, fine-tuned", "f5a8/int32", "separation=99", training=tuned),
        Setup("", "k-means 5 bits", "w8a8/int32", "", file=("codebook", 5)),
        Setup("", "k-means 4 bits", "w8a8/int32", "", file=("codebook", 4)),
    )
    return tuple(
        replace(
            setup,
            group=f"{percent}%",
            published=_PUBLISHED.get((percent, setup.method), {}),
            training=setup.training or training,
        )
        for setup in setups
    )


PAPER = Paper(
    name="focused",
    title="Focused quantization for sparse CNNs",
    citation=(
        "Y. Zhao, X. Gao, D. Bates, R. Mullins, C.-Z. Xu, Focused quantization for sparse CNNs, NeurIPS 2019, "
        "arXiv 1903.03046, tables 1 and 3 (ImageNet top-1)"
    ),
    float_accuracy={_R18: 68.94, _R50: 75.58},
    setups=(*_setups(50), *_setups(75)),
    claims=tuple(
        claim
        for percent in _EPOCHS
        for claim in (
            Claim(
                f"focused beats plain shift at 5 bits, {percent}% zeros",
                f"{percent}% focused 5 bits",
                f"{percent}% shift 5 bits",
            ),
            Claim(
                f"focused beats plain shift at 5 bits, both fine-tuned, {percent}% zeros",
                f"{percent}% focused 5 bits, fine-tuned",
                f"{percent}% shift 5 bits, fine-tuned",
            ),
            Claim(
                f"fine-tuning helps focused weights of 5 bits, {percent}% zeros",
                f"{percent}% focused 5 bits, fine-tuned",
                f"{percent}% focused 5 bits",
            ),
            Claim(
                f"7 bits beat 5 bits, {percent}% zeros",
                f"{percent}% focused 7 bits",
                f"{percent}% focused 5 bits",
            ),
            Claim(
                f"not the paper's: focused beats k-means at 5 bits, {percent}% zeros",
                f"{percent}% focused 5 bits",
                f"{percent}% k-means 5 bits",
            ),
        )
    ),
    networks=("resnet20-cifar10",),
    notes=(
        "The paper prunes ImageNet networks to 75% (ResNet-18) and 83% (ResNet-50) zeros while it trains them and "
        "fine-tunes again under quantization; here ResNet-20 is pruned once by magnitude, fine-tuned in float on 12,000 "
        "images, and quantized after training; two epochs with its quantized weights follow where a row says fine-tuned. The "
        "paper's figures are all of fine-tuned networks; that of ResNet-18 at 5 bits is the one with 8-bit activations.",
        "Its ratios count convolution weights alone for ResNet-50 and all parameters for ResNet-18; both scopes are "
        "given here. A file holds the code tables, scales and means that it is decoded with.",
        "k-means shares float values (Han, Mao, Dally, Deep Compression, ICLR 2016): a lookup and a full multiplier in "
        "hardware, here its values rounded to 8 bits. Plain shift is the same layout without recentralization.",
    ),
)
