"""``hwsim sensitivity``: figures, the plot's bytes, and the additive model's error."""

import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

import tiny
from hwsim import cli
from hwsim.errors import HwsimError
from hwsim.explore.accuracy_model import accuracy_model, sensitivities
from hwsim.explore.evaluation import DesignPoint, Evaluation
from hwsim.explore.exploration import explore
from hwsim.explore.study import read_study
from hwsim.quantize.alone import Effect
from hwsim.report.sensitivity import sensitivity_drawings
from hwsim.results import write_results
from hwsim.steps.sensitivity import measure_sensitivity


@pytest.fixture(scope="module")
def folder(tmp_path_factory, working_in):
    """The tiny study, explored."""
    folder = tiny.write(tmp_path_factory.mktemp("tiny"))
    working_in(folder)
    write_results(explore(read_study(folder / "study.toml"), folder / "out"), folder / "out")
    return folder


def hwsim(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["hwsim", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, *capsys.readouterr()


def test_json_names_every_part_of_every_layer_and_the_models_error(folder, monkeypatch, capsys):
    status, out, _ = hwsim(monkeypatch, capsys, "sensitivity", "study.toml", "--explored", "out", "--json")
    assert status == 0
    found = json.loads(out)
    parts = {
        "conv": ["weights int4", "weights int3", "input int4"],
        "out": ["weights int4", "weights int3", "input uint4"],
    }
    assert {name: sorted(of) for name, of in found["layers"].items()} == {
        n: sorted(p) for n, p in parts.items()
    }
    for effects in found["layers"].values():
        assert effects["weights int3"]["divergence"] > effects["weights int4"]["divergence"] > 0
    assert found["images"] == 8
    assert found["error"]["designs"] == 10
    assert -1 <= found["error"]["rank_correlation"] <= 1 and found["error"]["rmse_points"] >= 0


def test_a_model_without_a_study_is_given_its_images_as_for_quantize(folder, monkeypatch, capsys):
    options = ["--calibration", "images.npz", "--images", "8"]
    status, out, _ = hwsim(monkeypatch, capsys, "sensitivity", "net.py:net", *options, "--json")
    assert status == 0
    found = json.loads(out)
    studied = json.loads(hwsim(monkeypatch, capsys, "sensitivity", "study.toml", "--json")[1])
    assert found["title"] == "net.py:net" and found["images"] == 8
    same = ("weights int4", "weights int3", "input int4", "input uint4")
    for name, effects in found["layers"].items():
        for text in set(same).intersection(effects, studied["layers"][name]):
            assert effects[text] == studied["layers"][name][text]
    for arguments, sentence in (
        (["net.py:net"], 'model "tiny" names no data set; give one to calibrate on: --calibration file.npz'),
        (["study.toml", *options], "a study names its images and its model's preprocessing itself; "),
        (["net.py:net", *options, "--div", "2"], '"net.py:net" knows its own preprocessing; leave out div'),
    ):
        status, out, err = hwsim(monkeypatch, capsys, "sensitivity", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1) and err.startswith(f"hwsim: {sentence}")


def test_a_table_and_a_plot_are_written_with_the_same_bytes_each_time(folder, monkeypatch, capsys):
    written = []
    for name in ("first", "second"):
        status, out, _ = hwsim(monkeypatch, capsys, "sensitivity", "study.toml", "-o", name)
        assert status == 0
        paths = [f"{name}/sensitivity.{kind}" for kind in ("svg", "pdf", "json")]
        assert "weights int3" in out and "wrote {}, {} and {}\n".format(*paths) in out
        written.append([(folder / path).read_bytes() for path in paths])
    assert written[0] == written[1]
    drawn, printed, table = written[0]
    assert drawn.startswith(b"<?xml") and printed.startswith(b"%PDF-") and b"CreationDate" not in printed
    assert json.loads(table)["title"] == "Tiny"


@pytest.mark.parametrize(
    "name", ["$x^{", "</text><script>alert(1)</script>", "\\frac{", "\x00\x1b[31m", "日本", ""]
)
def test_a_hostile_name_is_drawn_as_text(name):
    layers = {name: {"weights int4": Effect(0.1, 0.2, 1, 0.0), "input int4": Effect(0.0, 0.0, 0, 0.0)}}
    drawing = sensitivity_drawings(layers, name)["svg"]
    assert not [element for element in ET.fromstring(drawing).iter() if element.tag.endswith("script")]
    assert drawing == sensitivity_drawings(layers, name)["svg"]


def test_an_exploration_of_another_study_is_refused(folder):
    study = read_study(folder / "study.toml")
    other = study.model_copy(update={"space": study.space.model_copy(update={"weights": ("int5",)})})
    with pytest.raises(HwsimError, match="is none of the study's; give the study that it was found by"):
        measure_sensitivity(other, explored=folder / "out")


def test_a_model_of_designs_that_follow_it_has_no_error(folder):
    """Accuracies made by the model itself, up to whole images."""
    from hwsim.explore.bench import open_bench
    from hwsim.explore.space import search_space

    study = read_study(folder / "study.toml")
    bench = open_bench(study)
    space = search_space(study, bench.network)
    model = accuracy_model(bench, space.layers, sensitivities(replace(space, bench=bench)))
    points = [DesignPoint(tuple(zip(("conv", "out"), (a, b), strict=True)), "mac", q)
              for a in space.layers[0][1] for b in space.layers[1][1] for q in space.quantizers]  # fmt: skip

    def evaluation(point, correct):
        return Evaluation(0, point, correct, len(bench.test), bench.float_correct, 1, 1, 1.0, ())

    rows = model.rows([evaluation(point, 0) for point in points])
    sums = rows @ model.believed([]).mean
    right = np.rint(model.scale.correct(sums)).astype(int)
    error = model.error(
        [evaluation(point, int(correct)) for point, correct in zip(points, right, strict=True)]
    )
    assert error.rmse_points < 100 * 0.5 / len(bench.test)
    assert error.rank_correlation > 0.9
    assert model.error([]) is None
