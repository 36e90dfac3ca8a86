"""Published networks as torch modules, with the state-dict names of their usual checkpoints (torchvision's).

K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, 2016, table 1; A. Howard et al.,
MobileNets, 2017, table 1; M. Sandler et al., MobileNetV2, 2018, table 2; F. Iandola et al., SqueezeNet, 2016,
in its version 1.1. Weights come from files: :func:`hwsim.models.state_dict.load_weights`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class Residual(nn.Module):
    """A residual block of two 3x3 convolutions, or of 1x1, 3x3 and 1x1 where it is a bottleneck."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        # The stride is in the 3x3 convolution, as in torchvision, not in the first 1x1 of the paper.
        shapes = (
            [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
            if bottleneck
            else [(inputs, width, 3, stride), (width, width, 3, 1)]
        )
        self.depth = len(shapes)
        for index, shape in enumerate(shapes, start=1):
            self.add_module(f"conv{index}", _conv(*shape))
            self.add_module(f"bn{index}", nn.BatchNorm2d(shape[1]))
        self.relu = nn.ReLU()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        else:
            self.downsample = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for index in range(1, self.depth + 1):
            y = self.get_submodule(f"bn{index}")(self.get_submodule(f"conv{index}")(y))
            if index < self.depth:
                y = self.relu(y)
        return self.relu(y + self.downsample(x))  # type: ignore[no-any-return]


def _resnet(blocks: Sequence[int], bottleneck: bool, classes: int) -> nn.Sequential:
    channels, stages = 64, []
    for stage, count in enumerate(blocks):
        layers = []
        for block in range(count):
            width = 64 << stage
            layers.append(Residual(channels, width, 2 if stage and not block else 1, bottleneck))
            channels = 4 * width if bottleneck else width
        stages.append((f"layer{stage + 1}", nn.Sequential(*layers)))
    return nn.Sequential(
        OrderedDict(
            [
                ("conv1", _conv(3, 64, 7, 2)),
                ("bn1", nn.BatchNorm2d(64)),
                ("relu", nn.ReLU()),
                ("maxpool", nn.MaxPool2d(3, 2, 1)),
                *stages,
                ("avgpool", nn.AdaptiveAvgPool2d(1)),
                ("flatten", nn.Flatten()),
                ("fc", nn.Linear(channels, classes)),
            ]
        )
    )


def resnet18(classes: int = 1000) -> nn.Sequential:
    """ResNet-18 for 224x224 images, 11.7 M parameters."""
    return _resnet((2, 2, 2, 2), False, classes)


def resnet34(classes: int = 1000) -> nn.Sequential:
    """ResNet-34 for 224x224 images, 21.8 M parameters."""
    return _resnet((3, 4, 6, 3), False, classes)


def resnet50(classes: int = 1000) -> nn.Sequential:
    """ResNet-50 for 224x224 images, 25.6 M parameters."""
    return _resnet((3, 4, 6, 3), True, classes)


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs), nn.ReLU6())


class InvertedResidual(nn.Module):
    """MobileNetV2's block: widen, filter each channel by itself, narrow; added to its input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.conv = nn.Sequential(
            *([_conv_norm(inputs, wide, 1, 1)] if expansion != 1 else []),
            _conv_norm(wide, wide, 3, stride, wide),
            _conv(wide, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)  # type: ignore[no-any-return]


def _classifier(features: nn.Sequential, channels: int, dropout: float, classes: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            features=features,
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, classes)),
        )
    )


def mobilenet_v2(classes: int = 1000) -> nn.Sequential:
    """MobileNetV2 of width 1.0 for 224x224 images, 3.5 M parameters."""
    stages = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    layers: list[nn.Module] = [_conv_norm(3, 32, 3, 2)]
    channels = 32
    for expansion, outputs, count, stride in stages:
        for block in range(count):
            layers.append(InvertedResidual(channels, outputs, 1 if block else stride, expansion))
            channels = outputs
    return _classifier(nn.Sequential(*layers, _conv_norm(channels, 1280, 1, 1)), 1280, 0.2, classes)


def mobilenet_v1(width: float = 1.0, classes: int = 1000) -> nn.Sequential:
    """MobileNetV1 for 224x224 images, 4.2 M parameters at width 1.0; torchvision has none to take names from."""
    stages = (
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    )
    channels = int(32 * width)
    layers = [_conv_norm(3, channels, 3, 2)]
    for outputs, stride in stages:
        layers.append(
            nn.Sequential(
                *_conv_norm(channels, channels, 3, stride, channels),
                *_conv_norm(channels, int(outputs * width), 1, 1),
            )
        )
        channels = int(outputs * width)
    return _classifier(nn.Sequential(*layers), channels, 0.001, classes)


class Fire(nn.Module):
    """SqueezeNet's block: 1x1 to few channels, then 1x1 and 3x3 side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.squeeze(x))
        return torch.cat([self.relu(self.expand1x1(x)), self.relu(self.expand3x3(x))], 1)


def squeezenet(classes: int = 1000) -> nn.Sequential:
    """SqueezeNet 1.1 for 224x224 images, 1.24 M parameters."""
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    features = nn.Sequential(
        nn.Conv2d(3, 64, 3, 2),
        nn.ReLU(),
        pool,
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        pool,
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        pool,
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )
    classifier = nn.Sequential(
        nn.Dropout(0.5), nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    )
    return nn.Sequential(OrderedDict(features=features, classifier=classifier, flatten=nn.Flatten()))
