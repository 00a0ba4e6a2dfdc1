"""The site without its program: what its pages say, how large they are, what no record can do."""

from __future__ import annotations

import copy
import json
import re
from urllib.parse import unquote

import numpy as np
import pytest

from jaxtrends import (
    inline_svg,
    record,
    report,
    webpage,
    webpage_claim,
    webpage_data,
    webpage_papers,
)
from jaxtrends.claims import control_of
from jaxtrends.webpage_record import Source, by_turns
from scripts import webpage as webpage_script
from tests.example_record import example, write_example
from tests.lively_records import (
    HOSTILE,
    Page,
    draw_example,
    lively,
    lively_sources,
    of_papers,
    source,
    with_headline_figure,
)

PAPER = "slopes/index.html"
HOSTILE_PAPER = f"{webpage_claim.slug(HOSTILE)}/index.html"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_example(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def sources(drawn):
    return lively_sources(drawn)


@pytest.fixture(scope="module")
def site(sources):
    return webpage.site(sources)


@pytest.fixture(scope="module")
def pages(site):
    return {name: Page(text) for name, text in site.items() if name.endswith(".html")}


def article(text, anchor):
    return re.search(rf'<article[^>]*id="{anchor}".*?</article>', text, re.DOTALL)[0]


# --- which files there are -----------------------------------------------------------------------


def test_a_page_a_paper_and_a_script_of_data_a_record(site):
    assert set(site) == {
        *("index.html", "compare.html", PAPER, HOSTILE_PAPER),
        *("assets/site.css", "assets/site.js"),
        *(f"assets/data/{slug}.js" for slug in ("slopes-full", "slopes-default", "run-mine")),
        f"assets/data/{webpage_claim.slug('run-' + HOSTILE.rpartition('/')[2])}.js",
    }


def test_of_21_papers_with_4_records_each_no_file_is_large(drawn):
    site = webpage.site(of_papers(drawn))
    assert len(site) == 2 + 2 + 21 + 84
    sizes = {name: len(text.encode()) for name, text in site.items()}
    assert max(sizes.values()) <= webpage.MOST_BYTES
    assert site["index.html"].count('<td role="cell" class="picture"><svg') == 21
    assert "no experiment yet</td>" not in site["index.html"]


def test_a_page_of_very_many_records_keeps_less_of_each_and_is_no_larger(drawn):
    made, arrays = lively()
    made = with_headline_figure(made)
    many = [source(made, arrays, drawn=drawn, published=n == 0, place=f"r/{n}") for n in range(300)]
    site = webpage.site(many)
    assert max(len(text.encode()) for text in site.values()) <= webpage.MOST_BYTES
    elements = Page(site[PAPER]).elements
    ids = [a["id"] for _, a in elements if a.get("id")]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for t, a in elements if t == "a" and a.get("href", "").startswith("#")}
    assert links <= set(ids)
    assert {"slopes-default-T1", "run-299"} <= set(ids)
    assert site[PAPER].count("In brief:") == webpage.DETAILS[0].brief
    assert f"And {299 - webpage_papers.MOST_RUNS} more of your runs." in site["index.html"]


def test_detail_is_given_up_until_a_page_is_small(drawn, monkeypatch):
    """Each time there is room for one byte less than the page takes."""
    texts = []
    for _ in range(4):
        texts.append(webpage.site([source(example(), drawn=drawn)])[PAPER])
        monkeypatch.setattr(webpage, "MOST_BYTES", len(texts[-1].encode()) - 1)
    assert [text.count('class="drawing"') for text in texts] == [2, 0, 0, 0]
    assert [text.count("<article") > 0 for text in texts] == [True, True, False, False]
    assert ["In brief:" in text for text in texts] == [False, False, True, False]
    assert "The record stands in a/b" in texts[3]


def test_a_lesser_preset_of_a_published_experiment_is_shown_in_brief(site):
    assert site[PAPER].count("In brief:") == 1
    shown = site[PAPER][site[PAPER].index('id="slopes-default"') :]
    assert 'id="slopes-default-T1"' in shown
    assert "<article" not in shown


# --- what the index says -------------------------------------------------------------------------


