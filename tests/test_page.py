"""The report's page in a real browser: it draws, follows pointer and keyboard, filters, explains, and runs no name."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwsim.explore.evaluation import METRICS, Evaluation, pareto_front
from hwsim.report import write_report
from hwsim.report.section import ENERGY, OTHER, PARTS, TRAFFIC
from hwsim.report.tradeoffs import CLOSE_UP, knee, rows
from hwsim.report.wording import visible
from test_report import HOSTILE, LAYERS, OBJECTIVES, evaluations, explanations, facts, renamed, study_of

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def listed() -> list[Evaluation]:
    return evaluations(60)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, listed: list[Evaluation]) -> Path:
    return write_report(tmp_path_factory.mktemp("page"), listed, facts(listed), explanations(listed))


def shown(page: Any) -> list[str]:
    """The rows to be seen."""
    return page.eval_on_selector_all("#designs tbody tr:not([hidden])", "rows => rows.map(row => row.id)")


def mark(page: Any, name: str) -> tuple[float, float]:
    """Where a design's mark lies in the window, found by walking all marks with the keyboard."""
    page.focus("#plot")
    page.keyboard.press("Home")
    for _ in range(100):
        if page.inner_text("#inspector .who b") == name:
            box = page.locator("#plot .ring").bounding_box()
            return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.keyboard.press("Shift+ArrowRight")
    raise AssertionError(f"{name} is not drawn")


def test_every_design_and_both_ways_to_look_at_them_are_drawn(
    open_page: Open, report: Path, listed: Any
) -> None:
    page = open_page(report)
    inside = [e for e in listed if METRICS["accuracy_loss"].of(e) <= CLOSE_UP]
    assert page.locator("#plot .mark").count() == len(inside)
    assert page.inner_text("#beyond") == f"{len(listed) - len(inside)} designs lie beyond"
    page.uncheck("#close-up")
    assert page.locator("#plot .mark").count() == page.locator("#parallel .line:not(.lit)").count() == 60
    assert page.locator("#plot .mark.front").count() == len(pareto_front(listed, OBJECTIVES))
    assert page.locator(".multiple").count() == 6 and page.locator("canvas").count() == 0
    bend = knee(rows(listed, OBJECTIVES), "gates", "accuracy_loss")
    assert page.inner_text("#inspector .who b") == f"P{bend}" and "Das 1999" in page.inner_text("#legend")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and not page.said


def test_the_words_under_a_table_have_the_colours_of_its_bars(open_page: Open, report: Path) -> None:
    """Of circuits, traffic and energy alike; only what is nothing of these is grey."""
    page = open_page(report)
    colours = page.evaluate(
        """names => names.map(name => {
            document.body.insertAdjacentHTML("beforeend",
                `<p><i class="swatch ${name}"></i><svg class=bar><path class=${name} d=M0,0H9V9 /></svg></p>`);
            const [swatch, path] = document.body.lastElementChild.querySelectorAll("i, path");
            return [getComputedStyle(swatch).backgroundColor, getComputedStyle(path).fill];
        })""",
        [*PARTS, *TRAFFIC, *ENERGY, OTHER],
    )
    assert all(swatch == path for swatch, path in colours)
    grey = [
        name
        for name, (colour, _) in zip([*PARTS, *TRAFFIC, *ENERGY], colours, strict=False)
        if colour == colours[-1][0]
    ]
    assert grey == ["resolve", "input_sum", "clock"]


def test_a_study_of_two_objectives_has_one_plot_of_them(open_page: Open, tmp_path: Path, listed: Any) -> None:
    two = dataclasses.replace(facts(listed), objectives=("accuracy_loss", "gates"))
    page = open_page(write_report(tmp_path, listed, two, explanations(listed)))
    assert page.locator("#plot").is_visible() and not page.locator(".multiple").is_visible()


def test_the_hypervolume_s_figures_can_be_read_on_a_phone(open_page: Open, report: Path) -> None:
    page = open_page(report)
    page.set_viewport_size({"width": 390, "height": 844})
    chart = page.locator(".chart")
    assert chart.locator("text", has_text="evaluations").count() == 1
    assert min(text.bounding_box()["height"] for text in chart.locator("text").all()) >= 9
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_phone_shows_what_dominates_in_rows_of_two_lines(open_page: Open, report: Path) -> None:
    page = open_page(report)
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator(".point summary").first.click()
    rows = page.locator(".dominance tbody tr").all()
    heights = [box["height"] for row in rows if (box := row.bounding_box())]
    assert heights and max(heights) < 80


def test_coders_are_explained_where_designs_choose_them(open_page: Open, tmp_path: Path, listed: Any) -> None:
    chosen = [
        dataclasses.replace(e, point=dataclasses.replace(e.point, coders=("packed",) * len(e.point.bits)))
        for e in listed
    ]
    for name, listing in (("chosen", chosen), ("none", listed)):
        page = open_page(write_report(tmp_path / name, listing, facts(listing), explanations(listing)))
        told = "code is how each layer's weights are stored" in page.inner_text("body")
        assert told == (name == "chosen")


