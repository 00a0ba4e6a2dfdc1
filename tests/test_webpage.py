"""The page: what it says without a program, and what its program does in a real browser."""

from __future__ import annotations

import copy
import html.parser
import importlib.resources
import itertools
import json
import math
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxtrends import (
    curves,
    differences,
    forest_plot,
    inline_svg,
    plotting,
    record,
    report,
    stats,
    webpage,
)
from jaxtrends.claims import control_of
from jaxtrends.formats import format_interval
from scripts import webpage as webpage_script
from tests.example_record import example, write_example

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \"'</script><!-- &amp; {{ 7 * 7 }}"

# --- records with curves, runs that diverged, and markup in every field --------------------------


def lively(preset="default", *, seeds=range(10), shift=0.0, digest="d" * 64, diverged=()):
    """A record of a training study with curves, and the curves."""
    made = example(preset)
    random = np.random.default_rng(1)
    steps = np.arange(1, 51)
    arms, arrays = {}, {}
    for number, method in enumerate(("backprop", "forward", "clipped")):
        rates = np.array([0.04 * np.exp(0.1 * random.normal()) for _ in seeds])[:, None]
        lanes = 2.3 * np.exp(-rates * steps) + shift + 0.1 * number
        if method == "clipped":
            lanes[list(diverged), 20:] = np.inf
        arrays[f"training/mlp/tuned/{method}/validation_loss"] = lanes.astype(np.float32)
        arrays[f"training/mlp/tuned/{method}/training_loss"] = (0.9 * lanes).astype(np.float32)
        arms[method] = {"final_loss": lanes[:, -1]}
    made["results"]["studies"]["training"]["values"] = record.plain(
        {"tasks": {"mlp": {"seeds": list(seeds), "log_every": 20, "tuned": arms}}}
    )
    made["measurements"]["studies"]["training"]["values"] = {
        "step_seconds": {"mlp": {"backprop": [0.01, 0.02, 0.03], "forward": [0.03]}}
    }
    made["results"]["data"]["mnist_5k"]["digest"] = digest
    made["results"]["config"]["seeds"] = len(seeds)
    return made, arrays


def source(made, arrays=None, *, drawn=None, published=True, place="", stale=()):
    return webpage.Source(made, arrays or {}, drawn or {}, published, place or "a/b", stale)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    for figure in (
        example()["results"]["studies"]["estimators"]["figures"]
        + example()["measurements"]["studies"]["cost"]["figures"]
    ):
        plotting.draw(figure, folder)
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")}


@pytest.fixture(scope="module")
def sources(drawn):
    first, first_curves = lively(diverged=(0, 1))
    second, second_curves = lively("full", shift=0.05, diverged=(0,))
    other, other_curves = lively("smoke", seeds=range(5, 13), digest="e" * 64)
    bare = example()
    for part in ("about", "scale", "rigging", "experiment"):
        bare[part] = HOSTILE
    bare["departures"] = [HOSTILE]
    bare["paper"]["title"] = bare["paper"]["authors"] = HOSTILE
    bare["provenance"]["command"] = HOSTILE
    bare["results"]["config"][HOSTILE] = HOSTILE
    bare["results"]["studies"]["training"]["figures"][0]["title"] = HOSTILE
    bare["results"]["studies"]["estimators"]["tables"][0]["columns"][0] = HOSTILE
    for entry in record.entries(bare):
        entry["claim"]["statement"] = entry["claim"]["reason"] = HOSTILE
    return [
        source(first, first_curves, drawn={"cost": drawn["cost"]}, stale=["cost"]),
        source(second, second_curves),
        source(other, other_curves, published=False, place="runs/mine"),
        source(bare, published=False, place=f"runs/{HOSTILE}"),
    ]


@pytest.fixture(scope="module")
def text(sources):
    return webpage.page(sources)