def test_all_papers_are_listed_and_those_without_an_experiment_as_such(site, pages):
    papers = webpage.papers()
    assert len(papers) == len({paper["arxiv"] for paper in papers}) == 21
    for paper in papers:
        assert f"arXiv:{paper['arxiv']}" in site["index.html"]
    rows = [a for t, a in pages["index.html"].elements if t == "tbody" and "data-verdicts" in a]
    assert [row["data-verdicts"] for row in rows].count("none") == 21
    # The example's paper is none of them, and the hostile record's another: they come first.
    assert len(rows) == 23
    assert [row["data-topic"] for row in rows[:2]] == ["Other", "Other"]


def test_a_site_of_nothing_lists_the_papers():
    index = webpage.site([])["index.html"]
    assert index.count("no experiment yet</td>") == 21
    assert 'class="leads"' not in index


def test_the_index_leads_with_the_headline_claim_and_how_it_came_out(site):
    leads = re.search(r'<table class="leads".*?</table>', site["index.html"], re.DOTALL)[0]
    row = re.search(r"<tr[^>]*>\n<th[^>]*><a href=\"slopes/.*?</tr>", leads, re.DOTALL)[0]
    lead = next(e for e in record.entries(example()) if e["claim"]["id"] == example()["lead"])
    said = [lead["claim"]["statement"], report.reported(lead["claim"], how=True)]
    for text in (*said, report.number_of(lead), example()["caveat"]):
        assert text in row
    assert f'<span class="gist">{example()["answer"]}</span>' in row
    assert site["index.html"].index('class="leads"') < site["index.html"].index("filters")
    assert example()["answer"] in site["index.html"]


def test_the_index_leads_with_the_first_sentence_of_an_answer():
    made = example()
    made["answer"] = (
        "No: it took 1.56 [1.32, 1.86] times as long (the paper has 0.6). A second one."
    )
    index = webpage.site([source(made)])["index.html"]
    assert " times as long (the paper has 0.6).</span></td>" in index
    assert index.count("A second one.") == 1


def test_totals_count_derived_claims_apart(drawn):
    made = example()
    for entry in record.entries(made):
        entry["claim"]["source"] = "paper" if entry["claim"]["id"] == "T1" else "derived"
    site = webpage.site([source(made, drawn=drawn)])
    for text in (site["index.html"], site[PAPER]):
        said = re.sub(r"<[^>]*>", "", text)
        assert "of the paper and its critics: 1 reproduced. Derived by us:" in said
    said = re.sub(r"<[^>]*>", "", site[PAPER])
    assert "What the paper claims 1 reproduced\n" in said
    assert "What its critics claim" not in said


def test_a_record_without_a_headline_is_named_and_all_else_is_there(sources):
    bare, arrays = lively()
    for entry in record.entries(bare):
        entry["claim"]["headline"] = False
    del bare["answer"], bare["caveat"], bare["lead"]
    found = [source(bare, arrays, place="slopes/default")]
    assert webpage.without_headline([*found, *sources]) == [
        "slopes/default names no headline claim: its page just has all claims."
    ]
    site = webpage.site(found)
    assert "No headline claim is named in slopes, default" in site["index.html"]
    assert "No headline claim is named in slopes, default" in site[PAPER]
    assert 'id="slopes-default-T2"' in site[PAPER]


def test_what_was_left_out_is_said_on_the_index(sources):
    problems = [f"runs/{n}/record.json cannot be read: {HOSTILE}" for n in range(30)]
    index = webpage.site(sources[:1], problems)["index.html"]
    assert index.count("<b>Left out.</b>") == 21
    assert "10 more." in index
    assert "<script>alert" not in index


def test_no_text_of_a_record_fills_the_index():
    made = example()
    made["answer"] = "word " * 10**6
    assert len(webpage.site([source(made)])["index.html"]) < 100_000


# --- what a paper's page says --------------------------------------------------------------------


def test_a_papers_page_goes_from_the_answer_to_how_to_cite(site):
    text = site[PAPER]
    order = ['class="answer"', "<figure>", "What the paper claims", "What its critics claim"]
    order += ["What we derived", 'id="slopes-full-tables"', 'id="slopes-full-figures"']
    order += ['id="slopes-full-curves"', "Departures from the paper", 'id="slopes-full-again"']
    places = [text.index(what) for what in [*order, 'id="slopes-full-cite"']]
    assert places == sorted(places)