def test_pointing_at_a_mark_shows_its_whole_configuration(open_page: Open, report: Path, listed: Any) -> None:
    page = open_page(report)
    best = pareto_front(listed, OBJECTIVES)[0]
    x, y = mark(page, f"P{best.index}")
    page.mouse.move(5, 5)
    page.locator("#designs tbody tr").nth(20).dispatch_event("pointerenter")
    assert page.inner_text("#inspector .who b") == "P20"
    page.mouse.move(x, y)
    said = page.inner_text("#inspector")
    assert said.startswith(f"P{best.index}") and best.point.quantizer in said and best.point.datapath in said
    assert f"{METRICS['accuracy_loss'].of(best):.2f} points" in said
    assert page.locator("#inspector .columns .w").count() == len(best.point.bits)
    assert page.locator("#parallel .line.lit").get_attribute("d")
    assert page.get_attribute("#designs tr.lit", "id") == f"row-{best.point.key()}"
    page.mouse.click(x, y)
    section = page.wait_for_selector(f"#point-{best.point.key()}[open]")
    assert "What dominates" in section.inner_text() and not page.said


def test_a_brush_limits_plot_lines_and_table_alike(open_page: Open, report: Path, listed: Any) -> None:
    page = open_page(report)
    page.locator("#plot").scroll_into_view_if_needed()
    box = page.locator("#plot").bounding_box()
    left, top = box["x"] + 80, box["y"] + 40
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, top + 200, steps=4)
    page.mouse.up()
    kept = shown(page)
    assert 0 < len(kept) < len(listed)
    drawn = page.locator("#parallel .line:not(.lit):not(.out)").count()
    assert drawn == len(kept) and page.inner_text("#count").startswith(f"{len(kept)} of 60 designs kept")
    limits = [page.inner_text(".chip >> nth=0"), page.inner_text(".chip >> nth=1")]
    assert [text.split()[0] for text in limits] == ["Gates", "Accuracy"]
    page.focus("#plot")
    page.keyboard.press("Escape")
    assert len(shown(page)) == 60 and page.locator(".chip").count() == 0


def test_dragging_along_an_axis_keeps_what_passes_there(open_page: Open, report: Path, listed: Any) -> None:
    page = open_page(report)
    hold = page.locator('#parallel [data-metric="bandwidth"] .hold')
    hold.scroll_into_view_if_needed()
    box = hold.bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] - 30, steps=3)
    page.mouse.up()
    values = sorted(map(METRICS["bandwidth"].of, listed))
    middle = (values[0] + values[-1]) / 2
    expected = {f"row-{e.point.key()}" for e in listed if METRICS["bandwidth"].of(e) < middle - 1}
    assert set(shown(page)) >= expected and 0 < len(shown(page)) < 60
    page.mouse.click(box["x"] + 10, box["y"] + 20)
    assert len(shown(page)) == 60


@pytest.mark.parametrize("metric", ["gates", "accuracy", "compression_ratio"])
def test_a_limit_keeps_exactly_the_designs_within_it(
    open_page: Open, report: Path, listed: Any, metric: str
) -> None:
    page = open_page(report)
    bound = round(sorted(map(METRICS[metric].of, listed))[25])
    page.fill(f'[data-limit="{metric}"]', str(bound))
    limit = METRICS[metric]
    within = (lambda v: v <= bound) if limit.better == "lower" else (lambda v: v >= bound)
    expected = {f"row-{e.point.key()}" for e in listed if within(limit.of(e))}
    assert set(shown(page)) == expected and 0 < len(expected) < 60
    page.check("#front-only")
    front = {f"row-{e.point.key()}" for e in pareto_front(listed, OBJECTIVES)}
    assert set(shown(page)) == expected & front
    page.click("#clear")
    assert len(shown(page)) == 60


def test_words_find_designs_and_heads_sort_them(open_page: Open, report: Path, listed: Any) -> None:
    page = open_page(report)
    page.fill("#find", "shift_mac kl")
    found = {e for e in listed if e.point.datapath == "shift_mac" and "=kl " in e.point.quantizer}
    assert set(shown(page)) == {f"row-{e.point.key()}" for e in found} and found
    page.fill("#find", "")
    page.click("#designs th[data-sort=gates] button")
    ordered = sorted(listed, key=lambda e: (METRICS["gates"].of(e), e.index))
    assert shown(page) == [f"row-{e.point.key()}" for e in ordered]
    page.click("#designs th[data-sort=gates] button")
    assert page.get_attribute("#designs th[data-sort=gates]", "aria-sort") == "descending"


def test_the_keyboard_walks_along_the_front_and_opens_a_point(
    open_page: Open, report: Path, listed: Any
) -> None:
    page = open_page(report)
    page.uncheck("#close-up")
    page.focus("#plot")
    seen = []
    for key in ("Home", *("ArrowRight" for _ in range(80))):
        page.keyboard.press(key)
        seen.append(page.inner_text("#inspector .who b"))
    front = sorted(pareto_front(listed, OBJECTIVES), key=METRICS["gates"].of)
    assert list(dict.fromkeys(seen)) == [f"P{e.index}" for e in front]
    page.keyboard.press("Enter")
    assert page.locator("details.point[open]").get_attribute("id") == f"point-{front[-1].point.key()}"


