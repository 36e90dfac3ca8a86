"""Prices against evaluations, on networks and spaces that nobody wrote down."""

import hashlib
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hwsim.cost import hardware
from hwsim.cost.synthesis import Cost
from hwsim.data import Split
from hwsim.datapath import describe
from hwsim.errors import HwsimError
from hwsim.explore.bench import Bench
from hwsim.explore.evaluation import METRICS, OF_ELEMENTS
from hwsim.explore.inquiry import in_this_process
from hwsim.explore.prices import few_arrays, prices
from hwsim.explore.space import search_space
from hwsim.explore.study import Study
from hwsim.layers import (
    Add,
    AveragePool,
    BatchNorm,
    ChannelShuffle,
    Clip,
    Concatenate,
    Convolution,
    Flatten,
    Linear,
    MaxPool,
    PadChannels,
    Relu,
    Slice,
)
from hwsim.models.builder import Builder, parameter_shapes
from hwsim.network import Preprocessing
from hwsim.quantize import fold_batch_norm, quantize
from hwsim.quantize.settings import Settings
from hwsim.simulate.inference import Accuracy

CIRCUITS = ("gates", "flip_flops", "area", "critical_path")
EXACT = (*CIRCUITS, "bandwidth", "latency", "buffer_bytes", "array_gates", "array_area")
"""Metrics whose prices are the evaluations' to the last bit; of a file's bytes the constants of requantisers are nearly known."""

SHAPE, WINDOW = (2, 4, 4), {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0, 1, 1)}
OPERATORS = {
    "max": lambda shape: MaxPool(**WINDOW),
    "mean": lambda shape: AveragePool(**WINDOW),
    "relu": lambda shape: Relu(),
    "low": lambda shape: Clip(0.0, 0.5),
    "high": lambda shape: Clip(0.0, 20.0),
    "norm": lambda shape: BatchNorm(),
    "pad": lambda shape: PadChannels(1, 0),
    "slice": lambda shape: Slice((0, 0, 0), (max(1, shape[0] - 1), 4, 4), (1, 1, 1)),
    "shuffle": lambda shape: ChannelShuffle(shape[0]),
    "point": lambda shape: Convolution(3, (1, 1)),
    "conv": lambda shape: Convolution(4, (3, 3), padding=(1, 1, 1, 1)),
    "depth": lambda shape: Convolution(shape[0], (3, 3), padding=(1, 1, 1, 1), groups=shape[0]),
}
COMPUTING = ("point", "conv", "depth")


@st.composite
def networks(draw):
    """Layers that read whatever came before them, most of them convolutions, most of those clamped."""
    build, tensors = Builder(SHAPE), ["input"]
    for _ in range(draw(st.integers(2, 7))):
        kind = draw(st.sampled_from([*OPERATORS, *2 * COMPUTING, "add", *3 * ["concatenate"]]))
        first, second = draw(st.sampled_from(tensors)), draw(st.sampled_from(tensors))
        shape = build.shapes[first]
        if kind == "add" and shape == build.shapes[second]:
            build.add(kind, Add(), first, second)
        elif kind in ("add", "concatenate"):
            build.add(kind, Concatenate(), first, second)
        else:
            build.add(kind, OPERATORS[kind](shape), first)
        clamp = draw(st.sampled_from(["", "relu", "low", "high"])) if kind in COMPUTING else ""
        tensors.append(build.add(clamp, OPERATORS[clamp](shape)) if clamp else build.last)
    build.add("flat", Flatten())
    build.add("out", Linear(3))
    return filled(build, draw(st.integers(0, 99)), draw(st.sampled_from([0.0, 0.5])))


def filled(build, seed, mean):
    rng = np.random.default_rng(seed)
    for layer in build.layers:
        for key, shape in parameter_shapes(layer).items():
            low = 0.5 if key == "running_var" else -0.5
            build.parameters[f"{layer.name}.{key}"] = rng.uniform(low, 1, shape)
    return build.network("drawn", Preprocessing(255.0, (mean,) * 2, (0.25,) * 2))


