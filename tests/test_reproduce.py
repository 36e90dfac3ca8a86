"""Published tables: complete, measured as the commands measure, and paired intervals that are right."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

import hwsim
from hwsim.bits import read_bits
from hwsim.cost.entropy import measure_entropies
from hwsim.cost.sparse import decode, encode
from hwsim.data import load_split
from hwsim.errors import HwsimError
from hwsim.quantize.prune import sparsity_of
from hwsim.quantize.settings import Settings
from hwsim.reproduce import PAPERS, reproduce
from hwsim.reproduce.coding import BUDGETS
from hwsim.reproduce.fake import FakeQuantized
from hwsim.reproduce.measure import Measured, gain, measure
from hwsim.reproduce.table import Claim, Row, Setup, Table
from hwsim.reproduce.write import figure
from hwsim.simulate.inference import run


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS.keys())
def test_a_paper_names_its_setups_once_and_its_claims_name_them(paper):
    names = [setup.name for setup in paper.setups]
    assert len(set(names)) == len(names)
    layers = {"first": True, "second": False}
    for setup in paper.setups:
        Settings.parse(setup.quantizer)
        if setup.bits:
            read_bits(setup.bits, layers)
        assert set(setup.published) <= set(paper.float_accuracy)
    for claim in paper.claims:
        assert {claim.better, claim.worse} <= set(names)


def test_mean_gains_of_the_published_table_are_those_of_the_paper():
    """Banner et al., section 5: 3.2, 2.85, 6.0 and 6.3 points on average."""
    published = {setup.name: setup.published for setup in PAPERS["aciq"].setups if setup.published}
    gains = {
        ("8/4 ACIQ", "8/4 min-max"): 3.2,
        ("8/4 allocation", "8/4 min-max"): 2.85,
        ("4/8 bias correction", "4/8 min-max"): 6.0,
        ("4/8 allocation", "4/8 min-max"): 6.3,
    }
    for (better, worse), points in gains.items():
        mean = np.mean([published[better][n] - published[worse][n] for n in published[better]])
        assert mean == pytest.approx(points, abs=0.1)


def test_a_table_is_written_from_the_commands_own_measurements(tmp_path, monkeypatch):
    whole = PAPERS["bag-of-tricks"]
    claims = tuple(claim for claim in whole.claims if claim.worse == "6/8 INT16, wraps")
    few = replace(whole, setups=tuple(s for s in whole.setups if s.name.startswith("6/8 INT")), claims=claims)
    monkeypatch.setitem(PAPERS, "bag-of-tricks", few)
    readme = reproduce("bag-of-tricks", tmp_path / "out", networks=["digits"], images=60)
    with (tmp_path / "out" / "rows.csv").open() as file:
        rows = {
            (row["group"], row["method"]): row for row in csv.DictReader(file) if row["network"] == "digits"
        }
    assert list(rows) == [(setup.group, setup.method) for setup in few.setups]
    setup = next(s for s in few.setups if s.name == "6/8 INT16, wraps")
    network = hwsim.quantize_model("digits", setup.bits, quantizer=setup.quantizer)
    result = hwsim.simulate_network(network, images=60, verify=0)
    row = rows["6/8", "INT16, wraps"]
    assert float(row["top1"]) == round(result.accuracy.percent, 2)
    assert int(row["overflowed_sums"]) == sum(o.overflowed for o in result.accuracy.overflows)
    text = readme.read_text()
    for claim in few.claims:
        assert f"| {claim.text} |" in text
    assert "digits: 60 images" in text
    assert (tmp_path / "out" / "figure.svg").read_text().startswith("<?xml")
    assert (tmp_path / "out" / "figure.pdf").read_bytes().startswith(b"%PDF-")
    again = reproduce("bag-of-tricks", tmp_path / "again", networks=["digits"], images=60)
    for name in ("rows.csv", "claims.csv", "figure.svg", "figure.pdf", "accumulators.csv"):
        assert (again.parent / name).read_bytes() == (readme.parent / name).read_bytes()


@pytest.mark.parametrize("name", PAPERS)
def test_a_checked_in_figure_is_drawn_again_from_the_checked_in_rows(name):
    """A share in hundredths of a percent is one count of at most 9,886 images."""
    paper, folder = PAPERS[name], Path(__file__).parents[1] / "reports" / f"reproduce-{name}"

    def counted(percent, images):
        return Measured(np.arange(int(images)) < round(float(percent) * int(images) / 100), 0.0)

    with (folder / "rows.csv").open() as file:
        listed = [row for row in csv.DictReader(file) if row["images"]]
    stated = re.findall(r"([\w-]+): (\d+) images, ([\d.]+)% in float", (folder / "README.md").read_text())
    setups = {setup.name: setup for setup in paper.setups}
    rows = tuple(
        Row(setups[f"{r['group']} {r['method']}"], r["network"], counted(r["top1"], r["images"]))
        for r in listed
    )
    table = Table(paper, rows, {network: counted(percent, images) for network, images, percent in stated})
    for kind, content in figure(table).items():
        assert content == (folder / f"figure.{kind}").read_bytes()


def test_codes_of_variable_length_stand_beside_the_circuits_integers(tmp_path, monkeypatch):
    whole = PAPERS["aciq"]
    named = [s for s in whole.setups if s.name in ("8/8 min-max", "4/4 all three")]
    monkeypatch.setitem(PAPERS, "aciq", replace(whole, setups=tuple(named), claims=()))
    readme = reproduce("aciq", tmp_path, networks=["digits"], images=50)
    with (tmp_path / "codes.csv").open() as file:
        rows = list(csv.DictReader(file))
    levels = {row["levels"]: row for row in rows}
    assert {row["network"] for row in rows} == {"digits"} and len(rows) == len(BUDGETS) + 2
    for setup in named:
        network = hwsim.quantize_model("digits", setup.bits, quantizer=setup.quantizer)
        found = measure_entropies(network, load_split("digits", "test").images[:50])
        row = levels[f"circuits, {setup.name}"]
        assert float(row["activation_entropy"]) == pytest.approx(found.mean_activation, abs=1e-4)
        assert float(row["weight_entropy"]) == pytest.approx(found.mean_weight, abs=1e-4)
    text = readme.read_text()
    assert "## Variable-length codes" in text and "| ResNet-18 (paper) | mid-tread | 5.4 | 3.7 |" in text
    own = [row for row in rows if row["levels"] == "mid-tread"]
    lossy = [place for place, row in enumerate(own) if row["worse_than_8_bits"] == "True"]
    first = own[max(lossy, default=-1) + 1]
    assert f"On digits {float(first['bits']):g} bits a value are the fewest" in text
    gap = float(first["activation_entropy"]) - 3.7
    assert f"{gap:+.2f} against the paper's 3.7 of ResNet-18 at 5.4" in text


def test_pruned_networks_are_trained_quantized_and_their_files_measured(tmp_path, monkeypatch):
    whole = PAPERS["focused"]
    setups = [s for s in whole.setups if s.name.endswith(("float", "focused 5 bits", "k-means 4 bits"))]
    few = replace(whole, setups=tuple(s for s in setups if s.group == "50%"), claims=())
    monkeypatch.setitem(PAPERS, "focused", few)
    folder = reproduce("focused", tmp_path, networks=["digits"], images=60).parent
    with (folder / "trainings.csv").open() as file:
        trainings = {row["setup"]: row for row in csv.DictReader(file)}
    assert {setup.name for setup in few.setups} == set(trainings)
    assert {(row["stage"], row["epochs"]) for row in trainings.values()} == {("fine-tuned", "2")}
    with (folder / "sizes.csv").open() as file:
        sizes = {row["method"]: row for row in csv.DictReader(file)}
    tuned = hwsim.fine_tune_model("digits", sparsity=0.5, float_epochs=2, epochs=0).stages[-2].network
    assert sparsity_of(tuned) == pytest.approx(0.5, abs=0.001)
    coded = encode(tuned, "focused", 5)
    assert int(sizes["focused 5 bits"]["file_bytes"]) == len(coded.data)
    again = decode(coded.data, tuned)
    for name, array in coded.network.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], array, strict=True)
    with (folder / "rows.csv").open() as file:
        rows = {row["method"]: row for row in csv.DictReader(file) if row["network"] == "digits"}
    assert list(rows) == ["pruned, float", "focused 5 bits", "k-means 4 bits"]
    assert rows["pruned, float"]["fake_quantized_top1"] == ""


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "bias_correction=mean allocation=paper",
        "weights=mse activation_granularity=channel activation_allocation=exact",
        "placement=half",
    ],
)
def test_fake_quantization_agrees_with_wide_accumulators_but_for_ties(settings):
    network = hwsim.quantize_model("digits", "w6a8/int32", quantizer=settings)
    images = load_split("digits", "test").images[:50]
    integers = run(network, images) * network.layers[-1].scale
    fake = FakeQuantized(network).logits(images)
    np.testing.assert_allclose(fake, integers, atol=0.02 * np.abs(integers).max())
    assert np.abs(fake - integers).mean() < 0.002 * np.abs(integers).max()


def test_digits_fake_quantized_differ_from_the_circuits_at_no_image_but_ties():
    network = hwsim.quantize_model("digits", "w4a4/int32")
    measured = measure(network, load_split("digits", "test").part(slice(300)))
    assert measured.differing <= 2
    assert abs(measured.percent - 100 * measured.fake.mean()) <= 100 * 2 / 300


def test_what_was_measured_is_recalled_whole():
    network = hwsim.quantize_model("digits", "w6a8/int16")
    test = load_split("digits", "test").part(slice(50))
    first, second = measure(network, test), measure(network, test)
    np.testing.assert_array_equal(first.correct, second.correct, strict=True)
    np.testing.assert_array_equal(first.fake, second.fake, strict=True)
    for field in ("seconds", "differing", "sums", "overflowed"):
        assert getattr(first, field) == getattr(second, field)


def test_a_paired_gain_is_the_difference_and_its_interval_covers_it():
    rng = np.random.default_rng(0)
    inside, n, rates = 0, 400, (0.9, 0.85)
    for _ in range(500):
        draws = rng.random(n)
        better, worse = (Measured(draws + 0.1 * rng.random(n) < rate + 0.05, 0.0) for rate in rates)
        found = gain(better, worse)
        assert found.points == pytest.approx(better.percent - worse.percent)
        inside += found.low <= 100 * (rates[0] - rates[1]) <= found.high
    assert binomtest(inside, 500, 0.95).pvalue > 1e-3


def test_the_share_won_back_is_that_of_the_loss_and_only_of_a_loss():
    def right(percent):
        return Measured(np.arange(1000) < 10 * percent, 0.0)

    setups = [Setup("4/4", method, "w4a4/int32", "") for method in ("bad", "good", "best")]
    claims = (Claim("good", "4/4 good", "4/4 bad"), Claim("best", "4/4 best", "4/4 good"))
    paper = replace(PAPERS["aciq"], setups=tuple(setups), claims=claims)
    rows = [Row(setup, "net", right(p)) for setup, p in zip(setups, (82.0, 89.6, 90.2), strict=True)]
    table = Table(paper, tuple(rows), {"net": right(90.0)})
    assert table.recovered(claims[0], "net") == pytest.approx(0.95)
    assert table.recovered(claims[1], "net") is None


def test_verdicts_follow_the_interval():
    right, wrong = np.ones(100, bool), np.zeros(100, bool)
    some = right.copy()
    some[:1] = False
    assert gain(Measured(right, 0.0), Measured(wrong, 0.0)).verdict == "confirmed"
    assert gain(Measured(wrong, 0.0), Measured(right, 0.0)).verdict == "refuted"
    assert gain(Measured(right, 0.0), Measured(some, 0.0)).verdict == "undecided"
    with pytest.raises(HwsimError, match="cannot be compared in pairs"):
        gain(Measured(right, 0.0), Measured(right[1:], 0.0))


def test_a_paper_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(HwsimError, match='unknown paper "aciqq"; known: aciq'):
        reproduce("aciqq", tmp_path)
    with pytest.raises(HwsimError, match='unknown model "nothing"'):
        reproduce("aciq", tmp_path, networks=["nothing"])
