"""The report: what it holds, that it is deterministic, and that no name in it can act."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import importlib
import io
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import rich.console

from hwsim.bits import LayerBits
from hwsim.explore.evaluation import (
    METRICS,
    OF_AN_ARRAY,
    DesignPoint,
    Evaluation,
    LayerResult,
    Part,
    known_metrics,
    pareto_front,
)
from hwsim.explore.explanation import Beliefs, Explanation, LayerWeights, Sensitivity, Step
from hwsim.report import ArrayFacts, StudyFacts, terminal_table, write_report
from hwsim.report.explained import dominances
from hwsim.report.figures import drawings
from hwsim.report.roofline import roofline
from hwsim.report.tables import column
from hwsim.report.tradeoffs import Row, choices, curve, knee, reference, rows
from hwsim.report.wording import TIMES, number, runs, short_bits, visible
from hwsim.results import read_results

OBJECTIVES = ("accuracy_loss", "gates", "bandwidth", "compression_ratio")
LAYERS = (
    ("stem", "convolution", 9, 16, 64),
    ("depthwise", "convolution", 9, 16, 64),
    ("pointwise", "convolution", 16, 24, 64),
    ("shortcut_add", "add", 0, 24, 64),
    ("pool", "max_pool", 0, 24, 16),
    ("conv2", "convolution", 216, 24, 16),
    ("average", "average_pool", 0, 24, 1),
    ("classifier", "linear", 24, 10, 1),
)


def parts(
    kind: str, weight: int, activation: int, accumulator: int, channels: int, shift: bool
) -> tuple[Part, ...]:
    """Circuits of one layer with sizes of a plausible order; no measurement."""
    requantize = Part("requantize", f"Requantize(accumulator=int{accumulator}, output=uint{activation})", 1,
                      1450 + 31.5 * accumulator, 0, 1900.0 + 40 * accumulator, 2600.0, True)  # fmt: skip
    if kind in ("convolution", "linear"):
        name = f"{'ShiftMac' if shift else 'Mac'}(weight=int{weight}, activation=uint{activation}, accumulator=int{accumulator})"
        gates = (6.0 * weight * activation) * (0.55 if shift else 1) + 11.25 * accumulator
        mac = Part(
            "mac", name, channels, gates, accumulator, gates * 1.33, 400 + 35.0 * (weight + activation), True
        )
        return (mac, requantize)
    circuit = Part(
        kind,
        f"{kind}(uint{activation})",
        channels,
        14.0 * activation,
        activation,
        20.0 * activation,
        310.0,
        True,
    )
    return (circuit, requantize) if kind != "max_pool" else (circuit,)


def evaluation(index: int, layers: tuple[tuple[str, str, int, int, int], ...], seed: int = 0) -> Evaluation:
    """A made-up evaluation, the same for the same arguments."""
    draw = random.Random(f"{seed} {index}")
    low = draw.choice((2, 3, 4, 5, 6, 8)) if index else 8
    shift, accumulator = (
        index > 0 and draw.random() < 0.3,
        32 if not index else draw.choice((12, 16, 20, 24, 32)),
    )
    results, bits, damage = [], [], 0.0
    for place, (name, kind, products, channels, positions) in enumerate(layers):
        weighted = kind in ("convolution", "linear")
        weight = (
            8 if not index else min(8, max(2, low + draw.choice((-1, 0, 0, 0, 1)) + (2 if place == 0 else 0)))
        )
        activation = 8 if not index else min(8, max(2, low + draw.choice((0, 0, 1))))
        weight = min(weight, 5) if shift else weight
        text = f"{f'pow2x{weight}' if shift else f'int{weight}'}*uint{activation}/int{accumulator}"
        text += "/saturate" if draw.random() < 0.15 and index else ""
        short = max(0, weight + activation + max(products - 1, 0).bit_length() - 3 - accumulator)
        sums = products * channels * positions * 360 if weighted else 0
        weights = products * channels if weighted else 0
        damage += (
            (2.6 ** (4.2 - weight) + 1.8 ** (3.5 - activation)) * 0.11 * draw.uniform(0.5, 1.5) + short
            if weighted
            else 0
        )
        results.append(
            LayerResult(
                name, kind, text if weighted else "", f"uint{activation}", weights * positions, weights,
                parts(kind, weight, activation, accumulator, channels, shift), weights * weight // 8 + 1,
                channels * positions * activation // 8, channels * positions * activation // 8,
                weights * (weight - 1) // 8 + 12 if weighted else 0, sums, int(sums * 1e-4 * short),
            )
        )  # fmt: skip
        if weighted:
            bits.append((name, text))
    quantizer = f"weights=min_max activations={draw.choice(('aciq', 'kl', 'min_max'))} granularity=channel bias_correction=true"
    return Evaluation(
        index=index,
        point=DesignPoint(tuple(bits), "shift_mac" if shift else "mac", quantizer),
        correct=max(36, 355 - round(3.6 * damage)) if index else 354,
        images=360,
        float_correct=355,
        float32_bytes=4 * sum(r.weights for r in results) + 400,
        file_bytes=200 + sum(r.file_bytes for r in results),
        images_per_second=1000.0,
        layers=tuple(results),
    )


def evaluations(count: int, layers: tuple[tuple[str, str, int, int, int], ...] = LAYERS) -> list[Evaluation]:
    """The first ``count`` made-up evaluations of distinct design points."""
    found: dict[str, Evaluation] = {}
    for index in itertools.count():
        if len(found) == count:
            break
        made = evaluation(index, layers)
        found.setdefault(made.point.key(), dataclasses.replace(made, index=len(found)))
    return list(found.values())


def facts(listed: list[Evaluation]) -> StudyFacts:
    return StudyFacts(
        title="Bits for a small digits network",
        model="digits",
        objectives=OBJECTIVES,
        command="hwsim explore designs/digits.toml -o reports/digits",
        stamp={
            "hwsim": "0.1.0",
            "Yosys": "0.60",
            "search seed": "0",
            "model digest": "1f2e3d4c5b6a7988",
            "test images": "360",
            "calibration images": "300",
        },
        rebuild={
            e.point.key(): f"hwsim quantize digits --bits reports/digits/points/{e.point.key()}.toml -o {e.point.key()}.safetensors"
            for e in listed
        },
        notes=(
            "Bandwidth is counted at 1,000 images per second with 32 KiB on chip.",
            "The accuracies of the test split also ranked the points, so the best of them are flattered by chance.",
        ),
    )


HOSTILE_LINES = """\
</script><script>document.title="pwned"</script>
<script>document.title='pwned'</script>
<img src=x onerror="document.title='pwned'">
<svg onload=document.title='pwned'>
"><img src=x onerror=alert(1)>
'><svg/onload=alert(1)>
" onmouseover="document.title='pwned'
' autofocus onfocus='document.title="pwned"
` onerror=`alert(1)
</style><script>alert(1)</script>
</title><script>alert(1)</script>
</textarea><script>alert(1)</script>
</noscript><img src=x onerror=alert(1)>
</details></main><h1>taken over</h1>
<!--
<!--<script>
-->
]]>
<![CDATA[
<a href="javascript:document.title='pwned'">x</a>
<a href="https://example.org/">x</a>
<b>bold</b><br><i>x</i><sub>y</sub>
<a href="https://example.org/" target="_blank">hover</a>
&lt;script&gt;alert(1)&lt;/script&gt;
&#60;script&#62;
&amp;&quot;&apos;
&nbsp;&NotAnEntity;
javascript:alert(1)
data:text/html,<script>alert(1)</script>
//example.org/x.js
https://example.org/?a=1&b=2
{{ 7 * 7 }}
{% for x in y %}
{{ ''.__class__.__mro__ }}
${alert(1)}
#{7*7}
<%= 7*7 %>
%{text}%{customdata}<extra></extra>
$\\frac{1}{0}$
$unclosed
[bold red]x[/bold red]
[link=https://example.org]x[/link]
=cmd|' /C calc'!A0
=HYPERLINK("https://example.org")
+1+1
-2+3
@SUM(A1:A9)
;a,b;"c"
"quoted" 'single' `tick`
../../../etc/passwd
C:\\Windows\\x
__proto__
constructor
url(https://example.org/x.png)
expression(alert(1))
;}*{display:none
--a:100
null
point-0000000000000000
NaN
"""
HOSTILE = (
    *HOSTILE_LINES.splitlines(),
    "",
    "x" * 300,
    "\u202egnp.exe",
    "\ud800 lone",
    "\t=1+1",
    " =1+1",
    "new\nline\r\ttab",
    "line\u2028separator\u2029",
    "esc\x1b[31mred\x1b]8;;https://example.org\x07",
    "nul\x00bell\x07del\x7f\x9b31m",
    "\U0001d518\U0001d52b\U0001d526 é 漢字 \u0301",
)


def renamed(listed: list[Evaluation], name: Callable[[], str]) -> list[Evaluation]:
    """The evaluations with every name that comes from a file replaced by a call of ``name``."""
    replace = dataclasses.replace
    names: dict[str, str] = {}

    def of(text: str) -> str:
        return names.setdefault(text, name())

    return [
        replace(
            e,
            point=replace(
                e.point,
                bits=tuple((of(layer), bits) for layer, bits in e.point.bits),
                datapath=of(e.point.datapath),
                quantizer=of(e.point.quantizer),
            ),
            layers=tuple(
                replace(layer, name=of(layer.name), kind=of(layer.kind), output=of(layer.output),
                        parts=tuple(replace(part, circuit=of(part.circuit)) for part in layer.parts))
                for layer in e.layers
            ),
        )
        for e in listed
    ]  # fmt: skip


def study_of(listed: list[Evaluation], name: Callable[[], str], size: int = 8) -> StudyFacts:
    return dataclasses.replace(
        facts(listed),
        title=name(),
        model=name(),
        command=name(),
        notes=tuple(name() for _ in range(size)),
        stamp={f"{name()}{i}": name() for i in range(size)},
        rebuild={e.point.key(): name() for e in listed},
    )


def explanations(listed: list[Evaluation]) -> dict[str, Explanation]:
    """A made-up explanation of each evaluation, by key."""

    def one(e: Evaluation) -> Explanation:
        names = [layer.name for layer in e.layers if layer.bits]
        steps = (Step(name, what, by, 120.5 * by, 8 * by, 64 * by) for name in names
                 for what, by in (("weight", -1), ("weight", 1), ("activation", -1)))  # fmt: skip
        weights = (LayerWeights(name, 7.7, "0 3 9 4 0") for name in names)
        return Explanation(tuple(steps), tuple(weights), dict.fromkeys(names, 17))

    return {e.point.key(): one(e) for e in listed}


class Page(HTMLParser):
    """The elements of a page with their attributes, its scripts, data and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": [], "data": []}
        self.text: list[str] = []
        self._in = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = (
            "data"
            if dict(attrs).get("type") == "application/json"
            else tag
            if tag in ("script", "style")
            else ""
        )
        if self._in:
            self.inside[self._in].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in:
            self.inside[self._in][-1] += data
        else:
            self.text.append(data)

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.inside["data"][0])

    def of(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.elements if t == tag and all(a.get(k) == v for k, v in attributes.items())]


def written(directory: Path, listed: list[Evaluation], study: StudyFacts | None = None) -> Page:
    path = write_report(directory, listed, study or facts(listed), explanations(listed))
    return Page(path.read_text(encoding="utf-8"))


def lines_of(path: Path) -> io.StringIO:
    content = path.read_bytes()
    assert b"\r" not in content and content.endswith(b"\n")
    return io.StringIO(content.decode(), newline="")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("report")
    write_report(directory, evaluations(60), facts(evaluations(60)), explanations(evaluations(60)))
    return directory


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_policy_allows_exactly_the_scripts_of_the_page_and_no_other_source(page: Page) -> None:
    (policy,) = [a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    hashes = {
        kind: [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in page.inside[kind]]
        for kind in ("script", "style")
    }
    directives = dict(directive.strip().split(" ", 1) for directive in str(policy).split(";"))
    assert directives == {
        "default-src": "'none'",
        "script-src": f"'sha256-{hashes['script'][0]}'",
        "style-src": f"'sha256-{hashes['style'][0]}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert len(hashes["script"]) == len(hashes["style"]) == 1
    assert not [a for _, a in page.elements if "style" in a]
    tags = [tag for tag, _ in page.elements]
    assert (
        tags.index("meta") < tags.index("script")
        and page.elements[tags.index("meta") + 1][1]["content"] == policy
    )


def test_page_loads_nothing_from_outside(page: Page) -> None:
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "action", "data", "srcset", "poster"):
                assert str(value).startswith("#") or value == "data:,"
    assert not re.search(r"url\(|@import", "".join(page.inside["style"]))
    assert not re.search(
        r"fetch\(|XMLHttpRequest|import\(|innerHTML|insertAdjacentHTML|eval\(", page.inside["script"][0]
    )


def test_links_of_the_page_lead_somewhere(page: Page) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {str(a["href"])[1:] for a in page.of("a")} <= set(ids)


def test_every_front_point_has_a_section_and_every_point_a_row(page: Page) -> None:
    listed = evaluations(60)
    front = {e.point.key() for e in pareto_front(listed, OBJECTIVES)}
    assert {str(a["id"]) for a in page.of("details", **{"class": "point"})} == {
        f"point-{key}" for key in front
    }
    assert {str(a["id"]) for a in page.of("tr") if "id" in a} == {f"row-{e.point.key()}" for e in listed}
    text = "".join(page.text)
    for key in front:
        assert facts(listed).rebuild[key] in text


def test_section_holds_the_figures_of_its_layers(tmp_path: Path) -> None:
    (layer, *_) = (point := evaluation(0, LAYERS)).layers
    section = written(tmp_path, [point])
    cells = section.of("td", **{"class": "g"})
    assert cells[0]["title"] == "mac 11,904, requantize 2,458"
    assert sum(p.count * p.nand2_equivalents for p in layer.parts) == 14362
    text = " ".join("".join(section.text).split())
    assert "98.33% accuracy: 354 of 360 test images, 95% Wilson interval 96.41 to 99.23%" in text
    assert "circuits of this design are proved equivalent" in text and "Not proved" not in text


def test_section_explains_one_bit_weights_and_safe_accumulators(tmp_path: Path) -> None:
    listed = evaluations(20)
    front = pareto_front(listed, OBJECTIVES)
    page = written(tmp_path, listed)
    text = " ".join("".join(page.text).split())
    weighted = sum(kind in ("convolution", "linear") for _, kind, *_ in LAYERS)
    assert text.count("One bit less or more") == text.count("Weights and the levels") == len(front)
    less = "-120-8 · -64".replace("-", "\N{MINUS SIGN}")
    assert text.count("+120+8 · +64") == text.count(less) / 2 == weighted * len(front)
    shapes = {a["id"] for a in page.of("g") if str(a.get("id", "")).startswith("shape-")}
    uses = [str(a["href"])[1:] for a in page.of("use")]
    assert len(uses) == weighted * len(front) and set(uses) == shapes
    safe = sum(
        LayerBits.parse(bits, signed=False).accumulator.bits >= 17 for e in front for _, bits in e.point.bits
    )
    assert text.count("17 ✓") == safe > 0


def test_beliefs_of_a_search_are_shown_beside_what_was_measured(tmp_path: Path) -> None:
    listed = evaluations(20)
    loss = METRICS["accuracy_loss"].of
    predicted = {e.point.key(): loss(e) + (1 if e.index % 4 else -3) for e in listed}
    found = tuple(
        Sensitivity(name, part, form, 0.01 * (i + 1), 0.04, i)
        for i, name in enumerate(("stem", "<b>conv2"))
        for part, form in (("weights", "int3"), ("input", "uint4"))
    )
    beliefs = Beliefs("activations=kl", 64, found, predicted)
    path = write_report(tmp_path, listed, facts(listed), explanations(listed), beliefs)
    page = Page(path.read_text(encoding="utf-8"))
    text = " ".join("".join(page.text).split())
    assert "Over 20 designs they differ by 1.00 points in the median and 1.50 on average." in text
    assert text.index("<b>conv2weightsint30.1410.2001") < text.index("stemweightsint30.1000.2000")
    assert "What guided the search" not in "".join(written(tmp_path / "without", listed).text)


def test_roofline_puts_a_layer_below_the_roof_by_its_share_of_the_traffic() -> None:
    drawn = roofline(evaluation(3, LAYERS))
    assert drawn is not None
    (x, y), (right, top) = drawn.roof
    dots = sorted(drawn.dots, key=lambda dot: dot.share)
    below = [
        (dot.y - (y + (top - y) * (dot.x - x) / (right - x))) / math.log(100 / dot.share) for dot in dots
    ]
    assert max(below) == pytest.approx(min(below)) and below[0] > 0


def test_roofline_on_an_array_has_the_bus_and_the_peak_for_its_roof() -> None:
    """A layer that takes the cycles that its traffic or its products need, whichever are more, lies on the roof."""
    point, array = evaluation(3, LAYERS), ArrayFacts(4, 8, 250.0, 64)
    products, moved = (
        {layer.name: sizes(layer) for layer in point.layers if layer.macs}
        for sizes in (lambda o: o.macs / 32, lambda o: (o.weight_bytes + o.input_bytes + o.output_bytes) / 8)
    )
    ideal = {name: max(1, math.ceil(max(products[name], moved[name]))) for name in products}
    drawn = roofline(point, array, {**ideal, "stem": 8 * ideal["stem"]})
    assert drawn is not None and drawn.array is array and len(drawn.roof) == 3
    (_, low), corner, (right, peak) = drawn.roof
    assert corner[1] == pytest.approx(peak) and low > peak and right > corner[0]

    def roof(x: float) -> float:
        (left, bottom), (turn, top), _ = drawn.roof
        return top if x >= turn else bottom + (top - bottom) * (x - left) / (turn - left)

    below = {dot.layer: dot.y - roof(dot.x) for dot in drawn.dots}
    assert max(below, key=lambda name: below[name]) == "stem"
    assert all(-1e-9 < gap < 3 for name, gap in below.items() if name != "stem")
    whole = sum(ideal.values()) + 7 * ideal["stem"]
    shares = {dot.layer: dot.share for dot in drawn.dots}
    assert shares["stem"] == pytest.approx(100 * 8 * ideal["stem"] / whole)


def test_names_beside_the_dots_of_a_roofline_lie_on_nothing() -> None:
    for index in range(8):
        drawn = roofline(evaluation(index, LAYERS))
        assert drawn is not None and len(drawn.named) >= 2
        boxes = [dot.box for dot in drawn.named]
        for (left, top, right, bottom), (l2, t2, r2, b2) in itertools.combinations(boxes, 2):
            assert r2 < left or l2 > right or b2 < top or t2 > bottom
        for dot, (left, top, right, bottom) in itertools.product(drawn.dots, boxes):
            assert not (left < dot.x < right and top < dot.y < bottom)


def test_section_shows_energy_and_array_by_layer_where_they_were_measured(tmp_path: Path) -> None:
    point = evaluation(3, LAYERS)
    layers = tuple(
        dataclasses.replace(layer, energy_pj={"switching": 1000.0, "DRAM": 3000.0, "inner buffer": 500.0})
        for layer in point.layers
    )
    point = dataclasses.replace(point, layers=layers)
    known = explanations([point])[point.point.key()]
    weighted = [layer for layer in layers if layer.macs]
    explained = dataclasses.replace(known, array_cycles={layer.name: 2 * layer.macs for layer in weighted})
    study = dataclasses.replace(facts([point]), array=ArrayFacts(1, 2, 100.0, 64))
    path = write_report(tmp_path, [point], study, {point.point.key(): explained})
    text = " ".join("".join(Page(path.read_text(encoding="utf-8")).text).split())
    assert f"Energyswitching {len(layers)} nJ 22%DRAM {3 * len(layers)} nJ 67%inner buffer" in text
    stem = layers[0]
    moved = stem.weight_bytes + stem.input_bytes + stem.output_bytes
    row = f"{number(stem.macs / moved)}{2 * stem.macs:,}25%{100 * moved / 8 / (2 * stem.macs):.0f}%4.50"
    assert row in text and f"Layers on the 1{TIMES}2 array at 100 MHz" in text
    plain = " ".join("".join(written(tmp_path / "plain", [evaluation(3, LAYERS)]).text).split())
    assert "Array used" not in plain and "nJ" not in plain and "There is no roof of arithmetic" in plain


def test_each_figure_names_its_largest_layer_and_part() -> None:
    point = evaluation(5, LAYERS)
    layers = tuple(
        dataclasses.replace(layer, energy_pj={"circuits": float(i), "dram": 30.0 if i == 2 else 1.0})
        for i, layer in enumerate(point.layers)
    )
    found = {d.figure: d for d in dominances(dataclasses.replace(point, layers=layers))}
    assert found["Energy"].layers[0] == ("pointwise", 32.0) and found["Energy"].parts[0] == ("dram", 37.0)
    assert found["Energy"].total == 28 + 37 and "Energy" not in {d.figure for d in dominances(point)}
    gates = {layer.name: sum(p.count * p.nand2_equivalents for p in layer.parts) for layer in layers}
    largest = max(gates, key=lambda name: gates[name])
    assert found["Gates"].layers[0][0] == largest
    assert found["Gates"].total == pytest.approx(METRICS["gates"].of(point))
    assert sum(size for _, size in found["Gates"].parts) == pytest.approx(found["Gates"].total)


@pytest.mark.parametrize("name", ["digits", "resnet20-cifar10"])
def test_the_parts_of_each_figure_sum_to_it(name: str) -> None:
    """Of an exploration's own points; the compressed file's frame, 9 bytes, is a part that belongs to no layer."""
    figures = {"Gates": "gates", "Compressed file": "file_bytes"}
    for found in read_results(Path(__file__).parents[1] / "reports" / name).evaluations[:5]:
        for dominance in dominances(found):
            assert sum(size for _, size in dominance.parts) == pytest.approx(dominance.total)
            if dominance.figure in figures:
                assert dominance.total == pytest.approx(METRICS[figures[dominance.figure]].of(found))
            if dominance.figure == "Compressed file":
                assert dict(dominance.parts)["frame"] == 9


def test_sizes_that_no_technology_gave_are_left_out(tmp_path: Path) -> None:
    def sizeless(layer: LayerResult) -> LayerResult:
        parts = (dataclasses.replace(p, area_um2=None, critical_path_ps=None) for p in layer.parts)
        return dataclasses.replace(layer, parts=tuple(parts))

    listed = [dataclasses.replace(e, layers=tuple(map(sizeless, e.layers))) for e in evaluations(3)]
    heads = {a["data-sort"] for a in written(tmp_path, listed).of("th") if "data-sort" in a}
    assert heads & METRICS.keys() == METRICS.keys() - {"area", "critical_path", "energy", *OF_AN_ARRAY}


def test_circuit_without_a_proof_is_named(tmp_path: Path) -> None:
    point = evaluation(0, LAYERS)
    part = dataclasses.replace(point.layers[0].parts[0], equivalent=False)
    layer = dataclasses.replace(point.layers[0], parts=(part, *point.layers[0].parts[1:]))
    section = written(tmp_path, [dataclasses.replace(point, layers=(layer, *point.layers[1:]))])
    text = " ".join("".join(section.text).split())
    assert f"Not proved equivalent: {part.circuit} in stem." in text and "All 0" not in text


def test_hostile_names_change_no_element_of_the_page(tmp_path: Path) -> None:
    """Beside names of the same lengths, since only those that have room are written into a drawing."""
    listed = evaluations(12)
    cycle, again = ((f"{name}{i}" for i, name in enumerate(itertools.cycle(HOSTILE))) for _ in range(2))
    plain = itertools.count()

    def harmless() -> str:
        return f"{next(plain)}".rjust(len(next(again)), "n")

    hostile = renamed(listed, lambda: next(cycle))
    benign = renamed(listed, harmless)
    attacked = written(tmp_path / "a", hostile, study_of(hostile, lambda: next(cycle), len(HOSTILE)))
    calm = written(tmp_path / "b", benign, study_of(benign, harmless, len(HOSTILE)))
    assert len(HOSTILE) >= 60
    assert [(tag, list(a)) for tag, a in attacked.elements] == [(tag, list(a)) for tag, a in calm.elements]
    assert (
        attacked.inside["script"] == calm.inside["script"]
        and attacked.inside["style"] == calm.inside["style"]
    )
    assert len(attacked.data["points"]) == len(listed)
    shown = "".join(attacked.text)
    for name in HOSTILE:
        assert visible(name) in shown


def test_files_hold_no_character_that_acts(tmp_path: Path) -> None:
    names = itertools.cycle(HOSTILE)
    hostile = renamed(evaluations(12), lambda: next(names))
    study = study_of(hostile, lambda: next(names), len(HOSTILE))
    write_report(tmp_path, hostile, study)
    for name in ("index.html", "evaluations.csv", "front.csv"):
        text = (tmp_path / name).read_text(encoding="utf-8").partition('<script type="application/json"')[0]
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", text)
    source = (tmp_path / "index.html").read_text(encoding="utf-8")
    data = source.partition('<script type="application/json" id="data">')[2].partition("</script>")[0]
    assert data.isascii() and not set("<>&") & set(data) and json.loads(data)


def test_data_that_could_end_its_element_is_escaped(tmp_path: Path) -> None:
    listed = [
        dataclasses.replace(e, point=dataclasses.replace(e.point, datapath=f"</script><!--&{e.index}\u2028"))
        for e in evaluations(2)
    ]
    source = write_report(tmp_path, listed, facts(listed)).read_text(encoding="utf-8")
    assert "\\u003c/script\\u003e\\u003c!--\\u0026" in source
    assert Page(source).data["datapaths"] == ["</script><!--&0\ufffd", "</script><!--&1\ufffd"]


def test_redrawing_gives_the_same_bytes_under_another_hash_seed(folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_report as t;"
        "listed = t.evaluations(60); t.write_report(Path(sys.argv[2]), listed, t.facts(listed), t.explanations(listed))"
    )
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    arguments = [sys.executable, "-c", script, str(Path(__file__).parent), str(tmp_path / "again")]
    subprocess.run(arguments, check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert [str(n) for n in names] == sorted(
        ["evaluations.csv", "front.csv", "index.html"]
        + [f"figures/front_{metric}.{kind}" for metric in OBJECTIVES[1:] for kind in ("pdf", "png", "svg")]
    )
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_csv_holds_every_metric_in_full_precision(folder: Path) -> None:
    lines = csv.DictReader(lines_of(folder / "evaluations.csv"), strict=True)
    for line, e in zip(lines, evaluations(60), strict=True):
        assert line["key"] == e.point.key() and line["quantizer"] == e.point.quantizer
        assert [line["bits"], line["label"]] == ["; ".join(map(" ".join, e.point.bits)), e.point.label()]
        for metric in known_metrics([e]).values():
            assert float(line[column(metric)]) == metric.of(e)
        assert (float(line["accuracy_low_percent"]), float(line["accuracy_high_percent"])) == e.interval


def test_front_csv_holds_the_points_that_none_dominates(folder: Path) -> None:
    costs = {e.point.key(): [METRICS[name].cost(e) for name in OBJECTIVES] for e in evaluations(60)}
    front = [
        key for key, cost in costs.items()
        if not any(o != cost and all(a <= b for a, b in zip(o, cost, strict=True)) for o in costs.values())
    ]  # fmt: skip
    kept, every = (
        csv.DictReader(lines_of(folder / name), strict=True) for name in ("front.csv", "evaluations.csv")
    )
    keys = [row["key"] for row in kept]
    assert {tuple(costs[key]) for key in keys} == {tuple(costs[key]) for key in front}
    assert len(keys) == len({tuple(costs[key]) for key in front})
    assert [row["key"] for row in every if row["front"] == "1"] == keys


def test_spreadsheet_computes_no_cell(tmp_path: Path) -> None:
    names = itertools.cycle(HOSTILE)
    hostile = renamed(evaluations(40), lambda: next(names))
    write_report(tmp_path, hostile, facts(hostile))
    parsed = list(csv.reader(lines_of(tmp_path / "evaluations.csv"), strict=True))
    assert len(parsed) == 41 and {len(line) for line in parsed} == {len(parsed[0])}
    for cell in itertools.chain.from_iterable(parsed):
        assert cell.lstrip()[:1] not in ("=", "+", "-", "@") or float(cell) <= 0


def test_curve_of_two_metrics_is_their_front() -> None:
    listed = evaluations(80)
    shown = rows(listed, OBJECTIVES)
    for x, y in itertools.combinations(known_metrics(listed), 2):
        expected = {e.index for e in pareto_front(listed, (x, y))}
        found = curve(shown, x, y)
        assert set(found) == expected == set(curve(shown, y, x))
        assert [shown[i].values[x] for i in found] == sorted(shown[i].values[x] for i in found)


def drawn(*points: tuple[float, float]) -> list[Row]:
    e = evaluation(0, LAYERS)
    return [
        Row(e, f"P{i}", str(i), {"gates": x, "accuracy_loss": y, "compression_ratio": -x}, True)
        for i, (x, y) in enumerate(points)
    ]


def test_knee_lies_farthest_below_the_chord() -> None:
    bent = drawn((0, 10), (100, 9), (200, 2), (900, 1), (1000, 0))
    assert knee(bent, "gates", "accuracy_loss") == knee(bent, "accuracy_loss", "gates") == 2
    assert knee(drawn((0, 10), (500, 5), (1000, 0)), "gates", "accuracy_loss") is None
    assert knee(drawn((0, 10), (900, 9), (1000, 0)), "gates", "accuracy_loss") is None
    assert knee(drawn((0, 10), (1000, 0)), "gates", "accuracy_loss") is None


def test_every_beaten_point_names_a_point_of_the_front_that_beats_it() -> None:
    shown = {row.name: row for row in rows(evaluations(60), OBJECTIVES)}
    for row in shown.values():
        assert row.on_front == (row.beaten_by == "")
        if row.beaten_by:
            winner = shown[row.beaten_by]
            assert winner.on_front and all(winner.cost(name) <= row.cost(name) for name in OBJECTIVES)


def test_choices_are_the_cheapest_within_each_accepted_loss() -> None:
    shown = rows(evaluations(60), OBJECTIVES)
    assert choices(shown, OBJECTIVES)
    for choice in choices(shown, OBJECTIVES):
        cheaper = [r for r in shown if r.values["gates"] < choice.row.values["gates"]]
        assert choice.row.values["accuracy_loss"] <= choice.accepted
        assert all(r.values["accuracy_loss"] > choice.accepted for r in cheaper)
    assert {bits for _, bits in reference(shown).evaluation.point.bits} == {"int8*uint8/int32"}


def test_points_of_equal_cost_appear_once_on_the_front(tmp_path: Path) -> None:
    first = evaluation(0, LAYERS)
    second = dataclasses.replace(first, index=1, point=dataclasses.replace(first.point, quantizer="another"))
    both = rows([first, second], OBJECTIVES)
    assert [(row.on_front, row.beaten_by) for row in both] == [(True, ""), (False, "P0")]
    assert len(written(tmp_path, [first, second]).of("details", **{"class": "point"})) == 1


@pytest.mark.parametrize("losses", [(10.0, 20.0), (10.0, 10.0), (20.0, 30.0), (0.0, 10.0)])
def test_figure_of_losses_at_and_beyond_the_close_up_has_an_axis(losses: tuple[float, float]) -> None:
    listed = drawn(*zip((100, 200), losses, strict=True))
    assert [name for name, _ in drawings(listed, ("accuracy_loss", "gates"), "")][-1] == "front_gates.png"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_evaluations_give_a_whole_report(tmp_path: Path, count: int) -> None:
    small = written(tmp_path, evaluations(count))
    assert len([a for a in small.of("tr") if "id" in a]) == count
    assert len((tmp_path / "evaluations.csv").read_text().splitlines()) == count + 1
    assert (tmp_path / "figures" / "front_gates.png").read_bytes().startswith(b"\x89PNG")


def test_one_objective_is_enough(tmp_path: Path) -> None:
    listed = evaluations(5)
    assert written(tmp_path, listed, dataclasses.replace(facts(listed), objectives=("gates",))).data[
        "objectives"
    ] == [1]


def test_500_points_of_22_layers_stay_below_6_megabytes(tmp_path: Path) -> None:
    deep = tuple((f"block{i}.{name}", *rest) for i in range(3) for name, *rest in LAYERS)[:22]
    listed = evaluations(500, deep)  # type: ignore[arg-type]
    assert write_report(tmp_path, listed, facts(listed), explanations(listed)).stat().st_size < 6_000_000


def test_a_page_with_no_room_for_all_designs_keeps_the_named_ones_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = evaluations(200)
    whole = written(tmp_path / "whole", listed)
    room = (tmp_path / "whole" / "index.html").stat().st_size // 2
    module = importlib.import_module("hwsim.report.page")
    monkeypatch.setattr(module, "MOST_BYTES", room)
    monkeypatch.setattr(module, "MOST_ROWS", 150)
    small = written(tmp_path / "small", listed)
    assert room * 0.8 < (tmp_path / "small" / "index.html").stat().st_size <= room
    shown, front = (
        len(small.of("details", **{"class": "point"})),
        len(whole.of("details", **{"class": "point"})),
    )
    assert 0 < shown < front
    text = (tmp_path / "small" / "index.html").read_text()
    assert f"{shown} of the {front} designs of the front have a section" in text
    assert "show 150 of the 200 designs" in text and len([a for a in small.of("tr") if "id" in a]) == 150
    assert '<p class="lede">200 designs' in text
    ids = {a["id"] for tag in ("tr", "details") for a in small.of(tag) if "id" in a}
    links = {a["href"][1:] for a in small.of("a") if a["href"].startswith(("#row-", "#point-"))}
    assert links <= ids
    for choice in choices(rows(listed, OBJECTIVES), OBJECTIVES):
        assert f"point-{choice.row.key}" in ids
    same = ("evaluations.csv", "front.csv")
    assert all((tmp_path / "small" / n).read_bytes() == (tmp_path / "whole" / n).read_bytes() for n in same)


def test_terminal_table_shows_the_front_and_names_do_not_act() -> None:
    names = itertools.cycle(HOSTILE)
    hostile = renamed(evaluations(30), lambda: next(names))
    buffer = io.StringIO()
    rich.console.Console(file=buffer, width=400, force_terminal=True, color_system="truecolor").print(
        terminal_table(hostile, OBJECTIVES)
    )
    said = re.sub("\x1b\\[[0-9;]*m", "", buffer.getvalue())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)
    front = pareto_front(hostile, OBJECTIVES)
    assert f"{len(front)} of 30" in said
    for e in front:
        assert re.search(rf"P{e.index} .*{e.correct / e.images:.0f}?", said)
        assert short_bits(e.point).replace(" · ", "  ") in said
    marked = [
        dataclasses.replace(e, point=dataclasses.replace(e.point, datapath=f"[red]x{e.index}"))
        for e in evaluations(2)
    ]
    rich.console.Console(file=(plain := io.StringIO()), width=400).print(
        terminal_table(marked, ("accuracy_loss", "bandwidth"))
    )
    assert "[red]x1" in plain.getvalue()


def test_words_for_bits_and_numbers() -> None:
    assert runs(["8", "4", "4", "3"]) == f"8 4{TIMES}2 3"
    bits = (("a", "int8*uint8/int32"), ("b", "pow2x4*int4/int16/saturate"))
    assert short_bits(DesignPoint(bits, "", "")) == "w 8 p4 · a 8 4s · acc 32 16sat"
    assert short_bits(DesignPoint((("a", "what"), ("b", "what")), "", "")) == f"what{TIMES}2"
    assert [number(v) for v in (0, 12, 999.4, 1000.4, 0.012345, -2.5, 1e-9, 99.96)] == [
        "0", "12", "999", "1,000", "0.0123", "-2.50", "1e-09", "100.0",
    ]  # fmt: skip
    assert visible("a\x1b\x9b\u202e\ud800é") == "a␛\ufffd\ufffd\ufffdé"