def test_of_very_many_parts_the_least_favourable_are_drawn(monkeypatch):
    made = example()
    entry = next(e for e in record.entries(made) if len(e["verdict"]["parts"]) > 1)
    names = list(entry["verdict"]["parts"])
    for name in names:
        entry["verdict"]["parts"][name]["verdict"] = "reproduced"
    entry["verdict"]["parts"][names[-1]]["verdict"] = "not reproduced"
    monkeypatch.setattr(webpage_claim, "MOST_PARTS", 1)
    _, rows, count = webpage_claim.parts(entry)
    assert [row["label"] for row in rows] == [names[-1]]
    assert count == len(names)


def test_a_claim_shows_figure_interval_controls_and_detectable_effect(site):
    shown = article(site[PAPER], "slopes-full-T3")
    assert "The paper reports" in shown
    assert "2.21 | 2.21 (Figure 4, lower row; read off the figure)" in shown
    shown = article(site[PAPER], "slopes-full-T2")
    assert "Control: 10 % too long (must fail, and does)" in shown
    assert "half a percent of precision was planned" in shown.lower()
    assert shown.count('class="row-part"') == 4
    entries = {e["claim"]["id"]: e["verdict"] for e in record.entries(example())}
    undecided = [name for name, verdict in entries.items() if verdict["verdict"] == "inconclusive"]
    assert undecided
    for name in undecided:
        shown = article(site[PAPER], f"slopes-full-{name}")
        assert "detectable" in shown or "no end" in shown


def test_the_part_that_is_shown_stands_beside_its_own_control():
    done = copy.deepcopy(example())
    verdict = next(e for e in record.entries(done) if e["claim"]["id"] == "T2")["verdict"]
    ((name, found),) = verdict["controls"].items()
    verdict["controls"] = {control_of(name, part): found for part in verdict["parts"]}
    pages = [webpage.site([source(one)])[PAPER] for one in (done, example())]
    shown = [article(page, "slopes-default-T2") for page in pages]
    assert shown[0] == shown[1]
    assert f"Control: {name}" in shown[0]


def test_staleness_is_marked_and_can_be_taken_off(sources):
    marked = webpage.site(sources[:1])
    fresh = webpage.site([Source(**{**vars(sources[0]), "stale": []})])
    for name in ("index.html", PAPER):
        assert "The behaviour of cost has changed since this run." in marked[name]
        assert webpage.without_stale_marks(marked[name]) == fresh[name]
        assert webpage.without_stale_marks(fresh[name]) == fresh[name]


def test_every_study_has_a_figure_drawn_before_any_has_two():
    first, second, third = report.figures_of(example())
    made = example()
    for study in (*made["results"]["studies"].values(), *made["measurements"]["studies"].values()):
        study["figures"] = []
    made["results"]["studies"]["training"]["figures"] = [first, second]
    made["measurements"]["studies"]["cost"]["figures"] = [third]
    assert by_turns(made) == [first["name"], third["name"], second["name"]]


def test_drawings_beyond_the_pages_room_are_links(drawn, monkeypatch):
    monkeypatch.setattr(webpage, "DETAILS", (webpage.Detail(1, 0, 100),))
    made = with_headline_figure(example())
    text = webpage.site([source(made, drawn=drawn, place="../runs/a b")])[PAPER]
    assert text.count('class="drawing"') == 1
    assert text.count("Not in this file:") == 2
    assert 'href="../../runs/a%20b/figures/' in text


def test_a_headline_figure_with_foreign_content_is_left_out(drawn):
    svg = drawn["headline"].replace("</svg>", "<script>alert(1)</script></svg>")
    with pytest.raises(ValueError, match="foreign"):
        inline_svg.Sprite().add(svg, "")
    made = with_headline_figure(example())
    site = webpage.site([source(made, drawn=dict.fromkeys((*drawn, "headline"), svg))])
    assert 'class="drawing"' not in site["index.html"] + site[PAPER]
    assert 'Not in this file: <a href="../a/b/figures/loss.svg">' in site[PAPER]


# --- what no record can do -----------------------------------------------------------------------


