"""Torch modules: the network that comes out computes what the module does, or the module is refused by name."""

from __future__ import annotations

import operator

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import hwsim
from hwsim.errors import HwsimError
from hwsim.models.forward import logits
from hwsim.quantize import quantize

RGB = hwsim.Preprocessing(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SHAPE = (3, 16, 12)
X = np.random.Generator(np.random.PCG64(5)).normal(size=(3, *SHAPE))


class Calls(nn.Module):
    """A module whose forward is a function of it and the images."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def settle(module, generator):
    """Give batch norms running statistics that are not the initial ones."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) and part.running_mean is not None:
            part.running_mean.normal_(generator=generator)
            part.running_var.uniform_(0.3, 3, generator=generator)
            if part.affine:
                nn.init.normal_(part.weight, generator=generator)
                nn.init.normal_(part.bias, generator=generator)
    return module


def conv(inputs=3, outputs=6, kernel=3, **options):
    return nn.Conv2d(inputs, outputs, kernel, **options)


def classifier(features):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 5))


def pooled(x):
    """The mean of every channel by way of sizes: what many published networks end in."""
    return functional.avg_pool2d(x, x.size()[2:]).view(x.size(0), -1)


def relus(m, x):
    y = m.conv(x)
    return pooled(
        torch.cat(
            [
                torch.relu(y),
                functional.relu6(y),
                m.relu6(y),
                y.clamp(-1, 1),
                y.relu(),
                functional.hardtanh(y),
            ],
            1,
        )
    )


def additions(m, x):
    y = operator.iadd(torch.add(m.first(x), m.second(x)), m.first(x))
    y += m.second(x)
    return pooled(y.add(y))


def splits(m, x):
    y = m.conv(x)
    first, second = y.chunk(2, dim=1)
    _, rest = torch.split(y, [1, 5], 1)
    return pooled(torch.cat([second + first, rest, y.split(4, dim=-3)[1], torch.chunk(y, 4, 1)[-1]], 1))


def in_place(m, x):
    y = m.conv(x)
    return pooled(m.relu(y) + y)


