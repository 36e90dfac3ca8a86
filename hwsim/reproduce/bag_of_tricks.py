"""Hu, Zeng, Wu, Bag of tricks with quantized convolutional neural networks (2023, arXiv 2303.07080)."""

from __future__ import annotations

from hwsim.reproduce.table import Claim, Paper, Setup, Training

_V2 = "MobileNetV2"
_TRICKS = "activations=kl tolerance=1.3"
_W6A8 = "w6a8"
_EDGES = "w4a4/int32 edges=8"

PAPER = Paper(
    name="bag-of-tricks",
    title="Bag of tricks with quantized convolutional neural networks",
    citation=(
        "J. Hu, M. Zeng, E. Wu, Bag of tricks with quantized convolutional neural networks for image classification, "
        "2023, arXiv 2303.07080 (ImageNet top-1, from the text; its tables were not available to us as numbers)"
    ),
    float_accuracy={_V2: 71.94},
    setups=(
        Setup("8/8", "all tricks", "w8a8/int32", _TRICKS, {_V2: 71.94}),
        Setup("8/8", "signed activations", "w8s8/int32", _TRICKS, {_V2: 71.28}),
        Setup("8/8", "weights per tensor", "w8a8/int32", f"{_TRICKS} granularity=tensor"),
        Setup("8/8", "T = 1.0", "w8a8/int32", "activations=kl tolerance=1"),
        Setup("8/8", "plain KL", "w8a8/int32", "activations=kl_tensorrt"),
        Setup("8/8", "min-max", "w8a8/int32", "activations=min_max"),
        Setup("8/8", "additions in half precision", "w8a8/int32", f"{_TRICKS} placement=half"),
        Setup("7/7", "all tricks", "w7a7/int32", _TRICKS),
        Setup("7/7", "weights per tensor", "w7a7/int32", f"{_TRICKS} granularity=tensor"),
        Setup("7/7", "T = 1.0", "w7a7/int32", "activations=kl tolerance=1"),
        Setup("6/8", "INT32", f"{_W6A8}/int32", _TRICKS),
        Setup("6/8", "INT16, wraps", f"{_W6A8}/int16", _TRICKS),
        Setup("6/8", "INT16, saturates", f"{_W6A8}/int16/saturate", _TRICKS),
        Setup("6/8", "narrowest proved", f"{_W6A8}/int32", _TRICKS, accumulators="proved"),
        Setup("4/8", "INT16, wraps", "w4a8/int16", _TRICKS),
        Setup("4/8", "INT32", "w4a8/int32", _TRICKS),
        Setup("4/4", "T = 1.3", "w4a4/int32", _TRICKS),
        Setup("4/4", "T = 1.0", "w4a4/int32", "activations=kl tolerance=1"),
        Setup("4/4", "min-max", "w4a4/int32", "activations=min_max"),
        Setup("4/4", "edges at 8 bits", _EDGES, ""),
        Setup("4/4", "edges at 8 bits, fine-tuned", _EDGES, "", training=Training(epochs=5)),
        *(
            Setup(
                "8/8",
                f"{percent}% pruned, fine-tuned",
                "w8a8/int32",
                "",
                training=Training(percent / 100, 2 if percent else 0, 0.005, 2, 0.001),
            )
            for percent in (0, 10, 20, 30)
        ),
    ),
    claims=(
        Claim("unsigned activations beat signed ones at 8 bits", "8/8 all tricks", "8/8 signed activations"),
        Claim(
            "weights per channel beat weights per tensor at 8 bits",
            "8/8 all tricks",
            "8/8 weights per tensor",
        ),
        Claim(
            "weights per channel beat weights per tensor at 7 bits",
            "7/7 all tricks",
            "7/7 weights per tensor",
        ),
        Claim("T = 1.3 beats T = 1.0 at 8 bits", "8/8 all tricks", "8/8 T = 1.0"),
        Claim("T = 1.3 beats T = 1.0 at 7 bits", "7/7 all tricks", "7/7 T = 1.0"),
        Claim("T = 1.3 beats T = 1.0 at 4 bits", "4/4 T = 1.3", "4/4 T = 1.0"),
        Claim(
            "additions in half precision beat additions on integers",
            "8/8 additions in half precision",
            "8/8 all tricks",
        ),
        Claim("6 x 8 bits in INT16 lose to INT32", "6/8 INT32", "6/8 INT16, wraps"),
        Claim(
            "fine-tuning as integers helps at 4 bits",
            "4/4 edges at 8 bits, fine-tuned",
            "4/4 edges at 8 bits",
        ),
        Claim("30% fewer weights lose nothing", "8/8 30% pruned, fine-tuned", "8/8 0% pruned, fine-tuned"),
        Claim("a saturating INT16 beats a wrapping one", "6/8 INT16, saturates", "6/8 INT16, wraps"),
    ),
    networks=(
        "resnet20-cifar10",
        "mobilenet_v1-imagenet",
        "squeezenet-imagenet",
        "mobilenet_v2-imagenet",
    ),
    notes=(
        "The paper's networks are ResNet-50 and MobileNetV2 on the whole of ImageNet, trained by its authors (71.94 "
        "and, in another table, 72.91 for MobileNetV2 unquantized). Our 1,300 ImageNet images are a selected subset "
        "on which every network scores 8 to 14 points above its published accuracy: compare differences only.",
        "Of its tables only what the text repeats is available as numbers. Its gaps between weights per channel and per "
        "tensor on MobileNetV2 are 0.54 points at 8 bits and 2.48 at 7.",
        "Fine-tuning: 12,000 of CIFAR-10's 50,000 training images instead of ImageNet, 5 epochs at 4 bits and 2 float and 2 "
        "integer epochs of the pruned networks at 8 instead of 20, rates larger in proportion; the paper fine-tunes "
        "MobileNetV2 to 73.35 at 8 bits without pruning, 72.91 in float, and says of 10, 20 and 30% that all beat float.",
        "MobileNetV1 (a quarter of the full width) loses more than half a point at 8 bits, most of it by its weights. On all "
        "images, fake-quantized with thresholds of least squared error: 65.2% with float weights, 63.0% with those of 8 bits, "
        "64.0% and 63.7% where only those of depthwise or of the other layers are rounded, 64.1% with 9 bits, 63.3% with a "
        "zero point for each channel; corrected means bring it back to 64.4 to 64.8%.",
        "What an accumulator does that overflows is not said in the paper; both answers are measured.",
    ),
)