QUANTIZERS = (
    *("weights=mse", "activations=kl", "bias_correction=true", "elementwise=5"),
    "activations=min_max",
    *("activation_granularity=channel", "activation_granularity=channel activation_allocation=paper"),
)
OWN = (
    "",
    "weights=mse",
    "activations=min_max",
    "allocation=exact",
    "activations=aciq_gauss bias_correction=true",
)


def lists(draw, most=2, **kinds):
    """Return some entries of each list."""
    return {
        kind: draw(st.lists(st.sampled_from(entries), min_size=1, max_size=most, unique=True))
        for kind, entries in kinds.items()
    }


@st.composite
def studies(draw, names):
    """The table of a study with every kind of choice, on a memory of one buffer or on an array."""
    space = lists(draw, 3, weights=["int2", "int3", "int4", "pow2x3", "apot4"], activations=[3, 4, 8])
    space |= lists(
        draw, accumulators=["int12", "int16"], overflows=["wrap", "saturate"], quantizers=QUANTIZERS
    )
    objectives, table = ["accuracy_loss", "bandwidth", *CIRCUITS], {"title": "Drawn", "model": "drawn"}
    if draw(st.booleans()):
        space |= lists(draw, 3, layer_quantizers=OWN)
    if draw(st.booleans()):
        space["groups"] = {
            "tied": draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        }
    free = [name for name in names if name not in space.get("groups", {}).get("tied", ())]
    if free and draw(st.booleans()):
        space["layers"] = {
            draw(st.sampled_from(free)): lists(draw, weights=["int3", "int5"], activations=[2, 7])
        }
    how = draw(st.sampled_from(["coded", "array", "buffer"]))
    if how == "coded":
        space |= lists(draw, coders=["packed", "huffman", "bitmap", "run_length"])
    if how == "array":
        space |= lists(draw, arrays=["2x2 weight", "2x3 output"], buffers=["300", "400 64"])
        space["weights"] = ["int2", "int4"]
        objectives += ["latency", "buffer_bytes", "array_gates", "array_area"]
    else:
        table["memory"] = {"loop_order": draw(st.sampled_from(["weights_outer", "inputs_outer"]))}
    rate = draw(st.sampled_from([1e4, 2e7]))
    return table | {"space": space, "objectives": objectives, "hardware": {"images_per_second": rate}}


@st.composite
def benches(draw):
    network = draw(networks())
    study = Study.model_validate(draw(studies([*fold_batch_norm(network).signed_inputs()])))
    return bench_of(study, network)


def bench_of(study, network):
    images = np.random.default_rng(1).integers(0, 256, (6, 4, 4, 2), dtype=np.uint8)
    split = Split(images, np.zeros(6, np.int64))
    return Bench(study, network, split, Split(images[:1], np.zeros(1, np.int64)))


def differences(bench, choices):
    """What prices say otherwise than evaluations of some designs: metric, price, figure and point; and how many were compared."""
    space = replace(search_space(bench.study, bench.network), bench=bench, inquiry=in_this_process(bench))
    known = EXACT if few_arrays(space) else [name for name in EXACT if name not in OF_ELEMENTS]
    names = tuple(name for name in bench.study.objectives if name in known)
    compared, found = 0, []
    for price in prices(space, names):
        for row in choices(space):
            if not price.within(np.array([row]))[0]:
                continue
            point = space.point(space.bits(row), *price.shared)
            try:
                network = bench.quantized(point)
            except HwsimError:
                continue
            e = bench.costed(0, point, network, Accuracy(0, 1, (), ()))
            (costs,) = price.of(np.array([row]))
            told = zip(names, costs.tolist(), (METRICS[name].cost(e) for name in names), strict=True)
            found += [(*one, point) for one in told if one[1] != pytest.approx(one[2], rel=1e-9)]
            compared += 1
    return found, compared


def some(space):
    rng = np.random.default_rng(0)
    return [[int(rng.integers(count)) for count in space.counts] for _ in range(4)]


def every(space):
    return list(itertools.product(*map(range, space.counts)))