def test_any_two_metrics_and_a_third_are_drawn(open_page: Open, report: Path) -> None:
    page = open_page(report)
    page.uncheck("#close-up")
    for side in ("x", "y", "third"):
        for option in page.eval_on_selector_all(f"#axis-{side} option", "all => all.map(o => o.value)"):
            page.select_option(f"#axis-{side}", option)
            assert page.locator("#plot .mark").count() == 60
    page.select_option("#axis-third", "1")
    page.select_option("#third-as", "size")
    sizes = page.eval_on_selector_all(
        "#plot .mark.front", "all => new Set(all.map(m => m.getAttribute('d'))).size"
    )
    assert sizes > 3
    page.click(".multiple >> nth=1")
    assert page.locator("#plot .axis-title >> nth=0").inner_html().startswith("Bandwidth (MB/s)")
    page.check("#intervals")
    page.check("#log-x")
    assert page.locator("#plot .whisker").count() and not page.said
    drawn = page.eval_on_selector_all("svg [d], svg [transform]", "all => all.map(e => e.outerHTML).join()")
    assert "NaN" not in drawn and "Infinity" not in drawn


@pytest.mark.parametrize("options", [{"color_scheme": "dark"}, {"java_script_enabled": False}])
def test_the_page_reads_in_the_dark_and_without_scripts(open_page: Open, report: Path, options: Any) -> None:
    page = open_page(report, **options)
    page.locator("details.point summary").first.click()
    assert page.locator("details.point[open] .layers tbody tr").count() == len(LAYERS)
    assert not page.said
    if "color_scheme" in options:
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, re.findall(r"\d+", background))) < 120
    else:
        assert page.locator("#controls").is_hidden() and page.locator("noscript p").is_visible()


def test_the_printed_page_holds_every_section(open_page: Open, report: Path, listed: Any) -> None:
    page = open_page(report)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert page.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_designs_are_drawn(open_page: Open, tmp_path: Path, count: int) -> None:
    page = open_page(write_report(tmp_path, evaluations(count), facts(evaluations(count))))
    assert page.locator("#plot .mark").count() == count and not page.said


def attacked(directory: Path) -> Path:
    """A report in which every name is hostile but the title, so that a changed title tells."""
    names = (f"{name}{i}" for i, name in enumerate(itertools.cycle(HOSTILE)))
    listed = renamed(evaluations(40), lambda: next(names))
    study = dataclasses.replace(study_of(listed, lambda: next(names), len(HOSTILE)), title="the title")
    return write_report(directory, listed, study, explanations(listed))


def use_everything(page: Any) -> None:
    page.eval_on_selector_all("details", "all => all.forEach(d => { d.open = true; })")
    for element in page.locator("#designs tbody tr").all()[:15]:
        element.dispatch_event("pointerenter")
    for selector in ("*[onmouseover]", "*[onfocus]", "svg[onload]"):
        for element in page.locator(selector).all()[:5]:
            element.dispatch_event("mouseover")
            element.dispatch_event("focus")
    page.wait_for_function("Array.from(document.images).every((image) => image.complete)")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_hostile_names_are_shown_and_run_no_script(open_page: Open, tmp_path: Path) -> None:
    page = open_page(attacked(tmp_path))
    use_everything(page)
    assert page.title() == "the title" and not page.said
    for select in ("datapath", "quantizer"):
        page.select_option("#axis-third", select)
    page.locator("#designs tbody tr").nth(0).dispatch_event("pointerenter")
    first = renamed(evaluations(1), (f"{n}{i}" for i, n in enumerate(HOSTILE)).__next__)[0]
    assert visible(first.point.datapath).split()[0] in page.inner_text("#inspector")
    assert page.locator("#inspector img, #inspector script, #legend img, #legend script").count() == 0


def unescaped(monkeypatch: pytest.MonkeyPatch) -> None:
    page_module = importlib.import_module("hwsim.report.page")
    environment = page_module._environment().overlay(autoescape=False)
    monkeypatch.setattr(page_module, "_environment", lambda: environment)
    monkeypatch.setattr("hwsim.inline._ESCAPES", {})


def test_the_policy_alone_stops_every_name(
    open_page: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unescaped(monkeypatch)
    path = attacked(tmp_path)
    source = path.read_text(encoding="utf-8")
    assert source.count("<script>document.title") > 5 and source.count("onerror=") > 20
    page = open_page(path)
    use_everything(page)
    assert page.title() == "the title"
    assert "dialog" not in page.said and not [said for said in page.said if said.startswith("http")]
    assert any("Content Security Policy" in said for said in page.said)
    open_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    path.write_text(open_policy, encoding="utf-8")
    unguarded = open_page(path)
    use_everything(unguarded)
    assert unguarded.title() == "pwned" or "dialog" in unguarded.said
