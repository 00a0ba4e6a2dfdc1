"""The site's program in a real browser, opened from disk as a reader opens it."""

from __future__ import annotations

import importlib.resources
import math
import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxtrends import differences, stats, webpage
from jaxtrends.formats import format_interval
from tests.lively_records import HOSTILE, draw_example, lively_sources, of_papers

PAPER = "slopes/index.html"
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
def drawn(tmp_path_factory):
    return draw_example(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def sources(drawn):
    return lively_sources(drawn)


@pytest.fixture(scope="module")
def folder(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    webpage.write(webpage.site(sources), folder)
    return folder


@pytest.fixture
def visit(browser, folder):
    """Open a page in a fresh context; at the end nothing went wrong, and all came from the site."""
    contexts, troubles, requests = [], [], []

    def open_page(page, **options):
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        opened = context.new_page()
        opened.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
        opened.on("pageerror", lambda error: troubles.append(str(error)))
        opened.on("request", lambda request: requests.append(request.url))
        opened.goto(f"{folder.as_uri()}/{page}")
        return opened

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
    assert [url for url in requests if not url.startswith(f"{folder.as_uri()}/")] == []


# --- the index -----------------------------------------------------------------------------------


def test_filters_of_the_index_show_the_papers_that_fit(visit):
    opened = visit("index.html")
    rows = opened.locator(".papers tbody")
    total = rows.count()
    opened.locator("#filters label", has_text="not reproduced").first.click()
    assert opened.locator(".papers tbody:visible").count() == 2  # both have that headline claim
    assert f"2 of {total} papers" in opened.locator("#found").inner_text()
    opened.locator("#filters label", has_text="all").first.click()
    assert opened.locator(".papers tbody:visible").count() == total
    opened.locator("#filters select").select_option("Retrieval")
    assert opened.locator(".papers tbody:visible").count() == 4
    opened.locator("#filters input[type=search]").fill("clustering zhan")
    assert opened.locator(".papers tbody:visible").count() == 1
    opened.locator("#filters label", has_text="no experiment yet").click()
    assert opened.locator(".papers tbody:visible").count() == 1


@pytest.mark.parametrize(
    ("old", "page", "anchor"),
    [
        ("slopes-full", PAPER, "slopes-full"),
        ("slopes-full-T1", PAPER, "slopes-full-T1"),
        ("slopes-default-T1", PAPER, "slopes-default-T1"),
        ("slopes-full-tables", PAPER, "slopes-full-tables"),
        ("slopes-default-tables", PAPER, "slopes-default"),  # it is in brief, without its tables
        ("slopes-default-gpu-T1", PAPER, None),
        ("compare", "compare.html", None),
        ("compare=slopes-full,slopes-default", "compare.html", "comparison"),
        ("reading", "index.html", "reading"),
        ("overview", "index.html", "overview"),
        ("%E0%A4%A", "index.html", None),
        ("slopes", "index.html", None),
        ("javascript:alert(1)", "index.html", None),
    ],
)
def test_links_into_the_one_page_of_old_lead_to_the_same_thing(visit, old, page, anchor):
    opened = visit(f"index.html#{old}")
    opened.wait_for_url(f"**/{page}**")
    opened.wait_for_function("document.documentElement.jaxtrends")
    if anchor:
        place = opened.locator(f"[id='{anchor}']")
        place.wait_for()
        opened.wait_for_function(
            "e => { const { top, bottom } = e.getBoundingClientRect();"
            " return top < innerHeight && bottom > 0 }",
            arg=place.element_handle(),
        )


# --- a paper's page ------------------------------------------------------------------------------


def test_the_filter_of_a_paper_shows_the_claims_that_fit(visit):
    opened = visit(PAPER)
    total = opened.locator(".claim").count()
    opened.locator("#filters label", has_text="not reproduced").first.click()
    visible = opened.locator(".claim:visible")
    verdicts = {visible.nth(n).get_attribute("data-verdict") for n in range(visible.count())}
    assert verdicts == {"not-reproduced"}
    assert f"{visible.count()} of {total} claims" in opened.locator("#found").inner_text()
    opened.locator("#slopes-full .filtered button").click()
    assert opened.locator(".claim:visible").count() == total


def test_a_link_to_a_claim_that_the_filter_hides_shows_it(visit):
    opened = visit(PAPER)
    opened.locator("#filters label", has_text="not reproduced").first.click()
    assert not opened.locator("#slopes-full-T1").is_visible()
    opened.evaluate("location.hash = '#slopes-full-T1'")
    opened.wait_for_function("!document.getElementById('slopes-full-T1').hidden")


def test_curves_are_drawn_and_read_by_keyboard(visit, sources):
    opened = visit(PAPER, viewport={"width": 1200, "height": 900})
    box = opened.locator("#slopes-full .curves")
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
        """async ([first, second]) => {
          const j = document.documentElement.jaxtrends;
          const [a, b] = await Promise.all([first, second].map(j.load));
          const shared = Object.keys(a.outcomes).filter((name) => b.outcomes[name]);
          return Object.fromEntries(shared.map((name) => {
            const d = j.difference(a, b, name);
            return [name, [d.estimate, d.low, d.high].map(String).concat(d.n)];
          }));
        }""",
        [first, second],
    )


def test_differences_are_the_librarys(visit, sources):
    opened = visit("compare.html")
    sides = [differences.side_of(s.done, s.arrays, "", {}) for s in sources[:3]]
    pairs = {("slopes-default", 1): "paired", ("run-mine", 2): "Welch"}
    for (slug, number), method in pairs.items():
        found = differences_in(opened, "slopes-full", slug)
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

    opened = visit("compare.html")
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
    opened = visit("compare.html")
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
    opened = visit(
        "compare.html#slopes-full,slopes-default", viewport={"width": 1300, "height": 900}
    )
    place = opened.locator("#comparison")
    place.locator("h2").nth(3).wait_for()
    heads = place.locator("h2").all_inner_texts()
    assert heads == ["What differs in their configs", "Curves", "Final values", "Verdicts"]
    assert "the configs are the same" in place.inner_text()
    opened.locator("#choices label", has_text="mine").click()
    opened.locator("#comparison .sides li").nth(2).wait_for()
    assert opened.url.endswith("#slopes-full,slopes-default,run-mine")
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
    opened.locator("#choices label", has_text="slopes, default").click()
    opened.locator("#choices label", has_text="slopes, full").click()
    assert place.inner_text() == ""
    assert "choose one more" in opened.locator("#compare-status").inner_text()


def test_records_of_several_papers_are_compared(visit, folder, sources):
    """From one paper's page by its link, then another paper's record, however hostile."""
    opened = visit(PAPER)
    opened.locator("#slopes-full .jump a", has_text="Compare").click()
    opened.wait_for_url("**/compare.html#slopes-full")
    assert "slopes, full is chosen" in opened.locator("#compare-status").inner_text()
    opened.locator("#choices label", has_text="<script>").click()
    opened.locator("#comparison .sides li").nth(1).wait_for()
    differ = opened.locator("#comparison table").first.locator("tbody th").all_inner_texts()
    assert {HOSTILE, "__proto__.polluted"} <= set(differ)
    assert opened.evaluate("({}).polluted") is None


def test_a_record_whose_data_are_missing_is_named(browser, folder, tmp_path):
    copied = tmp_path / "site"
    shutil.copytree(folder, copied)
    (copied / "assets" / "data" / "run-mine.js").unlink()
    (copied / "assets" / "data" / "slopes-default.js").write_text("void 0")
    opened = browser.new_page()
    opened.goto(f"{copied.as_uri()}/compare.html#slopes-full,run-mine")
    status = opened.locator("#compare-status")
    expected = "assets/data/run-mine.js cannot be loaded: it belongs beside this page."
    opened.wait_for_function(
        "([s, t]) => s.textContent === t", arg=[status.element_handle(), expected]
    )
    opened.goto(f"{copied.as_uri()}/compare.html#slopes-default,slopes-full")
    expected = "assets/data/slopes-default.js holds no record."
    opened.wait_for_function(
        "([s, t]) => s.textContent === t", arg=[status.element_handle(), expected]
    )
    opened.close()


def test_a_script_in_a_page_does_not_run(browser, folder, tmp_path):
    """What the policy is for: were a template to let markup through, it would still do nothing."""
    copied = tmp_path / "site"
    shutil.copytree(folder, copied)
    text = (copied / "index.html").read_text(encoding="utf-8")
    bad = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    (copied / "index.html").write_text(text.replace("</main>", f"{bad}</main>"), encoding="utf-8")
    opened = browser.new_page()
    opened.goto(f"{copied.as_uri()}/index.html")
    opened.wait_for_function("document.documentElement.jaxtrends")
    assert opened.title() == "jaxtrends: what held up"
    opened.close()


def test_commands_and_bibtex_are_copied(visit, sources):
    opened = visit(PAPER, permissions=["clipboard-read", "clipboard-write"])
    button = opened.locator("#slopes-full .copy").last
    button.click()
    opened.wait_for_function("b => b.textContent.startsWith('Copied')", arg=button.element_handle())
    copied = opened.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("@misc{doe2022slopes,")
    assert "Commit c0ffeec0ffee" in copied


def test_the_theme_is_kept_from_page_to_page(visit):
    opened = visit("index.html")
    button = opened.locator("#theme")
    button.click()
    button.click()
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 21)"
    opened.locator(".leads a").first.click()
    opened.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert opened.locator("#theme").inner_text().startswith("Theme: dark")