def shuffled(x, groups, exchange):
    """Channels shuffled as ShuffleNets do it."""
    n, channels, height, width = x.data.size()
    x = exchange(x.view(n, groups, channels // groups, height, width)).contiguous()
    return x.view(n, -1, height, width)


def shuffles(m, x):
    y = m.conv(x)
    ways = [
        shuffled(y, 2, lambda g: torch.transpose(g, 1, 2)),
        shuffled(y, 3, lambda g: g.permute(0, 2, 1, 3, 4)),
        shuffled(y, 3, lambda g: g.swapaxes(-3, 1).transpose(2, 1).transpose(1, 2)),
        m.shuffle(y),
        functional.channel_shuffle(y, 2),
        y.view(-1, 1, 6, 16, 12).transpose(2, 1).flatten(1, 2),
    ]
    return torch.cat(
        [pooled(torch.cat(ways, 1)), y.reshape(x.shape[0], 2, -1, 16, 12).transpose(1, 2).flatten(1)], 1
    )


MODULES = {
    "stride, padding, groups": lambda: nn.Sequential(
        conv(padding=(1, 2), stride=(2, 1)),
        nn.ReLU(),
        conv(6, 4, (1, 3), groups=2, bias=False),
        classifier(4),
    ),
    "padding by name": lambda: nn.Sequential(
        conv(kernel=(3, 5), padding="same"), conv(6, 6, 3, padding="valid", groups=6), classifier(6)
    ),
    "dilation": lambda: nn.Sequential(
        conv(dilation=(2, 3), padding=(1, 4), stride=(2, 1)),
        conv(6, 4, (1, 3), groups=2, dilation=(5, 2), padding="same"),
        conv(4, 8, 3, groups=4, dilation=2, padding="same", bias=False),
        conv(8, 8, (2, 3), groups=8, dilation=3, padding="same"),
        conv(8, 8, 3, groups=8, dilation=4, padding=4, stride=2),
        classifier(8),
    ),
    "channel shuffles": lambda: Calls(shuffles, conv=conv(padding=1), shuffle=nn.ChannelShuffle(3)),
    "batch norm": lambda: nn.Sequential(
        conv(),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(6, affine=False, eps=0.1),
        classifier(6),
        nn.BatchNorm1d(5),
    ),
    "ReLUs": lambda: Calls(relus, conv=conv(), relu6=nn.ReLU6()),
    "additions": lambda: Calls(additions, first=conv(), second=conv()),
    "pools": lambda: nn.Sequential(
        nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d((2, 1), (1, 1), (1, 0)),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(45, 7),
    ),
    "adaptive pools": lambda: nn.Sequential(
        nn.AdaptiveMaxPool2d((8, None)),
        nn.AdaptiveAvgPool2d(4),
        nn.AdaptiveAvgPool2d((4, 4)),
        nn.Flatten(1),
        nn.Linear(48, 5),
    ),
    "functional pools": lambda: Calls(
        lambda m, x: functional.adaptive_avg_pool2d(
            functional.max_pool2d(functional.avg_pool2d(x, 2), 2, stride=1), (1, 1)
        ).flatten(1)
    ),
    "means": lambda: Calls(
        lambda m, x: torch.cat([x.mean([2, 3]), torch.mean(x, (-1, -2), keepdim=True).flatten(1)], 1)
    ),
    "views": lambda: Calls(
        lambda m, x: m.fc(m.conv(x).view(x.shape[0], -1)) + m.fc(m.conv(x).reshape(-1, 3 * 14 * 10)),
        conv=conv(outputs=3),
        fc=nn.Linear(420, 4),
    ),
    "dropout and identity": lambda: Calls(
        lambda m, x: m.drop(functional.dropout(m.same(x), 0.9, m.training)).contiguous().mean([2, 3]),
        drop=nn.Dropout2d(0.7),
        same=nn.Identity(),
    ),
    "option A shortcut": lambda: Calls(
        lambda m, x: pooled(m.conv(x) + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 2), "constant", 0)),
        conv=conv(stride=2, padding=1),
    ),
    "padding of its own": lambda: Calls(
        lambda m, x: pooled(m.conv(m.pad(functional.pad(x, (1, 0, 2, 1))))),
        conv=conv(padding=1),
        pad=nn.ZeroPad2d((0, 1, 1, 0)),
    ),
    "padding before an average pool": lambda: nn.Sequential(
        nn.ZeroPad2d((1, 0, 0, 2)), nn.AvgPool2d(3, 2, 1), classifier(3)
    ),
    "splits": lambda: Calls(splits, conv=conv()),
    "softmax at the end": lambda: nn.Sequential(classifier(3), nn.LogSoftmax(dim=1)),
    "in place on what is read again": lambda: Calls(in_place, conv=conv(), relu=nn.ReLU(inplace=True)),
    "one convolution used twice": lambda: Calls(lambda m, x: pooled(m.conv(m.conv(x))), conv=conv(outputs=3)),
    "what the output does not need": lambda: Calls(lambda m, x: (m.conv(x), pooled(x))[1], conv=conv()),
    "functions with parameters": lambda: Calls(
        lambda m, x: functional.linear(pooled(functional.conv2d(x, m.filters, None, 2, 1)), m.matrix),
        filters=nn.Parameter(torch.randn(4, 3, 3, 3)),
        matrix=nn.Parameter(torch.randn(5, 4)),
    ),
}


def own_result(module, x):
    """What the module itself says in inference, without the softmax that changes no class."""
    module.eval()
    if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.LogSoftmax):
        module = module[:-1]
    with torch.inference_mode():
        return module(torch.from_numpy(x).float()).numpy()


@pytest.mark.parametrize("case", MODULES)
def test_a_module_keeps_its_result_in_training_mode_too(case):
    torch.manual_seed(0)
    module = settle(MODULES[case](), torch.default_generator).train()
    network = hwsim.from_module(module, SHAPE, RGB, name="mine", data="digits")
    assert (network.name, network.data, network.input_shape) == ("mine", "digits", SHAPE)
    assert all(part.training for part in module.modules())
    np.testing.assert_allclose(logits(network, X), own_result(module, X), rtol=1e-5, atol=1e-5)


