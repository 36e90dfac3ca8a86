"""The bit configuration's text and file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.bits import Edges, LayerBits, bit_config, read_bits
from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Int, Overflow, PowerOfTwo

layer_bits = st.builds(
    LayerBits,
    st.one_of(
        st.builds(Int, st.integers(2, 8)),
        st.builds(PowerOfTwo, st.integers(2, 5)),
        st.builds(AdditivePowersOfTwo, st.integers(4, 7)),
    ),
    st.builds(Int, st.integers(2, 8), st.booleans()),
    st.builds(Int, st.integers(8, 32)),
    st.sampled_from(Overflow),
)


@given(layer_bits)
def test_the_text_of_layer_bits_reads_back(bits):
    assert LayerBits.parse(str(bits), signed=bits.activation.signed) == bits


@given(st.dictionaries(st.text(min_size=1, max_size=12), layer_bits, min_size=1, max_size=5))
def test_a_configuration_file_reads_back_whatever_the_layers_are_called(chosen):
    config = bit_config(chosen.items())
    signed = {name: bits.activation.signed for name, bits in chosen.items()}
    assert read_bits(config.to_toml(), signed) == config


def test_a_shorthand_takes_the_activation_sign_of_each_layer():
    config = read_bits("w4a8/int16", {"first": True, "second": False})
    assert [str(bits) for bits in config.values()] == ["int4*int8/int16", "int4*uint8/int16"]
    assert str(read_bits("p4s8/int20/saturate", {"x": False})["x"]) == "pow2x4*int8/int20/saturate"
    assert str(read_bits("apot5a4/int32", {"x": False})["x"]) == "apot5*uint4/int32"
    assert str(read_bits("w8a8", {"x": False})["x"]) == "int8*uint8/int32"


def test_the_default_of_a_file_serves_layers_it_does_not_name():
    config = read_bits('default = "w8a8/int32"\n[layers]\nb = "w2a4/int16"\n', {"a": True, "b": False})
    assert [str(bits) for bits in config.values()] == ["int8*int8/int32", "int2*uint4/int16"]


def test_edges_widen_the_layers_at_a_networks_edges_alone():
    layers = {"first": True, "second": False, "last": False}
    edges = Edges(frozenset(["first", "last"]), frozenset(["first", "second"]))
    widened = ["int8*int8/int32", "int4*uint8/int32", "int8*uint4/int32"]
    assert [str(bits) for bits in read_bits("w4a4/int32 edges=8", layers, edges).values()] == widened
    file = 'default = "p4a4/int16 edges=6"\n[layers]\nlast = "w2a2/int16"\n'
    expected = ["int6*int6/int16", "pow2x4*uint6/int16", "int2*uint2/int16"]
    assert [str(bits) for bits in read_bits(file, layers, edges).values()] == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("w4a4 edges=9", "weight width 9"),
        ("w4a4 edges=x", "write w4a4/int32 edges=8"),
        ("w4a4 edges=", "write w4a4/int32 edges=8"),
        ("w4a4 8", "write w4a4/int32 edges=8"),
        ("w9a8/int16", "weight width 9"),
        ("w4a1/int16", "activation width 1"),
        ("w4a8/int64", "accumulator width 64"),
        ("w4a8/uint16", "accumulators are signed"),
        ("uint4*int8/int16", "weights are signed"),
        ("w4a8/int16/trap", 'unknown overflow "trap"'),
        ("w4a8/int16/wrap/x", "more than an accumulator"),
        ("four bits", "not understood"),
        ("w4u8/int16", "can be negative"),
        ("pow2x9*int8/int16", "2 to 5 bits"),
        ("[layers\n", "no TOML"),
        ('default = "w4a8/int16"\ntypo = 1\n', '"typo"'),
        ("[layers]\nz = 'w4a8/int16'\n", 'names layer "z"'),
        ("[layers]\n", 'gives layer "x" no bits'),
        ("layers = 3\n", "layers"),
        ("[layers]\nx = 3\n", 'gives layer "x" no bits'),
    ],
)
def test_wrong_bits_are_refused_with_the_reason(text, says):
    with pytest.raises(HwsimError) as refused:
        read_bits(text, {"x": True}, Edges(frozenset("x"), frozenset("x")))
    assert says in str(refused.value)