# --- for everybody -------------------------------------------------------------------------------

PAGES = ("index.html", PAPER, "compare.html#slopes-full,run-mine")


def unfold(opened):
    """All of a page, as it is when everything is open and in view."""
    if "compare" in opened.url:
        opened.locator("#comparison h2").nth(3).wait_for()
    opened.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")


def serious_faults(opened, options):
    found = opened.evaluate(f"axe.run(document, {options})")["violations"]
    return [
        (one["id"], one["impact"], node["target"], node.get("failureSummary"))
        for one in found
        for node in one["nodes"][:2]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
        {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
    ],
    ids=["light", "dark, phone"],
)
def test_nothing_serious_bars_anybody_from_a_page(visit, options, page):
    axe = importlib.resources.files("axe_playwright_python") / "axe.min.js"
    opened = visit(page, **options)
    unfold(opened)
    opened.evaluate(axe.read_text(encoding="utf-8"))
    assert serious_faults(opened, "{resultTypes: ['violations'], preload: false}") == []


def test_the_check_of_accessibility_sees_a_choice_without_a_label(visit):
    axe = importlib.resources.files("axe_playwright_python") / "axe.min.js"
    opened = visit("index.html")
    opened.evaluate(axe.read_text(encoding="utf-8"))
    opened.evaluate(
        "document.querySelector('#filters select').parentElement.replaceWith("
        "document.querySelector('#filters select'))"
    )
    assert serious_faults(opened, "{runOnly: ['select-name'], preload: false}") != []


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_wider_than_a_phone(visit, page):
    opened = visit(page, viewport={"width": 360, "height": 800})
    unfold(opened)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_reader_with_a_keyboard_gets_from_the_index_to_a_claim(visit):
    opened = visit("index.html")
    for _ in range(20):
        opened.keyboard.press("Tab")
        if opened.evaluate("document.activeElement.closest('.leads') !== null"):
            break
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/index.html")
    opened.wait_for_function("document.querySelector('#answer')")
    for _ in range(60):
        opened.keyboard.press("Tab")
        if opened.evaluate("document.activeElement.closest('.headline') !== null"):
            break
    opened.keyboard.press("Enter")
    target = opened.evaluate("document.querySelector(':target').className")
    assert target == "claim"