def test_what_a_record_says_is_text_and_never_markup(site, pages):
    for name, page in pages.items():
        base = "../" if "/" in name else ""
        scripts = [attributes for tag, attributes in page.elements if tag == "script"]
        assert scripts == [{"src": f"{base}assets/site.js", "defer": None}]
        assert page.scripts == [""]
        assert not [key for _, a in page.elements for key in a if key.startswith("on")]
        assert not [a for tag, a in page.elements if tag in ("img", "iframe", "object", "embed")]
        policy = next(a["content"] for _, a in page.elements if a.get("http-equiv"))
        assert "default-src 'none'; script-src 'self' file:;" in policy
    assert "7 * 7" in site[HOSTILE_PAPER]
    assert "&lt;script&gt;alert(1)" in site[HOSTILE_PAPER]
    assert "&lt;script&gt;alert(1)" in site["index.html"]


def test_a_script_of_data_is_one_text_and_nothing_else(site):
    scripts = {name: text for name, text in site.items() if "/data/" in name}
    assert len(scripts) == 4
    for text in scripts.values():
        inside = text.removeprefix(webpage_data.BEGIN).removesuffix(webpage_data.END)
        assert len(inside) == len(text) - len(webpage_data.BEGIN) - len(webpage_data.END)
        assert not re.search("[<>&'\n\u2028\u2029]", inside)
        assert not re.search(r"(?<!\\)(\\\\)*\\$", inside)  # the last quote is not escaped
        assert webpage_data.unwrapped(text)["label"]
    hostile = next(text for text in scripts.values() if "alert(1)" in text)
    assert HOSTILE in webpage_data.unwrapped(hostile)["config"]


@pytest.mark.parametrize(
    "value",
    [
        "');alert(1);//",
        "\\');alert(1);//",
        "\\",
        "\\\\'",
        "</script>",
        "\u2028\n\r\0",
        "\\u0027",
        'é"',
    ],
)
def test_any_text_comes_back_from_a_script_as_it_was(value):
    text = webpage_data.wrapped({value: [value]})
    assert webpage_data.unwrapped(text) == {value: [value]}
    with pytest.raises(ValueError, match="script"):
        webpage_data.unwrapped(text.removesuffix(webpage_data.END))


