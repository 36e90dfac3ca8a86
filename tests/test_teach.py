"""The teaching page: its data against arithmetic, circuits and synthesis, and the page in a real browser."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np
import pytest

import hwsim
import tiny
from hwsim.errors import HwsimError
from hwsim.explore.evaluation import METRICS
from hwsim.explore.exploration import explore
from hwsim.explore.study import read_study
from hwsim.formats import Int, parse_format
from hwsim.results import write_results
from hwsim.simulate.inference import measure_accuracy
from hwsim.steps.teach import teaching_page
from hwsim.teach import measure as measured
from hwsim.teach.page import page
from hwsim.teach.shipped import read, to_bytes

DATA = read()
REPORT = Path(__file__).parents[1] / "reports" / "digits"
"""The exploration beside which the page's choices were measured."""
CHOICES = [
    measured.key(*choice)
    for choice in itertools.product(
        measured.WEIGHTS, measured.ACTIVATIONS, measured.ACCUMULATORS, measured.OVERFLOWS
    )
]


def parted(key):
    """A choice's weight format, activation bits, accumulator bits and overflow."""
    weight, activation, accumulator, overflow = re.fullmatch(r"(\w+)\*(\d)/(\d+)/(\w+)", key).groups()
    return weight, int(activation), int(accumulator), overflow


def test_every_choice_is_there_and_proved_equal_to_its_circuit():
    assert list(DATA["choices"]) == CHOICES
    assert all(choice["equivalent"] for choice in DATA["choices"].values())


@pytest.mark.parametrize("key", CHOICES)
def test_a_circuit_s_sum_is_that_of_python_s_integers(key):
    weight, activation, accumulator, overflow = parted(key)
    operands, half, total, expected = DATA["operands"][f"{weight}*{activation}"], 1 << accumulator - 1, 0, []
    parse_format(weight).encode(np.array(operands["weight"]))
    Int(activation, signed=False).encode(np.array(operands["activation"]))
    for w, a in zip(operands["weight"], operands["activation"], strict=True):
        total += w * a
        total = (
            max(-half, min(half - 1, total)) if overflow == "saturate" else (total + half) % (2 * half) - half
        )
        expected.append(total)
    assert DATA["choices"][key]["sum"] == expected


def test_levels_hold_all_weights_and_more_bits_lose_less():
    for name, found in DATA["levels"].items():
        assert sum(found["counts"]) == len(DATA["weights"]) == 1280
        assert len(found["codes"]) <= 1 << parse_format(name).bits
        levels = np.array(found["places"])
        error = np.abs(np.array(DATA["weights"])[:, None] - levels).min(axis=1)
        assert np.sqrt(np.mean(error**2)) == pytest.approx(found["error"], abs=2e-3)
    for family in (("int2", "int3", "int4", "int6", "int8"), ("pow2x3", "pow2x4")):
        errors = [DATA["levels"][name]["error"] for name in family]
        assert errors == sorted(errors, reverse=True)


def test_wider_circuits_cost_more():
    """Invariants of the characterised costs: weight, activation and accumulator bits one at a time."""
    for gates in (
        [DATA["choices"][f"int{w}*8/16/wrap"]["gates"] for w in (2, 3, 4, 6, 8)],
        [DATA["choices"][f"int8*{a}/16/wrap"]["gates"] for a in (2, 4, 8)],
        [DATA["choices"][f"int8*8/{n}/wrap"]["gates"] for n in (12, 16, 32)],
    ):
        assert gates == sorted(gates)
    for name in ("int4*4/16", "int8*8/32", "pow2x4*8/12"):
        assert DATA["choices"][f"{name}/saturate"]["gates"] > DATA["choices"][f"{name}/wrap"]["gates"]


@pytest.mark.parametrize(
    "keys",
    [
        ("int4*4/16/wrap",),
        pytest.param(tuple(CHOICES[5::17]), marks=pytest.mark.slow),
    ],
    ids=["one", "some"],
)
def test_choices_measured_again_are_those_shipped(keys):
    """Circuit, synthesis, energy and accuracy, by other ways in where there are any."""
    from hwsim.explore.bench import open_bench

    bench = open_bench(read_study(REPORT / "study.toml"))
    places = measured._largest_outputs(bench, DATA["layer"])
    assert places[measured.IMAGE, 1:].tolist() == DATA["place"] == [DATA["label"], 0, 0]
    for key in keys:
        weight, activation, accumulator, overflow = parted(key)
        streams = measured._streams(bench, DATA["layer"], places, weight, activation)
        operands = {name: row[:, measured.IMAGE].tolist() for name, row in streams.items()}
        assert operands == DATA["operands"][f"{weight}*{activation}"]
        network = measured._network(bench, weight, activation, accumulator, overflow)
        accuracy = measure_accuracy(network, bench.test.images, bench.test.labels)
        found = measured._choice(bench, DATA["layer"], streams, network, accuracy)
        assert found == DATA["choices"][key]
        name = "shift_mac" if weight.startswith("pow2") else "mac"
        formats = {"activation": f"uint{activation}", "accumulator": f"int{accumulator}"}
        cost = hwsim.cost_datapath(name, weight=weight, overflow=overflow, **formats)
        assert (found["gates"], found["delay_ps"]) == (cost.nand2_equivalents, cost.critical_path_ps)


