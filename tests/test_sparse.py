"""Files of sparse networks: they decode to the same numbers, and their sizes are those of their symbols."""

import numpy as np
import pytest

import hwsim
from hwsim.cost.entropy import entropy_bits
from hwsim.cost.sparse import METHODS, decode, encode, float32_bytes
from hwsim.errors import HwsimError
from hwsim.formats import Focused
from hwsim.models import load_model, published
from hwsim.quantize.codebook import codebook
from hwsim.quantize.focused import focus
from hwsim.quantize.prune import prune
from hwsim.reproduce.sizes import PUBLISHED


@pytest.fixture(scope="module")
def sparse():
    return prune(load_model("digits"), 0.6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [4, 5])
def test_a_file_decodes_to_the_network_it_was_made_for(sparse, method, bits):
    made = encode(sparse, method, bits)
    back = decode(made.data, sparse)
    assert list(back.parameters) and back.digest() == made.network.digest()
    for layer in sparse.layers:
        if layer.has_weights:
            before, after = (n.parameters[f"{layer.name}.weight"] for n in (sparse, back))
            assert not after[before == 0].any()
            assert np.square(after - before).sum() < 0.25 * np.square(before).sum()
    others = [
        name for name in sparse.parameters if not (back.parameters[name] != sparse.parameters[name]).any()
    ]
    assert set(sparse.parameters) - set(others) <= {f"{n}.weight" for n in sparse.signed_inputs()} | {
        name for name, array in sparse.parameters.items() if (array != array.astype(np.float32)).any()
    }


@pytest.mark.parametrize("method", METHODS)
def test_symbols_take_their_entropy_and_less_than_a_bit_more(sparse, method):
    made = encode(sparse, method, 5)
    entropy, count, tables = 0.0, 0, 0
    for name in sparse.signed_inputs():
        weight = made.network.parameters[f"{name}.weight"]
        _, sizes = np.unique(weight, return_counts=True)
        entropy += -(sizes * np.log2(sizes / sizes.sum())).sum()
        count += weight.size
        tables += 4 * 32 + 32 + 60
    assert entropy / 8 <= made.weight_bytes < (entropy + count) / 8 + tables


def test_the_ratios_state_their_scopes(sparse):
    made = encode(sparse, "focused", 5)
    weights = sum(sparse.parameters[f"{name}.weight"].size for name in sparse.signed_inputs())
    everything = sum(array.size for array in sparse.parameters.values())
    assert (
        made.weights_ratio == 4 * weights / made.weight_bytes > made.ratio == 4 * everything / len(made.data)
    )
    assert len(made.data) - made.weight_bytes == 9 + 4 * (everything - weights)


def test_dense_sizes_are_the_published_ones_each_of_what_its_paper_counted():
    """Zhao et al. (NeurIPS 2019, arXiv 1903.03046), table 1, in 10^6 bytes; scopes by He et al., Howard et al., Sandler et al."""
    rgb = hwsim.Preprocessing(255.0, (0.5,) * 3, (0.25,) * 3)
    dense = {
        name: float32_bytes(hwsim.from_module(getattr(published, name)(), (3, 32, 32), rgb))
        for name in ("resnet18", "resnet50", "mobilenet_v1", "mobilenet_v2")
    }
    assert dense["resnet18"]["learned"] == 4 * 11_689_512 == 46_758_048
    assert dense["resnet50"]["convolutions"] == 4 * 23_454_912 == 93_819_648
    assert round(dense["mobilenet_v1"]["weights"] / 1e6, 2) == 16.84
    assert round(dense["mobilenet_v2"]["weights"] / 1e6, 2) == 13.88
    assert dense["resnet50"]["weights"] - dense["resnet50"]["convolutions"] == 4 * 2048 * 1000


def test_published_ratios_are_those_of_the_published_sizes():
    """Sizes of table 1 are printed to 0.01 MB, which is what their ratios may be off by."""
    assert len(PUBLISHED) == 6
    for network, _, method, dense, file, ratio in PUBLISHED:
        assert dense / file == pytest.approx(ratio, rel=0.005), (network, method)
    # Their pruned networks in float32, and the ratio printed beside: ResNet-18's is not that of its sizes.
    for dense, file, ratio in ((93.82, 11.76, 7.98), (16.84, 6.89, 2.44), (13.88, 5.64, 2.46)):
        assert dense / file == pytest.approx(ratio, rel=0.005)
    ratio = 46.76 / 8.31
    assert ratio == pytest.approx(5.63, rel=0.001)
    assert ratio != pytest.approx(5.69, rel=0.005)


@pytest.mark.parametrize(
    ("network", "weights", "zeros", "entropy"),
    [("ResNet-18 (paper)", 11_689_512, 0.7486, 1.862), ("ResNet-50 (paper)", 23_454_912, 0.8270, 1.386)],
)
def test_published_files_hold_more_than_the_entropy_of_nineteen_symbols(network, weights, zeros, entropy):
    """A pruned zero and 18 others alike are the most that symbols of such sparsity can need."""
    others = round(weights * (1 - zeros) / 18)
    bound = entropy_bits(np.array([weights - 18 * others, *[others] * (Focused(5).symbols - 1)]))
    assert bound == pytest.approx(entropy, abs=6e-4)
    (file,) = (row[4] for row in PUBLISHED if row[0] == network and "5 bits" in row[2])
    assert bound < 8e6 * file / weights < 1.3 * bound


def test_focused_symbols_say_which_representation_a_layer_has(sparse):
    chosen = encode(sparse, "focused", 5).alphabets
    for name in sparse.signed_inputs():
        form = focus(sparse.parameters[f"{name}.weight"], Focused(5))
        assert chosen[name] == ("plain" if form.separation < 2 else "recentralized")
    assert set(encode(sparse, "shift", 5).alphabets.values()) == {"plain"}


def test_shared_values_are_the_means_of_their_weights():
    rng = np.random.default_rng(0)
    weights = rng.normal(size=5000) * (rng.random(5000) < 0.5)
    found = codebook(weights, 4)
    assert (
        found.values[0] == 0
        and (found.chosen[weights == 0] == 0).all()
        and (found.chosen[weights != 0] > 0).all()
    )
    for k in range(1, 16):
        assert found.values[k] == pytest.approx(weights[found.chosen == k].mean(), rel=1e-6)
    nearest = np.abs(weights[weights != 0, None] - found.values[None, 1:]).argmin(axis=1)
    np.testing.assert_array_equal(found.chosen[weights != 0], 1 + nearest)


@pytest.mark.parametrize("weights", [np.zeros(5), np.array([0, 0.5, 0.5]), np.array([1.0, -2.0, 0.0, 4.0])])
def test_fewer_weights_than_shared_values_are_exact(weights):
    np.testing.assert_array_equal(codebook(weights, 4).real, weights)


def test_what_is_no_such_file_is_refused(sparse):
    data = bytearray(encode(sparse, "focused").data)
    data[40] ^= 1
    for wrong in (bytes(data), b"", b"HWSW\x01"):
        with pytest.raises(HwsimError, match="no coded sparse network, or its checksum is wrong"):
            decode(wrong, sparse)
    with pytest.raises(HwsimError, match='unknown method "pca"; known: focused, shift, codebook'):
        encode(sparse, "pca")
