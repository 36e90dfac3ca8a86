"""The study file: every default written, and what is written reads back equal."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import METRICS
from hwsim.explore.evaluation import OF_AN_ARRAY as METRICS_OF_AN_ARRAY
from hwsim.explore.searches import SEARCHES
from hwsim.explore.study import (
    SEARCH_NAMES,
    ArrayTable,
    Data,
    HardwareTable,
    MemoryTable,
    Space,
    Study,
    read_study,
)

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


def some(*values):
    return st.lists(st.sampled_from(values), min_size=1, unique=True).map(tuple)


studies = st.builds(
    Study,
    title=names,
    model=names,
    objectives=some(*(name for name in METRICS if name not in ("energy", *METRICS_OF_AN_ARRAY))),
    search=st.sampled_from(["evolve", "uniform", "random"]),
    budget=st.integers(1, 1_000_000),
    seed=st.integers(0, 2**63 - 1),
    in_flight=st.integers(1, 1_000_000),
    data=st.builds(
        Data, calibration=names, calibration_images=st.integers(0), test=names, test_images=st.integers(0)
    ),
    space=st.builds(
        Space,
        weights=some("int2", "int8", "pow2x4"),
        activations=some(2, 4, 8),
        accumulators=some("int8", "int32"),
        overflows=some("wrap", "saturate"),
        datapaths=some("mac", "shift_mac"),
        quantizers=some("activations=kl", "activations=min_max"),
        fixed=st.dictionaries(names, names, max_size=3),
    ),
    hardware=st.builds(
        HardwareTable,
        clock_mhz=st.floats(1, 100_000),
        images_per_second=st.floats(0, 1e6, exclude_min=True),
        technology=st.sampled_from(["open45", "open130"]),
        mapping=st.sampled_from(["smallest", "balanced", "fastest"]),
    ),
    memory=st.builds(
        MemoryTable,
        buffer_bytes=st.integers(1),
        burst_bits=st.integers(1, 1000).map(lambda n: 8 * n),
        loop_order=st.sampled_from(["weights_outer", "inputs_outer"]),
    ),
)


OF_AN_ARRAY = {"array", "inner_buffer_bytes", "bus_bits", "double_buffered"}
"""Keys that a study without an array does not have."""

arrays = st.builds(
    ArrayTable,
    rows=st.integers(1, 64),
    columns=st.integers(1, 64),
    dataflow=st.sampled_from(["weight", "output", "input"]),
    minimise=st.sampled_from(["traffic", "time"]),
)
hierarchies = st.builds(
    MemoryTable,
    buffer_bytes=st.integers(1000, 100_000),
    inner_buffer_bytes=st.integers(0, 1000),
    burst_bits=st.integers(1, 100).map(lambda n: 8 * n),
    bus_bits=st.integers(1, 1000),
    double_buffered=st.booleans(),
)


@settings(max_examples=100, deadline=None)
@given(st.builds(Study, title=names, model=names, array=arrays, memory=hierarchies))
def test_a_study_with_an_array_reads_back_equal(study):
    assert Study.model_validate(tomllib.loads(study.to_toml())) == study
    accelerator = study.accelerator()
    assert accelerator.array.rows == study.array.rows
    assert accelerator.hierarchy.burst_bytes * 8 == study.memory.burst_bits
    assert accelerator.hierarchy.buffers_bytes[0] == study.memory.buffer_bytes


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("[memory]\nbus_bits = 32", "study: memory.bus_bits is that of an array; add an .array. table"),
        (
            '[memory]\nloop_order = "inputs_outer"\n[array]',
            "memory.loop_order is searched for where there is an",
        ),
        ('[array]\ndataflow = "row"', 'unknown dataflow "row"; known: weight, output, input'),
        ('[array]\nminimise = "area"', 'unknown objective of a tiling "area"; known: traffic, time'),
        ("[array]\nrows = 0", "array.rows: input should be greater than 0, not 0"),
        ("[array]\ncolumms = 4", r'unknown key "array.columms"; known: .* \(did you mean "columns"'),
        (
            "[array]\ntest_images = 4",
            r'unknown key "array.test_images"; .* \(test_images stands under \[data\]\)',
        ),
        (
            "[memory]\ninner_buffer_bytes = 9999\n[array]",
            "inner buffer of 9999 bytes is larger than the outer",
        ),
        ('objectives = ["energy"]', "energy is that of an array and its memories; add an .array. table"),
        (
            'objectives = ["energy"]\n[array]\ndataflow = "input"',
            'unknown dataflow of an energy "input"; known: output, weight',
        ),
        (
            'objectives = ["energy"]\n[array]\n[hardware]\ntechnology = "gates"',
            'technology "gates" has no voltage and so no energy',
        ),
    ],
)
def test_an_array_that_cannot_be_is_refused(tmp_path, text, sentence):
    (tmp_path / "s.toml").write_text(f'title = "T"\nmodel = "digits"\n{text}\n')
    with pytest.raises(HwsimError, match=sentence):
        read_study(tmp_path / "s.toml")


def test_a_study_of_energy_reads_back_equal():
    study = Study(title="T", model="digits", objectives=("energy",), array=ArrayTable(dataflow="output"))
    assert Study.model_validate(tomllib.loads(study.to_toml())) == study


@settings(max_examples=300, deadline=None)
@given(studies)
def test_a_study_reads_back_equal(study):
    assert Study.model_validate(tomllib.loads(study.to_toml())) == study


def test_every_search_that_a_study_may_name_is_there():
    assert tuple(SEARCHES) == SEARCH_NAMES


def test_every_default_is_written(tmp_path):
    (tmp_path / "least.toml").write_text('title = "T"\nmodel = "digits"')
    study = read_study(tmp_path / "least.toml")
    written = tomllib.loads(study.to_toml())
    for table, kind in (
        (written, Study),
        *((written[k], type(getattr(study, k))) for k in ("data", "space", "hardware", "memory")),
    ):
        assert set(table) == set(kind.model_fields) - OF_AN_ARRAY - {
            "constraints",
            "mapping",
            "groups",
            "layers",
            "channels",
            "layer_quantizers",
            "coders",
            "arrays",
            "buffers",
        }
    (tmp_path / "full.toml").write_text(study.to_toml())
    assert read_study(tmp_path / "full.toml") == study


def test_the_mapping_point_is_written_where_it_is_chosen_and_refused_where_there_is_none(tmp_path):
    (tmp_path / "s.toml").write_text('title = "T"\nmodel = "digits"\n[hardware]\nmapping = "smallest"')
    study = read_study(tmp_path / "s.toml")
    assert study.hardware.value("mac").mapping == "smallest"
    assert tomllib.loads(study.to_toml())["hardware"]["mapping"] == "smallest"
    (tmp_path / "s.toml").write_text('title = "T"\nmodel = "digits"\n[hardware]\nmapping = "smalest"')
    with pytest.raises(HwsimError, match='unknown mapping "smalest"; known: smallest, balanced, fastest'):
        read_study(tmp_path / "s.toml")


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("0", "greater than or equal to 1, not 0"),
        ("-8", "greater than or equal to 1, not -8"),
        ("1.5", "a valid integer, not 1.5"),
        ("true", "a valid integer, not True"),
        ('"8"', "a valid integer, not '8'"),
        ("10000000", "less than or equal to 1000000, not 10000000"),
    ],
)
def test_points_in_flight_are_a_whole_number(tmp_path, value, rule):
    (tmp_path / "s.toml").write_text(f'title = "T"\nmodel = "digits"\nin_flight = {value}\n')
    with pytest.raises(HwsimError, match=f"in_flight: input should be {rule}$"):
        read_study(tmp_path / "s.toml")


def test_a_byte_order_mark_of_an_editor_is_no_part_of_a_study(tmp_path):
    (tmp_path / "marked.toml").write_text(tiny.STUDY, encoding="utf-8-sig")
    (tmp_path / "plain.toml").write_text(tiny.STUDY, encoding="utf-8")
    tiny.write(tmp_path)
    assert read_study(tmp_path / "marked.toml") == read_study(tmp_path / "plain.toml")


@pytest.mark.parametrize("key", ["title", "model"])
def test_a_key_without_default_is_asked_for(tmp_path, key):
    lines = [line for line in tiny.STUDY.splitlines() if not line.startswith(f"{key} =")]
    (tmp_path / "s.toml").write_text("\n".join(lines))
    with pytest.raises(HwsimError, match=f'the key "{key}" is missing; add it'):
        read_study(tmp_path / "s.toml")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_study_is_read_or_refused_in_one_sentence(tmp_path_factory, data):
    text = tiny.STUDY
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    path = tmp_path_factory.getbasetemp() / "mutated.toml"
    path.write_bytes(text.encode(errors="replace"))
    try:
        assert isinstance(read_study(path), Study)
    except HwsimError as error:
        assert "study file" in str(error)


def test_designs_with_additions_in_half_precision_are_searched_by_measuring_them():
    """Nothing adds up their costs beforehand."""
    table = {"title": "t", "model": "digits"}
    half, both = (
        Study.model_validate(table | {"space": {"quantizers": list(names)}}).search
        for names in (("placement=half",), ("placement=half", "placement=integer"))
    )
    assert (half, both) == ("evolve", "exact")


def test_designs_some_of_whose_layers_give_channels_of_activations_widths_are_searched_by_measuring_them():
    channels, whole = "activation_granularity=channel", "activations=mse"
    spaces = [
        {"quantizers": [channels]},
        {"quantizers": [channels, whole]},
        {"layer_quantizers": ["", channels]},
    ]
    found = [
        Study.model_validate({"title": "t", "model": "digits", "space": space}).search for space in spaces
    ]
    assert found == ["exact", "exact", "evolve"]


def test_an_array_of_many_formats_is_searched_by_measuring_it():
    """Five widths of weights, three of inputs are few; the lists of a space that names none are many, and of two kinds."""
    table = {"title": "t", "model": "digits", "objectives": ["accuracy_loss", "array_gates"], "array": {}}
    few = {
        "weights": ["int2", "int3", "int4", "int6", "int8"],
        "activations": [3, 4, 6],
        "accumulators": ["int16"],
    }
    found = [
        Study.model_validate(table | {"space": space}).search
        for space in (
            few | {"overflows": ["wrap"]},
            few,
            few | {"overflows": ["wrap"], "weights": ["pow2x4"]},
            {},
        )
    ]
    assert found == ["exact", "evolve", "evolve", "evolve"]