def test_the_data_were_measured_on_the_exploration_that_they_name():
    facts = json.loads((REPORT / "results.json").read_text())["facts"]
    assert set(DATA["stamp"]) == {*facts["stamp"], "quantizer"}
    for what in ("model sha256", "calibration", "test", "search"):
        assert DATA["stamp"][what] == facts["stamp"][what]
    assert DATA["stamp"]["quantizer"] == str(measured.SETTINGS)
    assert DATA["study"]["title"] == facts["title"]
    assert DATA["study"]["commands"] == [facts["command"], "hwsim teach reports/digits"]


def test_the_page_says_with_what_it_was_measured(browsed):
    shown = browsed.inner_text("footer")
    assert all(what in shown and which in shown for what, which in DATA["stamp"].items())
    assert all(command in shown for command in DATA["study"]["commands"])


def test_the_page_carries_all_it_needs_under_a_policy_of_digests():
    text = page(DATA)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    for tag in ("script", "style"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\s(style|on\w+)=", text.partition("<script")[0])
    assert len(text) < 1_000_000 and page(DATA) == text


def test_a_hostile_title_of_a_study_stays_data():
    hostile = "</script><script>alert(1)</script><!-- @STYLE@"
    text = page(DATA | {"study": DATA["study"] | {"title": hostile}})
    assert "alert(1)</script>" not in text and text.count("<script") == 2 and text.count("<style>") == 1


def test_the_command_writes_the_page(tmp_path):
    done = tiny.hwsim("teach", "-o", "page.html", "--json", cwd=tmp_path)
    assert json.loads(done.stdout) == {"page": "page.html", "choices": len(CHOICES)}
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page(DATA)
    assert to_bytes(DATA) == measured_file()


def measured_file():
    return (Path(measured.__file__).parent / "choices.json.gz").read_bytes()


@pytest.mark.parametrize(
    ("study", "layer", "sentence"),
    [
        ("study.toml", "", "technology gates has no delay and no energy to show; choose open45, say"),
        ("own.toml", "conv2", 'unknown layer with weights "conv2"; known: conv, out'),
        ("", "conv", "--layer conv is one of a study's network; write hwsim teach STUDY --layer conv"),
        ("none.toml", "", "none.toml"),
        ("empty", "", "results"),
    ],
)
def test_a_study_that_has_no_page_is_refused_in_a_sentence(own, study, layer, sentence):
    with pytest.raises(HwsimError, match=sentence):
        teaching_page("page.html", study=study, layer=layer)
    assert not Path("page.html").exists()


@pytest.fixture
def own(tmp_path, monkeypatch, working_in):
    """A folder with a study of a network of one's own, and few choices to measure."""
    working_in(tiny.write(tmp_path))
    text = tiny.STUDY.replace('"gates"', '"open45"').replace("budget = 10", "budget = 2")
    text = text.replace('"int3", "int4"', '"int8"').replace("[4]", "[8]").replace('"int12"', '"int32"')
    Path("own.toml").write_text(text)
    Path("empty").mkdir()
    for name, few in (
        ("WEIGHTS", ("int8",)),
        ("ACTIVATIONS", (8,)),
        ("ACCUMULATORS", (32,)),
        ("OVERFLOWS", ("wrap",)),
    ):
        monkeypatch.setattr(measured, name, few)
    return tmp_path


def accuracy_of(bits, signed):
    """The accuracy of a network of one's own where both layers have some bits, by the library's own way in."""
    text = "[layers]\n" + "".join(
        f'{layer} = "{bits.replace("*", "*" if negative else "*u")}"\n' for layer, negative in signed.items()
    )
    network = hwsim.quantize_model(
        "net.py:net", text, calibration="images.npz", images=8, quantizer=str(measured.SETTINGS)
    )
    return hwsim.simulate_network(network, data="images.npz", verify=0).accuracy.correct


def test_a_page_about_a_study_s_own_network(own, open_page, monkeypatch):
    """Levels, sums and accuracies are those of its layer: by hand, by the library, and in the browser."""
    monkeypatch.setattr(measured, "ACCUMULATORS", (16, 32))
    assert teaching_page("page.html", study="own.toml", layer="conv") == 2
    opened = open_page(own / "page.html")
    data = json.loads(opened.text_content("#data"))
    assert (data["model"], data["layer"], data["signed"], data["scores"]) == ("tiny", "conv", True, False)
    assert sum(data["levels"]["int8"]["counts"]) == len(data["weights"]) == 18
    for key, choice in data["choices"].items():
        weight, activation, accumulator, overflow = parted(key)
        operands = data["operands"][f"{weight}*{activation}"]
        assert len(operands["weight"]) == len(choice["sum"]) == 9
        if accumulator == 32:
            assert choice["sum"] == np.cumsum(np.multiply(*operands.values())).tolist()
    for key in ("int8*8/16/wrap", "int8*8/32/wrap"):
        weight, activation, accumulator, overflow = parted(key)
        bits = f"{weight}*int{activation}/int{accumulator}/{overflow}"
        assert data["choices"][key]["correct"] == accuracy_of(bits, {"conv": True, "out": False})
    front = [(loss, gates) for loss, gates, best in data["study"]["points"] if best]
    assert front and all(
        any(loss <= p[0] and gates <= p[1] for loss, gates in front) for p in data["study"]["points"]
    )
    assert "layer conv of the network tiny adds up 9 products" in opened.inner_text("header")
    assert opened.inner_text("#choice") == "int8*int8/int32"
    assert "2 choices of this page of Tiny; the line" in opened.inner_text("main")
    assert "hwsim teach own.toml --layer conv" in opened.inner_text("footer")
    opened.focus("#walk")
    for _ in range(12):
        opened.keyboard.press("ArrowRight")
    assert opened.inner_text("#cycle-number") == "9"
    assert opened.said == []


def test_a_page_about_an_exploration_shows_its_designs(own, open_page):
    explored = explore(read_study(Path("own.toml")), Path("found"))
    write_results(explored, Path("found"), "hwsim explore own.toml -o found")
    teaching_page("page.html", study="found")
    opened = open_page(own / "page.html")
    data = json.loads(opened.text_content("#data"))
    assert (data["layer"], data["scores"], data["signed"]) == ("out", True, False)
    assert [point[:2] for point in data["study"]["points"]] == [
        [round(METRICS[name].of(e), 4) for name in ("accuracy_loss", "gates")] for e in explored.evaluations
    ]
    assert "2 designs of Tiny, which chose them layer by layer" in opened.inner_text("main")
    assert opened.locator("#pareto .point, #pareto .front-point").count() == 2 and opened.said == []


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("teach") / "page.html"
    teaching_page(path)
    return path


@pytest.fixture
def browsed(written, open_page):
    """The page open in Chromium, which must neither complain nor ask a network for anything."""
    opened = open_page(written)
    yield opened
    assert opened.said == []


CHOOSE = """([kind, weight, activation, accumulator, overflow]) => {
  const form = document.getElementById("controls");
  form.elements.format.value = kind;
  form.elements.overflow.value = overflow;
  for (const [id, at] of [["weight", weight], ["activation", activation], ["accumulator", accumulator]])
    document.getElementById(id).value = at;
  form.dispatchEvent(new Event("input", { bubbles: true }));
  const said = (id) => document.getElementById(id).textContent;
  const walk = document.getElementById("walk").dataset;
  return { key: document.body.dataset.choice, exact: walk.exact, over: walk.over, gates: said("gates"),
    delay: said("delay"), energy: said("energy"), walk: said("walk-said"), network: said("network-said"),
    marks: document.querySelectorAll("#levels .level").length, here: document.querySelectorAll("#pareto .here").length };
}"""


def rounded(value):
    """A figure as the page writes it, halves away from zero."""
    return f"{Decimal(repr(value)).quantize(Decimal(1), ROUND_HALF_UP):,}"


def chosen(page, key):
    weight, activation, accumulator, overflow = parted(key)
    kind = "int" if weight.startswith("int") else "pow2x"
    family = [name for name in measured.WEIGHTS if name.startswith(kind)]
    places = [
        family.index(weight),
        measured.ACTIVATIONS.index(activation),
        measured.ACCUMULATORS.index(accumulator),
    ]
    return page.evaluate(CHOOSE, [kind, *places, overflow])


def test_what_the_script_computes_is_what_the_circuits_did(browsed):
    """Of every choice: the exact sums, where the circuit left the range, and every figure that is shown."""
    for key, choice in DATA["choices"].items():
        said = chosen(browsed, key)
        weight, activation, accumulator, _ = parted(key)
        operands = DATA["operands"][f"{weight}*{activation}"]
        products = np.multiply(operands["weight"], operands["activation"])
        exact = np.cumsum(products)
        before = np.concatenate([[0], choice["sum"][:-1]])
        half = 1 << accumulator - 1
        over = (before + products < -half) | (before + products >= half)
        assert said["key"] == key
        assert said["exact"] == " ".join(map(str, exact)) and said["over"] == " ".join(
            map(str, over.astype(int))
        )
        assert ("never leaves the range" in said["walk"]) == (not over.any())
        assert said["gates"] == rounded(choice["gates"])
        assert said["delay"] == f"{rounded(choice['delay_ps'])} ps"
        assert said["energy"] == f"{rounded(sum(choice['energy_fj'].values()))} fJ"
        assert f"{choice['correct']} of 697 test images right" in said["network"]
        assert said["marks"] == len(DATA["levels"][weight]["codes"]) and said["here"] == 1


def test_pointer_and_keys_move_along_the_sum(browsed):
    chosen(browsed, "int8*8/12/wrap")
    box = browsed.locator("#walk").bounding_box()
    browsed.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60)
    first = int(browsed.inner_text("#cycle-number"))
    assert 45 < first < 75
    browsed.focus("#walk")
    browsed.keyboard.press("ArrowRight")
    assert int(browsed.inner_text("#cycle-number")) == first + 1
    values = browsed.eval_on_selector_all("#wave .value", "all => all.map(text => text.textContent)")
    held = DATA["choices"]["int8*8/12/wrap"]["sum"][first]
    assert f"{held:,}".replace("-", "\u2212") in values


