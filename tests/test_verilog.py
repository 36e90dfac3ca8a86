"""The exported Verilog in simulators that share nothing with PyRTL's."""

import shutil
from dataclasses import dataclass, replace

import numpy as np
import pyrtl
import pytest
from hypothesis import HealthCheck, given, settings

from blocks import Builder, Recipe, recipes
from hwsim.datapath import DATAPATHS, describe, elaborate
from hwsim.datapath.mac import Mac
from hwsim.datapath.pool import MaxPool
from hwsim.errors import HwsimError
from hwsim.formats import Int, Overflow
from hwsim.simulate.circuit import run
from hwsim.simulate.verilog import TOOLS, export, run_verilog

icarus = pytest.mark.skipif(not shutil.which("iverilog"), reason="Debian's package iverilog is not installed")
MAC = Mac(Int(6), Int(8), Int(16), Overflow.SATURATE)


def stimuli(datapath, cycles, seed=0):
    """Values of every input port, extremes among them."""
    rng = np.random.default_rng(seed)
    codes = {name: rng.integers(0, 1 << min(f.bits, 63), cycles) for name, f in datapath.inputs.items()}
    for k, values in enumerate(codes.values()):
        values[k::7] = 0
        values[k + 1 :: 7] = -1
    wide = {name: -1 if form.bits == 64 else (1 << form.bits) - 1 for name, form in datapath.inputs.items()}
    return {name: form.decode(codes[name] & wide[name]) for name, form in datapath.inputs.items()}


def agree(datapath, cycles=48, reset_every=None, tool="iverilog"):
    """Hold every port and register in every cycle against PyRTL."""
    inputs = stimuli(datapath, cycles)
    expected, found = run(datapath, inputs, reset_every), run_verilog(datapath, inputs, reset_every, tool)
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(
            found[name], values, strict=True, err_msg=f"{describe(datapath)} {name}"
        )


@icarus
@pytest.mark.parametrize("kind", DATAPATHS)
def test_every_family_agrees_in_icarus(kind):
    for datapath in list(DATAPATHS[kind].variants())[::4]:
        agree(datapath, reset_every=11)


@icarus
@pytest.mark.slow
@pytest.mark.parametrize("kind", DATAPATHS)
def test_every_variant_agrees_in_icarus(kind):
    for datapath in DATAPATHS[kind].variants():
        agree(datapath, cycles=1024, reset_every=100)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("verilator"), reason="Debian's package verilator is not installed")
@pytest.mark.parametrize("kind", DATAPATHS)
def test_a_family_agrees_in_verilator(kind):
    agree(list(DATAPATHS[kind].variants())[-1], cycles=1024, reset_every=100, tool="verilator")


@dataclass(frozen=True)
class Drawn:
    """The logic of a random block: every wire, or its lowest 64 bits, is an output."""

    recipe: Recipe

    registers = property(lambda self: {})

    @property
    def inputs(self):
        return {f"i{k}": Int(min(bits, 64), signed=bits >= 64) for k, bits in enumerate(self.recipe.inputs)}

    @property
    def outputs(self):
        with pyrtl.set_working_block(pyrtl.Block(), no_sanity_check=True):
            wires = self.connect({name: pyrtl.Input(form.bits, name) for name, form in self.inputs.items()})
        return {name: Int(len(wire), signed=False) for name, wire in wires.items()}

    def connect(self, wires):
        builder = Builder(pyrtl.working_block())
        builder.pool += wires.values()
        for step in self.recipe.steps:
            builder.step(*step)
        return {f"o{k}": builder.fit(wire, min(len(wire), 64)) for k, wire in enumerate(builder.pool)}


@icarus
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(recipes(most=40))
def test_random_logic_agrees_in_icarus(recipe):
    """PyRTL's FastSimulation, which ``run`` is, leaves bits standing that a narrower destination cuts off."""
    steps = tuple(step for step in recipe.steps if step[0] not in ("m", "@"))
    drawn = Drawn(replace(recipe, steps=steps))
    inputs = stimuli(drawn, 8)
    rows = {name: form.encode(inputs[name]).view(np.uint64).tolist() for name, form in drawn.inputs.items()}
    trace = pyrtl.Simulation(block=(block := elaborate(drawn)), tracer=pyrtl.SimulationTrace("all", block))
    trace.step_multiple(rows)
    for name, values in run_verilog(drawn, inputs).items():
        np.testing.assert_array_equal(values.view(np.uint64).tolist(), trace.tracer.trace[name], err_msg=name)