class Random(nn.Module):
    """A module of random parts, joined by additions and concatenations, from a seed."""

    def __init__(self, seed):
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.blocks = nn.ModuleList()
        self.joins = []
        channels = 3
        for _ in range(self.rng.integers(2, 6)):
            outputs = int(self.rng.choice([4, 6, 8]))
            branches = nn.ModuleList(self.branch(channels, outputs) for _ in range(self.rng.integers(1, 4)))
            self.blocks.append(branches)
            self.joins.append(str(self.rng.choice(["add", "cat"])))
            channels = outputs * (len(branches) if self.joins[-1] == "cat" else 1)
        self.end = classifier(channels)

    def branch(self, channels, outputs):
        kernel, dilation = (int(self.rng.choice(sizes)) for sizes in ([1, 3, 5], [1, 1, 2, 3]))
        groups = int(self.rng.choice([g for g in (1, 2, channels) if channels % g == outputs % g == 0]))
        parts = [
            conv(
                channels, outputs, kernel, padding=kernel // 2 * dilation, groups=groups, dilation=dilation,
                bias=bool(self.rng.integers(2)),
            ),
        ]  # fmt: skip
        choices = [
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.ReLU6(),
            nn.Dropout(),
            nn.MaxPool2d(3, 1, 1),
            nn.ChannelShuffle(2),
        ]
        parts += [choices[i] for i in self.rng.permutation(len(choices))[: self.rng.integers(4)]]
        return nn.Sequential(*parts)

    def forward(self, x):
        for branches, join in zip(self.blocks, self.joins, strict=True):
            made = [branch(x) for branch in branches]
            x = torch.cat(made, 1) if join == "cat" else sum(made[1:], made[0])
        return self.end(x)


@pytest.mark.parametrize("seed", range(40))
def test_a_random_module_keeps_its_result(seed):
    torch.manual_seed(seed)
    module = settle(Random(seed), torch.default_generator)
    network = hwsim.from_module(module, SHAPE, RGB)
    np.testing.assert_allclose(logits(network, X), own_result(module, X), rtol=1e-4, atol=1e-5)


def transposed(module):
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.weight = nn.Parameter(
                part.weight.detach().permute(3, 1, 2, 0).contiguous().permute(3, 1, 2, 0)
            )
            assert not part.weight.is_contiguous()
    return module


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.half(),
        lambda module: module.bfloat16(),
        lambda module: module.double(),
        transposed,
        lambda module: module.to(memory_format=torch.channels_last),
    ],
    ids=["half", "bfloat16", "double", "transposed", "channels last"],
)
def test_weights_of_any_float_type_and_layout_are_the_same_bits_as_float64(change):
    torch.manual_seed(0)
    module = change(nn.Sequential(conv(), nn.ReLU(), conv(6, 6), classifier(6)))
    network = hwsim.from_module(module, SHAPE, RGB)
    expected = {key: value.double().numpy().copy() for key, value in module.state_dict().items()}
    assert len(expected) == len(network.parameters)
    for key, array in network.parameters.items():
        np.testing.assert_array_equal(array.reshape(expected[key].shape), expected[key], strict=True)
        assert array.flags.c_contiguous


def test_shared_weights_give_the_integer_network_of_copied_ones():
    torch.manual_seed(0)
    shared = nn.Sequential(conv(outputs=3), conv(outputs=3), classifier(3))
    shared[1].weight = shared[0].weight
    copied = nn.Sequential(conv(outputs=3), conv(outputs=3), classifier(3))
    copied.load_state_dict(shared.state_dict())
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 12, 3), np.uint8)
    digests = [
        quantize(hwsim.from_module(module, SHAPE, RGB, name="net"), "w8a8", images).digest()
        for module in (shared, copied)
    ]
    assert digests[0] == digests[1]