def test_no_product_is_minus_zero(browsed):
    """A negative weight times zero, which an integer circuit knows as zero."""
    chosen(browsed, "int8*8/16/wrap")
    operands = DATA["operands"]["int8*8"]
    pairs = enumerate(zip(operands["weight"], operands["activation"], strict=True), 1)
    cycle = next(k for k, (weight, activation) in pairs if weight < 0 == activation)
    browsed.fill("#cycle", str(cycle))
    values = browsed.eval_on_selector_all("#wave .value", "all => all.map(text => text.textContent)")
    assert "0" in values and "\u22120" not in values


def test_a_slider_by_hand_changes_the_choice(browsed):
    chosen(browsed, "int4*8/16/wrap")
    browsed.focus("#weight")
    browsed.keyboard.press("ArrowRight")
    assert browsed.evaluate("document.body.dataset.choice") == "int6*8/16/wrap"
    browsed.locator("text=powers of two").click()
    assert browsed.evaluate("document.body.dataset.choice") == "pow2x4*8/16/wrap"
    browsed.locator("text=saturates").click()
    assert browsed.evaluate("document.body.dataset.choice") == "pow2x4*8/16/saturate"


TEXTS = """(selector) => [...document.querySelectorAll(selector)].map((text) => {
  const { left, right, top, bottom } = text.getBoundingClientRect();
  return [left, right, top, bottom, text.textContent];
})"""


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
@pytest.mark.parametrize("key", ["int8*8/32/wrap", "pow2x4*8/32/saturate"])
def test_no_two_numbers_overlap(browsed, width, key):
    browsed.set_viewport_size({"width": width, "height": 900})
    browsed.wait_for_function("width => innerWidth === width", arg=width)
    chosen(browsed, key)
    for board in ("#wave text", "#walk text", "#pareto text", "#levels text"):
        for one, other in itertools.combinations(browsed.evaluate(TEXTS, board), 2):
            apart = (
                one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] + 2 or other[3] <= one[2] + 2
            )
            assert apart, (board, one, other)


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_window(browsed, width):
    browsed.set_viewport_size({"width": width, "height": 900})
    try:
        browsed.wait_for_function("width => innerWidth === width", arg=width)
        browsed.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert browsed.evaluate("document.documentElement.scrollWidth") <= width
        assert browsed.evaluate("document.querySelector('#walk').getBoundingClientRect().right") <= width
    finally:
        browsed.set_viewport_size({"width": 1280, "height": 900})