@dataclass(frozen=True)
class Inverter:
    """A wire and its complement, the input's name and format as given."""

    name: str = "reg"
    form: Int = Int(64)  # noqa: RUF009  a frozen value

    inputs = property(lambda self: {self.name: self.form})
    registers = property(lambda self: {})
    outputs = property(lambda self: {"output": self.form})

    def connect(self, wires):
        return {"output": ~wires[self.name]}


@icarus
def test_keywords_as_names_and_64_bits_are_no_obstacle():
    agree(Inverter())
    agree(Inverter("module", Int(63, signed=False)))
    agree(Inverter("signed", Int(1)), cycles=1)


def test_no_cycles_give_no_results():
    nothing = np.zeros(0, np.int64)
    found = run_verilog(MAC, {"activation": nothing, "weight": nothing})
    np.testing.assert_array_equal(found["accumulator"], nothing, strict=True)


@pytest.mark.parametrize(
    "name", ["x ; endmodule", "x\n", "N1", "RESULTS", "a.b", "\\x ", "x//", "é", "$finish", "`x"]
)
def test_a_name_that_is_no_lower_case_identifier_never_reaches_verilog(name):
    with pytest.raises(HwsimError, match="use lower-case letters, digits and _"):
        export(Inverter(name))


def test_the_text_depends_on_the_circuit_alone():
    text = export(MAC)
    with pyrtl.set_working_block(pyrtl.Block()):
        pyrtl.WireVector(3)
    assert export(Mac(Int(6), Int(8), Int(16), Overflow.SATURATE)) == text
    assert "always @(posedge CLOCK) \\accumulator  <= NEXT0;" in text


def refused(monkeypatch, tmp_path, *, path=None, **options):
    """The sentence that a run ends in; nothing is left in the temporary folder."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    if path is not None:
        monkeypatch.setenv("PATH", path)
    with pytest.raises(HwsimError) as error:
        run_verilog(MAC, stimuli(MAC, 3), **options)
    assert list((tmp_path / "scratch").iterdir()) == []
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_missing_simulator_is_named_with_its_package(tool, monkeypatch, tmp_path):
    said = refused(monkeypatch, tmp_path, path=str(tmp_path), tool=tool)
    assert said.startswith(f"{tool} needs {tool}; install it with: apt-get install {tool}")


def test_an_unknown_simulator_is_refused(monkeypatch, tmp_path):
    said = refused(monkeypatch, tmp_path, tool="modelsim")
    assert said == 'unknown Verilog simulator "modelsim"; known: iverilog, verilator'


def programs(folder, **scripts):
    """A path with shell scripts as programs."""
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


@pytest.mark.parametrize(
    ("compile_script", "run_script", "sentence"),
    [
        ("echo 'bench.v:1: syntax error'; exit 3", "", "iverilog failed with status 3: bench.v:1: syntax error;"),
        ("", "sleep 60", "iverilog took more than 0.5 s; run fewer cycles or raise the limit"),
        ("", "printf '0 00001\\n0 0xxxx\\n0 00001\\n' > results", "iverilog gives no number in every cycle of Mac("),
        ("", "printf '0 00001\\n' > results", "iverilog gives no number in every cycle of Mac("),
        ("", "exit 0", "iverilog gives no number in every cycle of Mac("),
    ],
)  # fmt: skip
def test_a_simulator_that_fails_is_told_in_one_sentence(
    compile_script, run_script, sentence, monkeypatch, tmp_path
):
    path = programs(tmp_path, iverilog=compile_script, vvp=run_script)
    assert sentence in refused(monkeypatch, tmp_path, path=path, timeout_s=0.5)


def test_other_rows_than_the_ports_are_refused():
    with pytest.raises(HwsimError, match="a run needs one row of values"):
        run_verilog(MaxPool(Int(8)), {"weight": np.zeros(3, np.int64)})