def test_a_large_record_loses_lanes_then_points_then_curves():
    made, arrays = lively()
    sizes, most = [], 10**6
    for _ in range(5):
        text = webpage_data.script(made, arrays, "label", [], most)
        packed = webpage_data.unwrapped(text)
        lists = packed["lists"]
        sizes.append({(len(lists[c["steps"]]), len(lists[c["seeds"]])) for c in packed["curves"]})
        most = len(text.encode()) - 1
    points, lanes = webpage_data.POINTS, webpage_data.LANES
    assert sizes == [{(points, lanes)}, {(points, 0)}, {(points // 3, 0)}, set(), set()]
    assert packed["outcomes"] == {}


def test_the_pages_name_no_server_but_in_links_that_a_reader_follows(site, pages):
    files = set(site)
    for name, page in pages.items():
        folder = name.rpartition("/")[0]
        for tag, attributes in page.elements:
            for key, value in attributes.items():
                if key not in ("src", "href", "xlink:href", "srcset", "action", "data"):
                    continue
                if tag == "a" and value.startswith("https://arxiv.org/abs/"):
                    continue
                if value == "data:,":
                    continue
                path = unquote(value.partition("#")[0])
                if tag == "a" and "/figures/" in path:
                    assert path.startswith("../")
                elif path:
                    inside = path.removeprefix("../") if folder else path
                    assert inside in files, (name, tag, value)
        assert re.findall(r"url\((?!#)[^)]*\)|@import", site[name]) == []
    assert re.findall(r"url\((?!#)[^)]*\)|@import", site["assets/site.css"]) == []


def test_ids_are_unique_and_every_link_of_the_site_leads_somewhere(pages):
    ids = {}
    for name, page in pages.items():
        found = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
        assert len(found) == len(set(found))
        ids[name] = set(found)
    slugs = {a["value"] for t, a in pages["compare.html"].elements if a.get("type") == "checkbox"}
    assert {"slopes-full", "slopes-default", "run-mine"} < slugs
    for name, page in pages.items():
        labels = {
            one
            for _, a in page.elements
            for key in ("aria-labelledby", "aria-describedby", "for", "data-copy")
            for one in a.get(key, "").split()
        }
        assert labels <= ids[name]
        for tag, attributes in page.elements:
            path, _, anchor = attributes.get("href", "").partition("#")
            if tag == "a" and anchor:
                known = (
                    slugs
                    if path.endswith("compare.html")
                    else ids[path.removeprefix("../") or name]
                )
                assert anchor in known, (name, anchor)
    claims = {a["id"] for t, a in pages[PAPER].elements if t == "article"}
    assert {"slopes-full-T1", "slopes-full-T10", "run-mine-T3"} <= claims


# --- the command ---------------------------------------------------------------------------------


def test_the_command_puts_runs_beside_committed_results(tmp_path, capsys):
    write_example(tmp_path / "results" / "slopes" / "default")
    write_example(tmp_path / "runs" / "mine", "smoke")
    output = tmp_path / "site"
    flags = ["--results", str(tmp_path / "results"), "--output", str(output)]
    assert webpage_script.main([str(tmp_path / "runs" / "mine"), *flags]) == 0
    text = (output / PAPER).read_text(encoding="utf-8")
    assert "slopes, smoke: mine <b>your run</b>" in text
    assert "not published: it is a smoke run" in text
    assert "Not in this file: <a" in text
    assert "../runs/mine/figures/loss.svg</a>" in text
    assert 'id="slopes-default"' in text
    out, err = capsys.readouterr()
    assert "Open it in a browser" in out
    assert err == ""
    assert "<b>Your run</b>" in (output / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("runs", "output", "message"),
    [("nothing", "site", "There is no record"), (".", "run/record.json", "cannot be written")],
)
def test_the_commands_mistakes_are_one_sentence(tmp_path, capsys, runs, output, message):
    write_example(tmp_path / "run")
    folder = tmp_path / "run" / runs
    flags = ["--results", str(tmp_path / "none"), "--output", str(tmp_path / output)]
    assert webpage_script.main([str(folder), *flags]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_what_cannot_be_read_is_named_and_the_rest_is_made(tmp_path, capsys):
    results, output = tmp_path / "results", tmp_path / "site"
    write_example(results / "slopes" / "default")
    other = write_example(results / "slopes" / "full", "full")
    (results / "slopes" / "full" / "record.json").write_text(
        json.dumps({**other, "schema": 99, "scale": HOSTILE})
    )
    write_example(tmp_path / "runs" / "mine", "smoke")
    flags = ["--results", str(results), "--output", str(output)]
    assert webpage_script.main([str(tmp_path / "runs" / "mine"), *flags]) == 0
    assert re.fullmatch(r"warning: .*record version 99.*\n", capsys.readouterr().err)
    damaged = tmp_path / "runs" / "damaged"
    damaged.mkdir()
    (damaged / "record.json").write_text("{" + HOSTILE)
    assert webpage_script.main([str(tmp_path / "runs" / "mine"), str(damaged), *flags]) == 2
    out, err = capsys.readouterr()
    assert "Open it in a browser" in out
    assert [line.partition(":")[0] for line in err.splitlines()] == ["warning", "error"]
    index = (output / "index.html").read_text(encoding="utf-8")
    assert index.count("<b>Left out.</b>") == 2
    assert "record version 99" in index
    assert 'id="run-mine-T1"' in (output / PAPER).read_text(encoding="utf-8")


def test_curves_of_no_use_leave_the_page_without_curves(tmp_path):
    arrays = {"training/a": np.zeros((2, 1)), "training/b": np.zeros((2, 3, 4))}
    assert 'class="curves"' not in webpage.site([source(example(), arrays)])[PAPER]
    arrays["training/c"] = np.zeros((1, 2))
    assert 'class="curves"' in webpage.site([source(example(), arrays)])[PAPER]


def test_the_committed_site_is_small():
    results = record.ROOT / "results"
    files = [results / "index.html", *results.glob("*/index.html"), *results.glob("assets/**/*.*")]
    assert len(files) > 10
    assert max(path.stat().st_size for path in files) <= webpage.MOST_BYTES
