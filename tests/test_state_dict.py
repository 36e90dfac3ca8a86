"""Published networks and their weights' files, and files that do not fit or are dangerous."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import numpy_helper
from torch import nn

import hwsim
from hwsim.data import data_folder
from hwsim.errors import HwsimError
from hwsim.models import load_model, published
from hwsim.models.forward import logits
from hwsim.models.state_dict import load_weights, read_checkpoint

RGB = hwsim.Preprocessing(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# Parameters and tensors of torchvision's own networks (its documentation, "Table of all available classification
# weights"); multiply-accumulates from the papers' tables, in millions. MobileNetV1: Howard et al. 2017, table 8.
PUBLISHED = {
    "resnet18": (11_689_512, 122, 1_814),
    "resnet34": (21_797_672, 218, None),
    "resnet50": (25_557_032, 320, None),
    "mobilenet_v2": (3_504_872, 314, 301),
    "mobilenet_v1": (4_231_976, None, 569),
    "squeezenet": (1_235_496, 52, 349),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_network_has_its_published_size(name):
    parameters, tensors, macs = PUBLISHED[name]
    module = getattr(published, name)()
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert tensors in (None, len(module.state_dict()))
    small = hwsim.from_module(module, (3, 64, 64), RGB)
    assert small.layers[-1].outputs == 1000
    if macs:
        network = hwsim.from_module(module, (3, 224, 224), RGB)
        assert round(sum(layer.macs for layer in network.layers) / 1e6) == macs


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("resnet18", ["conv1.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.running_var", "fc.bias"]),
        ("resnet50", ["layer1.0.downsample.1.running_mean", "layer3.5.conv3.weight", "fc.weight"]),
        (
            "mobilenet_v2",
            [
                "features.1.conv.0.0.weight",
                "features.2.conv.3.running_mean",
                "features.18.1.bias",
                "classifier.1.bias",
            ],
        ),
        ("squeezenet", ["features.0.bias", "features.12.expand3x3.weight", "classifier.1.weight"]),
    ],
)
def test_a_published_network_has_torchvisions_names(name, keys):
    assert not set(keys) - getattr(published, name)().state_dict().keys()


def test_the_published_squeezenet_with_trained_weights_is_the_onnx_network():
    try:
        path = data_folder() / "networks" / "squeezenet1.1_224.onnx"
    except HwsimError as error:
        pytest.skip(str(error))
    graph = onnx.load(path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    arrays = [stored[name] for node in graph.node if node.op_type == "Conv" for name in node.input[1:]]
    module = published.squeezenet()
    module.load_state_dict(
        {key: torch.from_numpy(a.copy()) for key, a in zip(module.state_dict(), arrays, strict=True)}
    )
    theirs = load_model("squeezenet-imagenet")
    ours = hwsim.from_module(module, (3, 224, 224), theirs.preprocessing)
    x = np.random.default_rng(0).normal(size=(1, 3, 224, 224))
    np.testing.assert_allclose(logits(ours, x), logits(theirs, x), rtol=1e-9, atol=1e-9)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def saved(path, value):
    torch.save(value, path)
    return path


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}, "best": 0.5},
        lambda state: {key: value for key, value in state.items() if "num_batches" not in key},
    ],
    ids=["bare", "state_dict", "DataParallel", "without counts"],
)
def test_checkpoints_of_the_usual_forms_are_read(tmp_path, wrap):
    trained = small()
    loaded = load_weights(small().half(), saved(tmp_path / "w.pth", wrap(trained.state_dict())))
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, trained.state_dict()[key]) or "num_batches" in key


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_keep_their_values_from_safetensors_to_the_network(tmp_path, dtype):
    state = small().to(dtype).state_dict()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    module = load_weights(small(), tmp_path / "w.safetensors")
    network = hwsim.from_module(module, (1, 4, 4), hwsim.Preprocessing(1.0, (0.0,), (1.0,)))
    np.testing.assert_array_equal(
        network.parameters["0.weight"], state["0.weight"].double().numpy(), strict=True
    )


class Evil:
    """A pickle of this runs a command when it is read."""

    def __reduce__(self):
        return os.system, ("echo run > ran.txt",)


STATE = small().state_dict()
CHECKPOINTS = {
    "code": ({"a": torch.ones(1), "b": Evil()}, "would need its Python code run, which hwsim never does"),
    "a whole module": (small(), "save module.state_dict() alone"),
    "no tensors": ({"epoch": 3}, "holds no tensors by name"),
    "one tensor": (torch.ones(3), "holds no tensors by name"),
    "missing": (
        {k: v for k, v in STATE.items() if not k.startswith("1.")},
        "lacks 4 of 8 tensors (1.weight, 1.bias, 1.running_mean, ...)",
    ),
    "foreign": (STATE | {"fc.bias": torch.ones(1)}, "has besides 1 of 9 tensors (fc.bias)"),
    "another shape": (
        STATE | {"0.weight": torch.ones(2, 1, 5, 5)},
        "has in another shape 1 of 8 tensors (0.weight [2, 1, 5, 5] for [2, 1, 3, 3])",
    ),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_checkpoint_that_does_not_fit_is_refused_in_one_sentence(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    content, sentence = CHECKPOINTS[case]
    with pytest.raises(HwsimError) as caught:
        load_weights(small(), saved(tmp_path / "bad.pth", content))
    assert sentence in str(caught.value) and "bad.pth" in str(caught.value)
    assert str(caught.value).isprintable()
    assert not (tmp_path / "ran.txt").exists()


def test_damaged_checkpoints_are_refused(tmp_path):
    content = saved(tmp_path / "good.pth", STATE).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "bad.pth"
    for kept in (0, 1, 10, 100, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:kept])
        with pytest.raises(HwsimError, match=r"no readable checkpoint|never does|holds no tensors"):
            read_checkpoint(path)
    for _ in range(50):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 255
        path.write_bytes(damaged)
        try:
            read_checkpoint(path)
        except HwsimError as error:
            assert "bad.pth" in str(error)
    with pytest.raises(HwsimError, match="cannot read the weights file"):
        read_checkpoint(tmp_path / "none.pth")
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 50)
    with pytest.raises(HwsimError, match="no safetensors file"):
        read_checkpoint(tmp_path / "bad.safetensors")
