"""Calibration as work: what it depends on, and what it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwsim.data import Encoded, load_split
from hwsim.errors import HwsimError
from hwsim.layers import Convolution, Relu
from hwsim.models import load_model
from hwsim.models.builder import Builder
from hwsim.models.forward import logits
from hwsim.network import Preprocessing
from hwsim.quantize import calibrate, once, quantize
from hwsim.quantize.fold import fold_batch_norm
from hwsim.quantize.settings import Settings

RNG = np.random.Generator(np.random.PCG64(3))


def facts(calibration):
    """Every number of a calibration, by tensor."""
    return {
        name: [
            *(getattr(seen, key) for key in ("count", "minimum", "maximum", "mean", "deviation", "std")),
            *calibration.channels[name].std.tolist(),
            *(() if seen.histogram is None else seen.histogram.tolist()),
            *(() if seen.histogram is None else calibration.channels[name].histogram.ravel().tolist()),
        ]
        for name, seen in calibration.statistics.items()
    }


@pytest.fixture
def threads():
    count = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(count)


def test_calibration_is_the_same_on_any_number_of_threads(threads):
    network, images = load_model("digits"), load_split("digits", "calibration").images[:50]
    seen = []
    for count in (1, 3):
        threads(count)
        seen.append(facts(calibrate(network, images)))
        assert torch.get_num_threads() == count
    assert seen[0] == seen[1]


def test_what_a_relu_alone_reads_has_no_histogram():
    network, images = load_model("digits"), load_split("digits", "calibration").images[:8]
    seen, folded = calibrate(network, images).statistics, fold_batch_norm(network)
    relus = {layer.name: layer.inputs[0] for layer in folded.layers if isinstance(layer.operator, Relu)}
    without = {name for name, statistics in seen.items() if statistics.histogram is None}
    assert without == {before for before in relus.values() if len(folded.consumers(before)) == 1}
    assert without and all(seen[name].before_relu is seen[before] for name, before in relus.items())


def test_calibration_on_decoded_images_is_that_on_the_images():
    network, images = load_model("digits"), load_split("digits", "calibration").images[:40]
    encoded = Encoded(lambda number: images[number], np.arange(40), images.shape[1:])
    assert facts(calibrate(network, encoded)) == facts(calibrate(network, images))


def test_an_error_on_the_way_ends_the_work_and_restores_the_threads(threads):
    threads(2)
    images = load_split("digits", "calibration").images[:40]

    def decode(number):
        if number == 17:
            raise HwsimError("picture 17 is damaged")
        return images[number]

    with pytest.raises(HwsimError, match="picture 17"):
        calibrate(load_model("digits"), Encoded(decode, np.arange(40), images.shape[1:]), batch=4)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("dilation", [(1, 1), (3, 2), (1, 4)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_depthwise_convolution_tap_by_tap_is_torchs(stride, bias, dilation):
    weight, offset = RNG.normal(size=(5, 1, 3, 2)), RNG.normal(size=5)
    build = Builder((5, 9, 8))
    parameters = {"weight": weight} | ({"bias": offset} if bias else {})
    build.add("depthwise", Convolution(5, (3, 2), stride, (1, 0, 2, 1), 5, dilation), **parameters)
    network = build.network("net", Preprocessing(1.0, (0.0,) * 5, (1.0,) * 5))
    x = RNG.normal(size=(2, 5, 9, 8))
    padded = torch.nn.functional.pad(torch.from_numpy(x), (0, 1, 1, 2))
    theirs = torch.nn.functional.conv2d(
        padded, torch.from_numpy(weight), torch.from_numpy(offset) if bias else None, stride, 0, dilation, 5
    )
    np.testing.assert_allclose(logits(network, x), theirs.numpy().reshape(2, -1), atol=1e-13)


def test_a_calibration_is_kept_by_network_and_images_and_gives_the_same_integers(tmp_path, monkeypatch):
    monkeypatch.setenv("HWSIM_CACHE", str(tmp_path))
    monkeypatch.setattr(once, "WORTH_KEEPING_S", 0.0)
    network, split = load_model("digits"), load_split("digits", "calibration").part(slice(30))
    first = once.calibrate_once(network, split)
    (kept,) = (tmp_path / "calibrations").iterdir()
    monkeypatch.setattr(once, "calibrate", lambda *_, **__: pytest.fail("calibrated again"))
    again = once.calibrate_once(network, split)
    assert facts(first) == facts(again)
    assert (again.images, again.network) == (30, first.network)
    settings = [Settings.parse(f"activations={method}") for method in ("aciq_laplace", "kl")]
    for chosen in settings:
        digests = {quantize(network, "w4a4", one, settings=chosen).digest() for one in (first, again)}
        assert len(digests) == 1
    monkeypatch.setattr(once, "calibrate", calibrate)
    kept.write_bytes(kept.read_bytes()[:-1])
    assert facts(once.calibrate_once(network, split)) == facts(first)
    once.calibrate_once(network, split.part(slice(29)))
    assert len(list((tmp_path / "calibrations").iterdir())) == 2