@pytest.fixture(scope="module")
def numbered():
    """Circuits whose gates are numbers drawn from their text: it matters which ones there are and how many, not what they cost."""

    def cost(datapath, technology, mapping):
        text = describe(datapath)
        gates, flip_flops, um2, path, *_ = hashlib.sha256(text.encode()).digest()
        return Cost(text, technology, gates, {}, flip_flops, um2, path, 0, True, "", "", mapping, "", "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "_cost", cost)
        yield


@settings(
    deadline=None,
    max_examples=10,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
@given(bench=benches())
def test_prices_of_any_space_of_any_network_are_those_of_its_evaluations(numbered, bench):
    differ, _ = differences(bench, some)
    assert not differ


@pytest.mark.slow
@settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(bench=benches())
def test_prices_of_hundreds_of_spaces_are_those_of_their_evaluations(numbered, bench):
    differ, _ = differences(bench, some)
    assert not differ


def given_study(**space):
    lists = {"weights": ["int3"], "accumulators": ["int16"], "overflows": ["wrap"]} | space
    objectives = ["accuracy_loss", "bandwidth", *CIRCUITS]
    return Study.model_validate({"title": "T", "model": "m", "objectives": objectives, "space": lists})


def joined():
    """Two layers read what was concatenated of a tensor that a clip ends and one that none does."""
    build = Builder(SHAPE)
    build.convolution("stem", 4, 3)
    relu = build.add("relu", Relu())
    build.convolution("short", 4, 1, relu)
    clipped = build.add("clip", Clip(0.0, 20.0))
    build.convolution("long", 4, 3, relu)
    free = build.add("free", Relu())
    both = build.add("both", Concatenate(), clipped, free)
    first = build.convolution("first", 2, 1, both)
    second = build.convolution("second", 2, 1, both)
    build.add("all", Concatenate(), first, second)
    build.add("flat", Flatten())
    build.add("out", Linear(3))
    return filled(build, 0, 0.5)


def test_a_layer_s_quantizer_that_moves_a_rescale_behind_a_clip_is_priced(numbered):
    """Clipped for less, what is concatenated ends below the clip: then no rescale stands behind it."""
    study = given_study(
        activations=[3, 4], layer_quantizers=["activations=min_max", "activations=percentile percent=50"]
    )
    bench = bench_of(study, joined())
    rescales = set()
    for how in study.space.layer_quantizers:
        network = quantize(bench.network, "w3a3/int16", bench.calibration, settings=Settings.parse(how))
        rescales.add(any(item.layer.name == "short.output" for item in network.layers))
    assert rescales == {True, False}
    differ, compared = differences(bench, lambda space: every(space)[::67])
    assert compared > 60 and not differ


@pytest.mark.parametrize("allocation", ["none", "exact"])
def test_channels_of_activations_with_widths_of_their_own_are_priced(numbered, allocation):
    study = given_study(
        activations=[2, 4, 8],
        quantizers=[f"activation_granularity=channel activation_allocation={allocation}"],
    )
    differ, compared = differences(bench_of(study, chain()), every)
    assert compared == 3**4 and not differ


def chain():
    """Two readers of one tensor that demand widths of their own, and an addition."""
    build = Builder(SHAPE)
    build.convolution("stem", 4, 3)
    relu = build.add("relu", Relu())
    left = build.convolution("left", 4, 3, relu)
    right = build.convolution("right", 4, 1, relu)
    build.add("sum", Add(), left, right)
    build.add("pool", MaxPool((2, 2), (2, 2)))
    build.add("flat", Flatten())
    build.add("out", Linear(3))
    return filled(build, 0, 0.5)


def test_a_batch_norm_that_no_layer_takes_in_chooses_its_bits_and_is_priced(numbered):
    """Folded it is a layer with weights of its own."""
    build = Builder(SHAPE)
    build.convolution("stem", 4, 3)
    relu = build.add("relu", Relu())
    build.add("sum", Add(), relu, relu)
    build.add("norm", BatchNorm())
    build.add("flat", Flatten())
    build.add("out", Linear(3))
    study = given_study(weights=["int3", "int4"], activations=[4])
    bench = bench_of(study, filled(build, 0, 0.5))
    assert [name for name, _ in search_space(study, bench.network).layers] == ["stem", "norm", "out"]
    differ, compared = differences(bench, every)
    assert compared == 2**3 and not differ