class Page(html.parser.HTMLParser):
    """Elements of a page: (tag, attributes), and the text in scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self._inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data


# --- curves --------------------------------------------------------------------------------------


@given(
    hnp.arrays(np.float64, (3, 7), elements=st.floats(-1e6, 1e6)),
    st.booleans(),
    st.integers(0, 20),
)
def test_a_curve_survives_its_encoding_up_to_half_a_level(rows, positive, lost):
    rows = np.abs(rows) + 1e-6 if positive else rows
    rows.flat[lost] = np.nan
    packed = curves.encode(rows)
    found = curves.decode(packed, 7)
    assert np.array_equal(np.isnan(found), np.isnan(rows))
    low, high = np.nanmin(rows), np.nanmax(rows)
    if low > 0:
        assert packed["log"]
        error = np.nanmax(np.abs(np.log(found / rows)))
        assert error <= 0.51 / curves.LEVELS * math.log(high / low) + 1e-12
    else:
        assert np.nanmax(np.abs(found - rows)) <= 0.51 / curves.LEVELS * (high - low) + 1e-9


def test_summaries_are_those_of_the_statistics():
    lanes = np.random.default_rng(0).lognormal(size=(10, 4))
    rows = dict(zip(curves.SUMMARIES, curves.summarise(lanes), strict=True))
    for point in range(4):
        expected = stats.mean({"values": lanes[:, point]}, 0.95)
        found = [rows[name][point] for name in ("mean", "mean low", "mean high")]
        np.testing.assert_allclose(found, [expected.estimate, expected.low, expected.high])
        assert rows["median"][point] == np.median(lanes[:, point])
        inside = (rows["low"][point] <= lanes[:, point]) & (lanes[:, point] <= rows["high"][point])
        assert inside.sum() >= 8
    lanes[0, 2] = np.inf
    rows = dict(zip(curves.SUMMARIES, curves.summarise(lanes), strict=True))
    assert np.isnan(rows["mean"][2])
    assert np.isfinite(rows["median"]).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("training/mlp/tuned/forward/loss", ("training", "mlp/tuned", "forward", "loss")),
        ("training/mlp/forward/loss", ("training", "mlp", "forward", "loss")),
        ("functions/beale/forward", ("functions", "beale", "forward", "value")),
        ("cost/loss", ("cost", "", "loss", "value")),
        ("balance/off/validation_loss", ("balance", "", "off", "validation_loss")),
    ],
)
def test_what_a_curves_name_says(name, expected):
    assert curves.parse(name) == expected


def test_steps_seeds_and_seconds_are_read_from_the_record():
    made, arrays = lively(seeds=range(3, 13))
    packed = {(c["method"], c["metric"]): c for c in curves.pack(made, arrays, points=10, lanes=4)}
    assert len(packed) == 6
    one = packed["backprop", "validation_loss"]
    assert (one["steps"][0], one["steps"][-1], len(one["steps"])) == (20, 1000, 10)
    assert (one["seeds"], one["lanes"], one["seconds"]) == ([3, 4, 5, 6], 10, 0.02)
    assert curves.decode(one, 10).shape == (len(curves.SUMMARIES) + 4, 10)
    assert packed["clipped", "training_loss"]["seconds"] is None
    made["results"]["studies"]["training"]["values"] = {"ladder": {"4": {"steps": 100}}}
    found = curves.steps(made, curves.parse("training/width 4/tuned/forward/loss"), 50)
    assert (found[0], found[-1]) == (2, 100)
    assert curves.steps(made, curves.parse("training/else/forward/loss"), 50) is None
    made["results"]["studies"]["training"]["values"] = {"log_every": 20, "seeds": [7, 8]}
    alone = curves.parse("training/off/validation_loss")
    assert list(curves.steps(made, alone, 3)) == [20, 40, 60]
    assert curves.seeds(made, alone, 2) == [7, 8]


def test_the_committed_page_is_small():
    assert (record.ROOT / "results" / "index.html").stat().st_size < 3_000_000


def test_of_very_many_parts_the_least_favourable_are_drawn(monkeypatch):
    made = example()
    entry = next(e for e in record.entries(made) if len(e["verdict"]["parts"]) > 1)
    names = list(entry["verdict"]["parts"])
    for name in names:
        entry["verdict"]["parts"][name]["verdict"] = "reproduced"
    entry["verdict"]["parts"][names[-1]]["verdict"] = "not reproduced"
    monkeypatch.setattr(webpage, "MOST_PARTS", 1)
    _, rows, count = webpage._parts(entry)
    assert [row["label"] for row in rows] == [names[-1]]
    assert count == len(names)


def test_what_is_no_curve_is_left_out():
    shapes = {"a": (2, 1), "b": (2, 3, 4), "c": (3,), "d": (1, 3)}
    arrays = {f"cost/{name}": np.zeros(shape) for name, shape in shapes.items()}
    packed = curves.pack(example(), arrays, points=10, lanes=4)
    assert [curve["method"] for curve in packed] == ["d"]


# --- intervals drawn -----------------------------------------------------------------------------


def finding(low, estimate, high, scale="linear"):
    return {"low": low, "estimate": estimate, "high": high, "scale": scale}


finite = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


@given(finite, finite, finite, finite, st.booleans())
def test_an_interval_is_drawn_inside_the_region_just_where_it_is_inside(a, b, c, d, one_sided):
    low, high = sorted((a, b))
    begin, end = sorted((c, d))
    if end - begin < 1e-2:
        return
    region = ("-inf", end) if one_sided else (begin, end)
    axis = forest_plot.axis("mean", region, [finding(low, (low + high) / 2, high)])
    mark = axis.mark(finding(low, (low + high) / 2, high))
    assert mark.beyond == ""
    assert mark.low <= mark.at <= mark.high
    assert 0 <= axis.region[0] < axis.region[1] <= 100 + 1e-9
    if low > begin or one_sided:
        assert mark.low >= axis.region[0]
    if high < end:
        assert mark.high <= axis.region[1]
    if high > end:
        assert mark.high >= axis.region[1]


@given(finite, finite, finite)
def test_numbers_below_the_axis_keep_clear_of_each_other(a, b, c):
    low, high = sorted((a, b))
    axis = forest_plot.axis("mean", (c, "inf"), [finding(low, low, high)])
    places = sorted(x for x, _ in (*axis.thresholds, *axis.ticks))
    assert all(y - x >= forest_plot.APART - 0.02 for x, y in itertools.pairwise(places))


def test_ends_that_lie_beyond_are_pointed_at():
    axis = forest_plot.axis("paired ratio", ("-inf", 1.0), [finding("1.2", "inf", "inf", "log")])
    mark = axis.mark(finding("1.2", "inf", "inf"))
    assert (mark.at, mark.high, mark.beyond) == (None, None, "high")
    assert mark.low > axis.region[1]
    assert axis.mark(finding(1e9, 1e9, 1e9)).beyond == "high"
    assert axis.mark(finding(-1, -1, -1)).beyond == "low"


def test_a_bound_that_the_statistic_cannot_reach_is_no_bound():
    axis = forest_plot.axis("proportion", (-1.0, 0.05), [finding(0.0, 0.0, 0.02)])
    assert [text for _, text in axis.thresholds] == ["0.05"]
    assert axis.region[0] == 0.0
    assert forest_plot.axis("mean", (-1.0, 0.05), [finding(0.0, 0.0, 0.02)]).region[0] > 0


# --- drawings ------------------------------------------------------------------------------------


def test_drawings_share_definitions_and_lose_no_mark(drawn):
    sprite = inline_svg.Sprite()
    texts = [sprite.add(svg, "a label") for svg in drawn.values()]
    assert sum(map(len, texts)) + len(sprite.svg()) < 0.6 * sum(map(len, drawn.values()))
    whole = Page("".join(texts) + sprite.svg())
    ids = [attributes["id"] for _, attributes in whole.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {a["href"][1:] for tag, a in whole.elements if tag == "use"}
    used |= set(re.findall(r"url\(#(\w+)\)", "".join(texts)))
    assert used <= set(ids)
    for svg, text in zip(drawn.values(), texts, strict=True):
        assert text.count("<use") == svg.count("<use")
        assert "#000000" not in text


@pytest.mark.parametrize(
    "foreign",
    [
        "<script>alert(1)</script>",
        "<foreignObject/>",
        '<a href="#x"/>',
        '<path onclick="x()" d=""/>',
        '<image href="https://example.org/x.png"/>',
        '<use xlink:href="other.svg#x"/>',
    ],
)
def test_a_drawing_with_foreign_content_is_not_taken_over(drawn, foreign):
    svg = next(iter(drawn.values())).replace("</svg>", f"{foreign}</svg>")
    with pytest.raises(ValueError, match="foreign"):
        inline_svg.Sprite().add(svg, "")
    one = source(example(), drawn=dict.fromkeys(("loss", "error", "cost"), svg))
    assert "Not in this file: a/b/figures/loss.svg" in webpage.page([one])


# --- the page without its program ----------------------------------------------------------------


def test_what_a_record_says_is_text_and_never_markup(text, sources):
    found = Page(text)
    scripts = [attributes for tag, attributes in found.elements if tag == "script"]
    assert [s.get("type") for s in scripts] == ["application/json"] * len(sources) + [None]
    for program in found.scripts[:-1]:
        json.loads(program)
    assert not [name for _, a in found.elements for name in a if name.startswith("on")]
    assert not [a for tag, a in found.elements if tag in ("img", "iframe", "object", "embed")]
    assert "7 * 7" in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_page_names_no_server_but_in_links_that_a_reader_follows(text):
    for tag, attributes in Page(text).elements:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "srcset", "action", "data"):
                link = tag == "a" and value.startswith("https://arxiv.org/abs/")
                assert link or value.startswith("#") or value == "data:,", (tag, name, value)
    outside = re.findall(r"url\((?!#)[^)]*\)|@import", text)
    assert outside == []


def test_ids_are_unique_and_every_link_inside_the_page_leads_somewhere(text):
    elements = Page(text).elements
    ids = [attributes["id"] for _, attributes in elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for t, a in elements if t == "a" and a["href"].startswith("#")}
    labels = {
        name
        for _, a in elements
        for key in ("aria-labelledby", "aria-describedby", "for", "data-copy")
        for name in a.get(key, "").split()
    }
    assert links | labels <= set(ids)
    claims = [a["id"] for t, a in elements if t == "article"]
    assert {"slopes-default-T1", "slopes-full-T10", "run-mine-T3"} <= set(claims)
    assert set(claims) <= links


def test_all_papers_are_listed_and_those_without_an_experiment_as_such(text):
    papers = webpage.papers()
    assert len(papers) == len({paper["arxiv"] for paper in papers}) == 21
    for paper in papers:
        assert f"arXiv:{paper['arxiv']}" in text
    rows = [a for t, a in Page(text).elements if t == "tbody" and "data-verdicts" in a]
    assert [row["data-verdicts"] for row in rows].count("none") == 21
    # The example's paper is none of them, and the hostile record's another: they come first.
    assert len(rows) == 22
    assert rows[0]["data-topic"] == "Other"


def test_a_claim_shows_figure_interval_controls_and_detectable_effect(text):
    article = re.search(r'<article[^>]*id="slopes-default-T3".*?</article>', text, re.DOTALL)[0]
    assert "The paper reports" in article
    assert "2.21 | 2.21 (Figure 4, lower row; read off the figure)" in article
    article = re.search(r'<article[^>]*id="slopes-default-T2".*?</article>', text, re.DOTALL)[0]
    assert "Control: 10 % too long (must fail, and does)" in article
    assert "half a percent of precision was planned" in article.lower()
    assert article.count('class="row-part"') == 4
    entries = {e["claim"]["id"]: e["verdict"] for e in record.entries(example())}
    undecided = [name for name, verdict in entries.items() if verdict["verdict"] == "inconclusive"]
    assert undecided
    for name in undecided:
        article = re.search(rf'<article[^>]*id="slopes-default-{name}".*?</article>', text, re.S)[0]
        assert "detectable" in article or "no end" in article


def test_staleness_is_marked_and_can_be_taken_off(sources):
    text = webpage.page(sources[:1])
    fresh = webpage.page([webpage.Source(**{**vars(sources[0]), "stale": []})])
    assert "The behaviour of cost has changed since this run." in text
    assert webpage.without_stale_marks(text) == webpage.without_stale_marks(fresh) == fresh


def test_the_programs_policy_names_the_program_itself(text):
    import base64
    import hashlib

    policy = next(a["content"] for t, a in Page(text).elements if a.get("http-equiv"))
    digest = base64.b64encode(hashlib.sha256(Page(text).scripts[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_with_many_records_a_page_keeps_less_of_each(drawn):
    made, arrays = lively()
    few = webpage.page([source(made, arrays, drawn=drawn)])
    many = webpage.page([source(made, arrays, drawn=drawn)] * (webpage.FEW + 1))
    assert len(many) < webpage.FEW / 2 * len(few)
    block = json.loads(Page(many).scripts[0])
    lists = block["lists"]
    assert {len(lists[curve["seeds"]]) for curve in block["curves"]} == {0}
    assert {len(lists[curve["steps"]]) for curve in block["curves"]} == {webpage.POINTS_OF_MANY}
    elements = Page(many).elements
    ids = [a["id"] for _, a in elements if a.get("id")]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for t, a in elements if t == "a" and a["href"].startswith("#")}
    assert links <= set(ids)
    assert f"slopes-default-{webpage.FEW + 1}-T1" in links
    assert many.count("In brief, since the page has many") == webpage.FEW + 1 - webpage.WHOLE


def test_a_lesser_preset_of_a_published_experiment_is_shown_in_brief(drawn):
    full, default = example(), example()
    full["preset"] = "full"
    text = webpage.page([source(full, drawn=drawn), source(default, drawn=drawn)])
    assert text.count("In brief, since the page has many records or a fuller one") == 1
    assert text.count('class="drawing"') == 2  # those of the fuller one
    elements = Page(text).elements
    ids = {a["id"] for _, a in elements if a.get("id")}
    links = {a["href"][1:] for t, a in elements if t == "a" and a["href"].startswith("#")}
    assert links <= ids
    again = webpage.page([source(full, drawn=drawn), source(full, drawn=drawn)])
    assert "In brief" not in again


def test_drawings_beyond_the_pages_room_are_named_only(drawn, monkeypatch):
    monkeypatch.setattr(webpage, "MOST_DRAWN", 100)
    text = webpage.page([source(example(), drawn=drawn)])
    assert text.count('class="drawing"') == 1
    assert text.count("Not in this file:") == 2


def test_every_study_has_a_figure_drawn_before_any_has_two(drawn):
    first, second, third = report.figures_of(example())
    made = example()
    for study in (*made["results"]["studies"].values(), *made["measurements"]["studies"].values()):
        study["figures"] = []
    made["results"]["studies"]["training"]["figures"] = [first, second]
    made["measurements"]["studies"]["cost"]["figures"] = [third]
    assert webpage._by_turns(made) == [first["name"], third["name"], second["name"]]


def test_records_share_the_room_for_drawings(drawn, monkeypatch):
    sizes = [text.count("") for text in source(example(), drawn=drawn).drawings.values()]
    monkeypatch.setattr(webpage, "MOST_DRAWN", sum(sizes))  # for all figures of one
    both = webpage.page([source(example(), drawn=drawn), source(example(), drawn=drawn)])
    first, second = both.split('id="slopes-default-2"')
    assert 0 < first.count('class="drawing"') < 3
    assert second.count('class="drawing"') > 0


def test_a_page_of_nothing_lists_the_papers():
    assert webpage.page([]).count("no experiment yet</td>") == 21


# --- the command ---------------------------------------------------------------------------------


def test_the_command_puts_runs_beside_committed_results(tmp_path, capsys):
    write_example(tmp_path / "results" / "slopes" / "default")
    write_example(tmp_path / "runs" / "mine", "smoke")
    output = tmp_path / "page.html"
    flags = ["--results", str(tmp_path / "results"), "--output", str(output)]
    assert webpage_script.main([str(tmp_path / "runs" / "mine"), *flags]) == 0
    text = output.read_text(encoding="utf-8")
    assert "slopes, smoke: mine · <b>your run</b> · <b>not published: it is a smoke run</b>" in text
    assert "Not in this file: runs/mine/figures/loss.svg" in text
    assert 'id="slopes-default"' in text
    assert "Open it in a browser" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("runs", "output", "message"),
    [("nothing", "page.html", "There is no record"), (".", "no/page.html", "cannot be written")],
)
def test_the_commands_mistakes_are_one_sentence(tmp_path, capsys, runs, output, message):
    write_example(tmp_path / "run")
    folder = tmp_path / "run" / runs
    flags = ["--results", str(tmp_path / "none"), "--output", str(tmp_path / output)]
    assert webpage_script.main([str(folder), *flags]) == 2
    assert message in capsys.readouterr().err


# --- in a browser --------------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium, say")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=path, args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("site") / "index.html"
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def visit(browser, address):
    """Open the page in a fresh context; at the end nothing went wrong and nothing was asked for."""
    contexts, troubles, requests = [], [], []

    def open_page(hash="", **options):
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        opened = context.new_page()
        opened.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        opened.on("pageerror", lambda error: troubles.append(str(error)))
        opened.on("request", lambda request: requests.append(request.url))
        opened.goto(address + hash)
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
    assert {url.partition("#")[0] for url in requests} == {address}


def test_filters_show_what_fits(visit):
    opened = visit()
    rows = opened.locator(".papers tbody")
    total = rows.count()
    opened.locator("#filters label", has_text="not reproduced").first.click()
    shown = opened.locator(".papers tbody:visible")
    assert shown.count() == 1
    visible = opened.locator("#slopes-default .claim:visible")
    verdicts = {visible.nth(n).get_attribute("data-verdict") for n in range(visible.count())}
    assert verdicts == {"not-reproduced"}
    assert f"1 of {total} papers" in opened.locator("#found").inner_text()
    opened.locator("#slopes-default .filtered button").click()
    assert opened.locator(".papers tbody:visible").count() == total
    opened.locator("#filters select").select_option("Retrieval")
    assert opened.locator(".papers tbody:visible").count() == 4
    opened.locator("#filters input[type=search]").fill("clustering zhan")
    assert opened.locator(".papers tbody:visible").count() == 1
    opened.locator("#filters label", has_text="no experiment yet").click()
    assert opened.locator(".papers tbody:visible").count() == 1


def test_a_link_to_a_claim_that_the_filter_hides_shows_it(visit):
    opened = visit()
    opened.locator("#filters label", has_text="not reproduced").first.click()
    assert not opened.locator("#slopes-default-T1").is_visible()
    opened.evaluate("location.hash = '#slopes-default-T1'")
    opened.wait_for_function("!document.getElementById('slopes-default-T1').hidden")


def test_curves_are_drawn_and_read_by_keyboard(visit, sources):
    opened = visit(viewport={"width": 1200, "height": 900})
    box = opened.locator("#slopes-default .curves")
    box.scroll_into_view_if_needed()
    plot = box.locator(".plot")
    plot.locator("path.line").nth(2).wait_for(state="attached")
    assert plot.locator("path.line").count() == 3
    assert plot.locator("path.band").count() == 3
    plot.focus()
    opened.keyboard.press("End")
    told = plot.locator("[role=status]").inner_text()
    assert told.startswith("training step 1000")
    lanes = sources[0].arrays["training/mlp/tuned/backprop/validation_loss"]
    said = float(re.search(r"backprop ([\d.]+)", told)[1])
    assert said == pytest.approx(np.median(lanes[:, -1]), rel=2e-3)
    opened.keyboard.press("Escape")
    box.locator("label", has_text="mean, 95").click()  # two lanes diverged: there is no mean
    opened.keyboard.press("Tab")
    box.locator("label", has_text="shown").click()
    assert plot.locator("path.seed").count() >= 30
    seconds = box.locator("input[value=seconds]")
    assert seconds.is_disabled()  # nobody timed the clipped arm
    box.locator(".methods label", has_text="clipped").click()
    assert plot.locator("path.line").count() == 2
    assert seconds.is_enabled()
    box.locator("label", has_text="seconds").click()
    assert "time [s]" in plot.inner_text()
    assert box.locator("input[value=flops]").is_disabled()


def differences_in(opened, first, second):
    return opened.evaluate(
        """([first, second]) => {
          const j = document.documentElement.jaxtrends;
          const [a, b] = [j.recordOf(first), j.recordOf(second)];
          const shared = Object.keys(a.outcomes).filter((name) => b.outcomes[name]);
          return Object.fromEntries(shared.map((name) => {
            const d = j.difference(a, b, name);
            return [name, [d.estimate, d.low, d.high].map(String).concat(d.n)];
          }));
        }""",
        [first, second],
    )


def test_differences_are_the_librarys(visit, sources):
    opened = visit()
    sides = [differences.side_of(s.done, s.arrays, "", {}) for s in sources[:3]]
    pairs = {("slopes-full", 1): "paired", ("run-mine", 2): "Welch"}
    for (slug, number), method in pairs.items():
        found = differences_in(opened, "slopes-default", slug)
        assert len(found) == 9
        kinds = set()
        for name, (*numbers, n) in found.items():
            expected = differences.difference(sides[0], sides[number], name)
            kinds.add(expected.method)
            values = [float(text.replace("Infinity", "inf")) for text in numbers]
            wanted = [expected.estimate, expected.low, expected.high]
            np.testing.assert_allclose(values, wanted, rtol=2e-6, err_msg=name)
            assert n == expected.n
        assert any(method in kind for kind in kinds)
        assert len(kinds) == 2  # the arm that diverged has another


def test_students_t_and_numbers_as_text_are_the_librarys(visit):
    from scipy import stats as scipy_stats

    opened = visit()
    freedom = [1, 2, 3.7, 9, 19, 58.3, 400]
    found = opened.evaluate("f => f.map(document.documentElement.jaxtrends.tQuantile)", freedom)
    np.testing.assert_allclose(found, scipy_stats.t.ppf(0.975, freedom), rtol=1e-9)
    random = np.random.default_rng(2)
    centres = random.normal(size=300) * 10.0 ** random.integers(-8, 7, size=300)
    halves = np.abs(centres) * 10.0 ** random.uniform(-4, 2, size=300)
    triples = [(c, c - h, c + h) for c, h in zip(centres.tolist(), halves.tolist(), strict=True)]
    triples += [(0.0, 0.0, 0.0), (1.5, 1.5, 1.5), (12345.6, 12345.6, 12345.6), (2.0, -1.0, 5e5)]
    text = opened.evaluate(
        "t => t.map((v) => document.documentElement.jaxtrends.formatInterval(...v))", triples
    )
    assert text == [format_interval(*triple) for triple in triples]


@given(st.lists(st.one_of(st.integers(-5, 5).map(float), st.just(math.inf)), min_size=1))
def test_the_oracle_for_order_statistics_takes_infinite_values(values):
    assert stats.median({"values": values}, 0.95).n == len(values)


def test_medians_intervals_are_the_librarys(visit):
    opened = visit()
    random = np.random.default_rng(3)
    for n in (1, 5, 6, 10, 19, 40, 200):
        values = random.normal(size=n).tolist()
        values[0] = math.inf  # from 20 values on the library has order statistics only then
        found = opened.evaluate(
            """v => document.documentElement.jaxtrends.orderStatistics(
                 v.map((x) => x ?? Infinity)).map(String)""",
            [None if math.isinf(x) else x for x in values],
        )
        expected = stats.median({"values": values}, 0.95)
        wanted = [expected.estimate, expected.low, expected.high]
        assert [float(x.replace("Infinity", "inf")) for x in found] == pytest.approx(wanted)


def test_comparing_shows_configs_then_curves_then_differences(visit, sources):
    opened = visit("#compare=slopes-default,slopes-full", viewport={"width": 1300, "height": 900})
    place = opened.locator("#comparison")
    heads = place.locator("h3").all_inner_texts()
    assert heads == ["What differs in their configs", "Curves", "Final values", "Verdicts"]
    assert "the configs are the same" in place.inner_text()
    opened.locator("#choices label", has_text="mine").click()
    opened.locator("#comparison .sides li").nth(2).wait_for()
    assert place.locator("table").first.locator("tbody th").all_inner_texts() == ["seeds"]
    assert place.locator(".plot path.line").count() == 9
    place.locator("input[type=search]").fill("backprop final")
    row = place.get_by_role("row").filter(has_text="final loss")
    cells = row.locator("td").all_inner_texts()
    sides = [differences.side_of(s.done, s.arrays, "", {}) for s in sources[:3]]
    name = "training/tasks/mlp/tuned/backprop/final_loss"
    for cell, side, how in zip(
        cells[3:], sides[1:], ("paired, n = 10", "unpaired, n = 18"), strict=True
    ):
        found = differences.difference(sides[0], side, name)
        assert cell.startswith(format_interval(found.estimate, found.low, found.high))
        assert how in cell
    opened.locator("#choices label", has_text="slopes, full").click()
    opened.locator("#choices label", has_text="slopes, default").click()
    assert place.inner_text() == ""
    assert "choose one more" in opened.locator("#compare-status").inner_text()


def test_commands_and_bibtex_are_copied(visit, sources):
    opened = visit(permissions=["clipboard-read", "clipboard-write"])
    button = opened.locator("#slopes-default .copy").last
    button.click()
    opened.wait_for_function("b => b.textContent.startsWith('Copied')", arg=button.element_handle())
    copied = opened.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("@misc{doe2022slopes,")
    assert "Commit c0ffeec0ffee" in copied


def serious_faults(opened, options):
    found = opened.evaluate(f"axe.run(document, {options})")["violations"]
    return [
        (one["id"], one["impact"], node["target"], node.get("failureSummary"))
        for one in found
        for node in one["nodes"][:2]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
        {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
    ],
    ids=["light", "dark, phone"],
)
def test_nothing_serious_bars_anybody_from_the_page(visit, options):
    axe = importlib.resources.files("axe_playwright_python") / "axe.min.js"
    opened = visit("#compare=slopes-default,run-mine", **options)
    opened.add_style_tag(content=".record { content-visibility: visible !important }")
    opened.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    opened.evaluate(axe.read_text(encoding="utf-8"))
    assert serious_faults(opened, "{resultTypes: ['violations']}") == []
    opened.evaluate(
        "document.querySelector('#filters select').parentElement.replaceWith("
        "document.querySelector('#filters select'))"
    )  # a choice without a label
    assert serious_faults(opened, "{runOnly: ['select-name']}") != []


def test_the_page_is_no_wider_than_a_phone(visit):
    opened = visit(viewport={"width": 360, "height": 800})
    opened.add_style_tag(content=".record { content-visibility: visible !important }")
    opened.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_a_program_tables_and_figures_are_there(visit):
    opened = visit(java_script_enabled=False)
    assert opened.locator("#slopes-default-T2 .forest").first.is_visible()
    assert opened.locator(".drawing").first.is_visible()
    assert opened.locator(".papers tbody:visible").count() == 22
    for hidden in ("#filters", "#compare", ".copy", ".curves"):
        assert not opened.locator(hidden).first.is_visible()


def test_the_part_that_is_shown_stands_beside_its_own_control():
    done = copy.deepcopy(example())
    verdict = next(e for e in record.entries(done) if e["claim"]["id"] == "T2")["verdict"]
    ((name, found),) = verdict["controls"].items()
    verdict["controls"] = {control_of(name, part): found for part in verdict["parts"]}
    texts = [webpage.page([webpage.Source(one, {}, {}, True, "", [])]) for one in (done, example())]
    shown = [
        re.search(r'<article[^>]*id="slopes-default-T2".*?</article>', text, re.DOTALL)[0]
        for text in texts
    ]
    assert shown[0] == shown[1]
    assert f"Control: {name}" in shown[0]