REFUSED = {
    "unsupported parts": (
        lambda: nn.Sequential(conv(), nn.GELU(), nn.InstanceNorm2d(6), nn.Sigmoid(), classifier(6)),
        'not supported: GELU "1"; InstanceNorm2d "2"; Sigmoid "3";',
    ),
    "unsupported functions": (
        lambda: Calls(lambda m, x: pooled(functional.gelu(x).sum(2, 3) * 2)),
        'not supported: gelu "gelu"; method sum "sum_1"; mul "mul";',
    ),
    "options": (
        lambda: nn.Sequential(
            nn.MaxPool2d(3, dilation=2), nn.AvgPool2d(3, 1, 1, count_include_pad=False), classifier(6)
        ),
        'MaxPool2d "0" has dilation (2, 2), only 1 is supported',
    ),
    "all options at once": (
        lambda: Calls(
            lambda m, x: pooled(m.a(x) + m.b(x)),
            a=nn.MaxPool2d(3, dilation=2),
            b=conv(padding=2, padding_mode="reflect"),
        ),
        'MaxPool2d "a" has dilation (2, 2), only 1 is supported; Conv2d "b" has padding_mode "reflect"',
    ),
    "split of rows": (lambda: Calls(lambda m, x: pooled(x.chunk(2, 2)[0])), "splits axis 2, only channels"),
    "added constant": (lambda: Calls(lambda m, x: pooled(x + 1)), 'add "add" adds a constant'),
    "axes exchanged": (
        lambda: Calls(lambda m, x: pooled(x.transpose(2, 3))),
        'method transpose "transpose" exchanges axes 2 and 3, only the groups of a channel shuffle',
    ),
    "channels in groups that are read": (
        lambda: Calls(lambda m, x: torch.relu(x.view(x.size(0), 1, 3, 16, 12)).flatten(1)),
        'relu "relu" reads channels in groups; only a channel shuffle',
    ),
    "another view": (lambda: Calls(lambda m, x: pooled(x.view(x.size(0), 6, 8, 12))), "reshapes [3, 16, 12]"),
    "linear on an image": (lambda: nn.Linear(12, 3), "put a flatten before it"),
    "statistics of the batch": (
        lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), classifier(3)),
        'BatchNorm2d "0" has no running statistics',
    ),
    "control flow": (
        lambda: Calls(lambda m, x: pooled(x) if x.sum() > 0 else x),
        "cannot be traced by torch.fx: TraceError",
    ),
    "two outputs": (lambda: Calls(lambda m, x: (pooled(x), x)), "its output is no computed tensor"),
    "the images": (lambda: nn.Identity(), "its output is no computed tensor"),
    "no scores": (lambda: conv(), "its output is [n, "),
    "no width": (
        lambda: nn.Sequential(conv(kernel=20), classifier(6)),
        "a 20x20 window does not fit a 16x12 input",
    ),
    "uneven pools": (lambda: nn.AdaptiveAvgPool2d(5), "pools 16x12 to 5x5"),
    "a hook": (lambda: hooked(nn.Sequential(conv(), classifier(6))), "let no layer have hooks"),
    "softmax before the end": (
        lambda: nn.Sequential(classifier(3), nn.Softmax(1), nn.Linear(5, 2)),
        'Softmax "1" is not the last step',
    ),
    "dropout that stays": (
        lambda: Calls(lambda m, x: pooled(functional.dropout(x))),
        "pass training=self.training",
    ),
}


def hooked(module):
    module[0].register_forward_hook(lambda part, arguments, output: output * 2)
    return module


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_told_in_one_sentence(case):
    make, sentence = REFUSED[case]
    with pytest.raises(HwsimError) as caught:
        hwsim.from_module(make(), SHAPE, RGB)
    assert sentence in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named_and_counted(value):
    module = nn.Sequential(conv(), classifier(6))
    with torch.no_grad():
        module[0].weight[0, 0, 0, :2] = value
    with pytest.raises(
        HwsimError, match=r'layer "0" has 2 of 162 values in its weight that are NaN or infinite'
    ):
        hwsim.from_module(module, SHAPE, RGB)


def test_a_file_of_ones_own_gives_module_weights_and_preprocessing(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import hwsim, torch\nfrom torch import nn\n\n\n"
        "def net():\n    torch.manual_seed(0)\n"
        "    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))\n"
        "    return hwsim.from_module(module, (1, 8, 8), hwsim.Preprocessing(16.0, (0.0,), (1.0,)), data='digits')\n\n\n"
        "def bare():\n    return nn.Linear(1, 1)\n"
    )
    network = hwsim.quantize_model(f"{tmp_path}/mine.py:net", "w8a8/int32", images=20)
    assert list(network.bits) == ["0", "3"]
    with pytest.raises(HwsimError, match=r"returns Linear; .* hwsim.from_module"):
        hwsim.load_model(f"{tmp_path}/mine.py:bare")
