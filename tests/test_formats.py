"""Number formats against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.errors import HwsimError
from hwsim.formats import AdditivePowersOfTwo, Int, PowerOfTwo, parse_format

FORMATS = [
    *(Int(bits, signed) for bits in (1, 2, 5, 8, 16, 32) for signed in (True, False)),
    *map(PowerOfTwo, (2, 3, 4, 5)),
    *map(AdditivePowersOfTwo, (4, 5, 6, 7)),
]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_the_text_of_a_format_reads_back_as_the_format(form):
    assert parse_format(str(form)) == form


@pytest.mark.parametrize("form", [f for f in FORMATS if f.bits <= 8], ids=str)
def test_every_code_word_decodes_to_a_value_that_encodes_to_the_same_value(form):
    values = form.decode(np.arange(1 << form.bits))
    np.testing.assert_array_equal(form.decode(form.encode(values)), values, strict=True)
    assert values.min() == form.minimum and values.max() == form.maximum


def test_a_power_of_two_in_four_bits_holds_zero_and_seven_powers_of_either_sign():
    expected = [-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64]
    np.testing.assert_array_equal(PowerOfTwo(4).levels, np.array(expected), strict=True)


def test_the_negative_zero_code_of_a_power_of_two_is_zero():
    assert PowerOfTwo(4).decode(np.array([0b1000])).tolist() == [0]


@given(st.integers(2, 63), st.integers())
def test_twos_complement_agrees_with_python_integers(bits, value):
    form = Int(bits)
    value = form.minimum + value % (1 << bits)
    code = int(form.encode(np.array(value)))
    assert code == value % (1 << bits)
    assert int(form.decode(np.array(code))) == value


@pytest.mark.parametrize(
    "text",
    [
        "int",
        "int0",
        "int65",
        "uint-3",
        "float32",
        "pow2x1",
        "pow2x6",
        "apot3",
        "apot8",
        "int8 ",
        "INT8",
        "int٣",
    ],
)
def test_an_unknown_format_is_refused(text):
    with pytest.raises(HwsimError):
        parse_format(text)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (Int(4), 8),
        (Int(4, signed=False), -1),
        (PowerOfTwo(3), 3),
        (PowerOfTwo(3), 8),
        (AdditivePowersOfTwo(4), 5),
        (AdditivePowersOfTwo(5), 49),
    ],
)
def test_a_value_outside_its_format_is_refused(form, value):
    with pytest.raises(HwsimError):
        form.encode(np.array([value]))
