"""Integer inference against a plain-Python interpreter that walks every window and every product."""

from dataclasses import replace
from functools import partial
from math import floor

import numpy as np
import pytest

import networks
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow, Rounding
from hwsim.layers import INPUT, Moving
from hwsim.simulate import inference
from hwsim.simulate.inference import compute_layer, measure_accuracy, run, wilson


def clamp(value, form):
    return min(max(value, form.minimum), form.maximum)


def requantized(item, exact, channel):
    bias, shift = (int(c[min(channel, len(c) - 1)]) for c in (item.bias, item.shift))
    half_up = floor((exact + bias) / 2**shift + 0.5)
    if item.width is None:
        return clamp(half_up, item.output)
    width = int(item.width[channel])
    clamped = clamp(half_up, Int(width, item.output.signed)) if width else 0
    return clamped * 2 ** int(item.exponent[channel])


def accumulated(pairs, bits):
    total, overflowed, form = 0, False, bits.accumulator
    for a, w in pairs:
        exact = total + a * w
        total = clamp(exact, form)
        if bits.overflow is Overflow.WRAP:
            total = (exact - form.minimum) % (1 << form.bits) + form.minimum
        overflowed |= total != exact
    return total, overflowed


def taps(operator, y, x, shape):
    """Yield (row, column, kernel row, kernel column) of a window's places inside the plane."""
    down, along = getattr(operator, "dilation", (1, 1))
    for i in range(operator.kernel[0]):
        for j in range(operator.kernel[1]):
            r = y * operator.stride[0] + i * down - operator.padding[0]
            c = x * operator.stride[1] + j * along - operator.padding[1]
            if 0 <= r < shape[1] and 0 <= c < shape[2]:
                yield r, c, i, j


