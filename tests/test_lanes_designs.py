"""Designs written by others run unchanged in lanes: PyRTL's own library, against FastSimulation and published values."""

from random import Random

import numpy as np
import pyrtl
import pytest
from pyrtl.rtllib import adders, barrel, matrix, multipliers, prngs
from pyrtl.rtllib.aes import AES

from blocks import array
from hwsim.simulate import LaneSimulation

FIPS_197 = [
    (0x3243F6A8885A308D313198A2E0370734, 0x2B7E151628AED2A6ABF7158809CF4F3C, 0x3925841D02DC09FBDC118597196A0B32),
    (0x00112233445566778899AABBCCDDEEFF, 0x000102030405060708090A0B0C0D0E0F, 0x69C4E0D86A7B0430D8CDB78070B4C55A),
]  # fmt: skip
"""Plaintext, key and ciphertext: National Institute of Standards and Technology, FIPS 197, 2001, appendices B, C.1."""


def connect(function, *widths):
    """A block with inputs of some widths and, as outputs, what a function makes of them."""
    block = pyrtl.Block()
    with pyrtl.set_working_block(block, no_sanity_check=True):
        made = function(*(pyrtl.Input(width, f"i{k}") for k, width in enumerate(widths)))
        for k, wire in enumerate(made if isinstance(made, tuple) else (made,)):
            pyrtl.Output(len(wire), f"o{k}").__ilshift__(wire)
    return block


def matrix_product(a, b):
    product = matrix.Matrix(2, 3, 4, value=a) @ matrix.Matrix(3, 2, 4, value=b)
    return product.to_wirevector()


DESIGNS = {
    "AES encrypting": lambda: connect(AES().encrypt_state_m, 128, 128, 1),
    "AES decrypting": lambda: connect(AES().decryption_statem, 128, 128, 1),
    "matrix product": lambda: connect(matrix_product, 24, 24),
    "Wallace tree": lambda: connect(multipliers.tree_multiplier, 9, 7),
    "shift and add": lambda: connect(multipliers.simple_mult, 6, 8, 1),
    "multiply and add": lambda: connect(multipliers.fused_multiply_adder, 5, 6, 11),
    "Kogge-Stone adder": lambda: connect(adders.kogge_stone, 33, 33),
    "carry-save adder": lambda: connect(
        lambda a, b, c: adders.carrysave_adder(a, b, c, adders.ripple_add), 20, 20, 20
    ),
    "barrel shifter": lambda: connect(lambda a, by, d: barrel.barrel_shifter(a, pyrtl.Const(1), d, by), 70, 5, 1),
    "LFSR": lambda: connect(lambda load, req, seed: prngs.prng_lfsr(100, load, req, seed), 1, 1, 127),
    "xoroshiro128": lambda: connect(lambda load, req, seed: prngs.prng_xoroshiro128(100, load, req, seed), 1, 1, 128),
}  # fmt: skip


@pytest.mark.parametrize("design", DESIGNS)
def test_a_design_of_pyrtls_library_runs_unchanged(design):
    block, rng, lanes, cycles = DESIGNS[design](), Random(0), 70, 24
    widths = {wire.name: len(wire) for wire in block.wirevector_subset(pyrtl.Input)}
    rows = {
        name: [[rng.getrandbits(width) for _ in range(lanes)] for _ in range(cycles)]
        for name, width in widths.items()
    }
    for name, width in widths.items():
        if width == 1:  # a reset or a start signal: now and then
            rows[name] = [
                [int(rng.random() < 0.1 or not cycle) for _ in range(lanes)] for cycle in range(cycles)
            ]
    found = LaneSimulation(block, lanes=lanes).run({name: array(rows[name], widths[name]) for name in widths})
    for lane in (0, 1, 33, 69):
        simulation = pyrtl.FastSimulation(block=block, tracer=None)
        for cycle in range(cycles):
            simulation.step({name: values[cycle][lane] for name, values in rows.items()})
            for name, values in found.items():
                assert values[cycle, lane] == simulation.inspect(name), (name, cycle, lane)


def test_aes_in_lanes_gives_the_published_ciphertexts():
    block = DESIGNS["AES encrypting"]()
    plain, key, cipher = (np.array(column, object) for column in zip(*FIPS_197, strict=True))
    simulation = LaneSimulation(block, lanes=2)
    for cycle in range(12):
        simulation.step({"i0": plain, "i1": key, "i2": np.uint8([cycle == 0] * 2)})
    ready, text = simulation.inspect("o0"), simulation.inspect("o1")
    assert ready.all() and (text == cipher).all()