def test_without_a_program_answers_tables_and_figures_are_there(visit):
    opened = visit("index.html", java_script_enabled=False)
    assert opened.locator(".leads tbody tr:visible").count() == 3
    assert opened.locator(".papers tbody:visible").count() == 23
    assert opened.locator(".drawing").first.is_visible()
    assert not opened.locator("#filters").is_visible()
    opened = visit(PAPER, java_script_enabled=False)
    assert opened.locator("#slopes-full-T2 .forest").first.is_visible()
    assert opened.locator("#answer .drawing").is_visible()
    for hidden in ("#filters", ".copy", ".curves"):
        assert not opened.locator(hidden).first.is_visible()
    opened = visit("compare.html", java_script_enabled=False)
    assert opened.locator(".no-js").is_visible()
    assert not opened.locator("#choices").is_visible()


def test_what_is_printed_is_unfolded_and_has_no_controls(visit):
    opened = visit(PAPER)
    opened.emulate_media(media="print")
    opened.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert opened.locator("#slopes-full details:not([open])").count() == 0
    assert opened.locator("#answer .answer").is_visible()
    for hidden in (".filters", ".jump", ".copy", ".top nav"):
        assert not opened.locator(hidden).first.is_visible()
    opened.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.locator("#slopes-full details[open]").count() == 0


def test_every_paper_of_a_full_site_opens_and_draws(browser, drawn, tmp_path):
    webpage.write(webpage.site(of_papers(drawn)), tmp_path)
    opened = browser.new_page()
    opened.goto(f"{tmp_path.as_uri()}/index.html")
    links = opened.locator(".leads a").evaluate_all("links => links.map((link) => link.href)")
    assert len(links) == 21
    for link in (links[0], links[-1]):
        opened.goto(link)
        assert opened.locator(".record").count() == 4
        opened.locator(".curves").first.scroll_into_view_if_needed()
        opened.locator(".plot path.line").first.wait_for(state="attached")
    opened.close()