def interpret(network, image):
    """Every tensor of one image, and which sums overflowed, in Python integers."""
    first = [
        [[int(network.input_table[c, p[c]]) for p in row] for row in image] for c in range(image.shape[2])
    ]
    tensors, overflows = {INPUT: np.array(first)}, {}
    for item in network.layers:
        layer, operator = item.layer, item.layer.operator
        xs = [tensors[name] for name in layer.inputs]
        x, shape = xs[0], layer.input_shapes[0]
        out = np.zeros(layer.output_shape, np.int64)
        over = np.zeros(layer.output_shape, bool)
        for c, r, k in np.ndindex(*layer.output_shape):
            match layer.kind:
                case "convolution" | "linear":
                    conv = layer.as_convolution
                    width = shape[0] // conv.groups
                    start = c // (conv.out_channels // conv.groups) * width
                    pairs = [
                        (int(x[start + d, i, j]), int(item.weight[c, d, ki, kj]))
                        for d in range(width)
                        for i, j, ki, kj in taps(conv, r, k, shape)
                    ]
                    total, over[c, r, k] = accumulated(pairs, item.bits)
                    out[c, r, k] = requantized(item, total * int(item.multiplier[c]), c)
                case "max_pool":
                    out[c, r, k] = max(int(x[c, i, j]) for i, j, _, _ in taps(operator, r, k, shape))
                case "average_pool":
                    total = sum(int(x[c, i, j]) for i, j, _, _ in taps(operator, r, k, shape))
                    out[c, r, k] = requantized(item, total * int(item.multiplier[0]), c)
                case "add":
                    total = sum(int(t[c, r, k]) * int(m) for t, m in zip(xs, item.multiplier, strict=True))
                    out[c, r, k] = requantized(item, total, c)
                case "rescale":
                    out[c, r, k] = requantized(item, int(x[c, r, k]) * int(item.multiplier[0]), c)
                case "concatenate":
                    out[c, r, k] = [v for t in xs for v in t[:, r, k]][c]
                case "flatten":
                    out[c, r, k] = x.ravel()[c]
                case "slice":
                    a, s = operator.starts, operator.steps
                    out[c, r, k] = x[a[0] + s[0] * c, a[1] + s[1] * r, a[2] + s[2] * k]
                case "channel_shuffle":
                    place, group = divmod(c, operator.groups)
                    out[c, r, k] = x[group * (shape[0] // operator.groups) + place, r, k]
                case "pad_channels":
                    inside = 0 <= c - operator.before < shape[0]
                    out[c, r, k] = x[c - operator.before, r, k] if inside else 0
        tensors[layer.name], overflows[layer.name] = out, over
    return tensors, overflows


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("accumulator", [Int(11), Int(14), Int(32)], ids=str)
@pytest.mark.parametrize("channels", [False, True])
def test_every_tensor_of_every_kind_of_layer_equals_the_interpreter(channels, accumulator, overflow):
    network = networks.every_kind(1, accumulator, overflow, channels)
    images = networks.images(3)
    expected = [interpret(network, image) for image in images]
    seen = {}

    def visit(item, inputs, output, overflowed):
        name = item.layer.name
        seen[name] = item.layer.kind
        np.testing.assert_array_equal(
            output, np.stack([tensors[name] for tensors, _ in expected]), strict=True
        )
        if overflowed is not None:
            np.testing.assert_array_equal(overflowed, np.stack([o[name] for _, o in expected]), strict=True)

    outputs = run(network, images, visit)
    assert len(set(seen.values())) == 11
    np.testing.assert_array_equal(outputs, np.stack([t["scores"].ravel() for t, _ in expected]), strict=True)


def test_a_layer_that_moves_channels_says_which():
    for item in networks.every_kind().layers:
        if not isinstance(item.layer.operator, Moving):
            continue
        shapes = item.layer.input_shapes
        numbers = np.split(
            np.arange(sum(c for c, _, _ in shapes)) + 1, np.cumsum([c for c, _, _ in shapes])[:-1]
        )
        planes = zip(numbers, shapes, strict=True)
        inputs = tuple(np.broadcast_to(n[:, None, None], shape)[None] for n, shape in planes)
        output, _ = compute_layer(item, inputs, Rounding.HALF_UP)
        np.testing.assert_array_equal(output[0, :, 0, 0], np.array(item.layer.moved_channels) + 1)
        assert (output == output[:, :, :1, :1]).all()


def test_accuracy_and_overflows_are_counted_over_the_whole_split():
    network, images = networks.every_kind(2, Int(12)), networks.images(7)
    expected = [interpret(network, image) for image in images]
    predictions = [int(tensors["scores"].argmax()) for tensors, _ in expected]
    labels = np.array([p if i % 3 else (p + 1) % 5 for i, p in enumerate(predictions)])
    result = measure_accuracy(network, images, labels)
    assert (result.correct, result.images) == (4, 7)
    for counted in result.overflows:
        by_channel = sum(o[counted.layer].sum(axis=(1, 2)) for _, o in expected)
        assert counted.by_channel == tuple(by_channel.tolist())
        assert counted.overflowed == by_channel.sum()
        assert counted.sums == sum(o[counted.layer].size for _, o in expected)
    assert sum(counted.overflowed > 0 for counted in result.overflows) >= 2


@pytest.mark.parametrize("budget", [1, 1 << 27], ids=["an image a batch", "all images in one batch"])
@pytest.mark.parametrize(("compared", "found"), [(4, None), (5, 4), (None, 4), (99, 4)])
def test_the_first_images_alone_are_compared(monkeypatch, budget, compared, found):
    network, images = networks.every_kind(2, Int(12)), networks.images(7)
    first, seen = network.layers[0].layer.name, 0

    def differs_at_the_fifth_image(item, inputs, rounding):
        nonlocal seen
        output, overflowed = compute_layer(item, inputs, rounding)
        if item.layer.name == first:
            output[max(0, 4 - seen) : max(0, 5 - seen)] += 1
            seen += len(output)
        return output, overflowed

    monkeypatch.setattr(
        inference, "images_per_batch", partial(inference.images_per_batch, budget_bytes=budget)
    )
    labels = np.zeros(7, np.int64)
    result = measure_accuracy(
        network, images, labels, compute=compute_layer, against=differs_at_the_fifth_image, compared=compared
    )
    assert (result.difference and (result.difference.layer, result.difference.where[0])) == (
        found and (first, found)
    )
    assert 4 <= seen <= min(compared or 7, 7)
    assert replace(result, difference=None) == measure_accuracy(network, images, labels)


def test_the_wilson_interval_is_that_of_the_textbook():
    # 81 of 263: 25.5% to 36.6% (Newcombe, Statistics in Medicine 17:857, 1998, table I, method 3).
    low, high = wilson(81, 263)
    assert (round(low, 2), round(high, 2)) == (25.53, 36.62)
    assert wilson(0, 20)[0] == pytest.approx(0, abs=1e-12) and wilson(20, 20)[1] == pytest.approx(100)


@pytest.mark.parametrize("shape", [(2, 6, 6), (1, 6, 5, 2), (1, 2, 6, 6)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(HwsimError, match="images are"):
        run(networks.every_kind(), np.zeros(shape, np.uint8))


def test_an_empty_split_is_refused():
    with pytest.raises(HwsimError, match="no image"):
        measure_accuracy(networks.every_kind(), networks.images(0), np.zeros(0, np.int64))
