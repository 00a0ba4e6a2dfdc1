"""Tables and figures of a record: what they say, how they say it, and that they say all of it."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest

from jaxtrends import plotting, record, report
from jaxtrends.claims import control_of
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


def test_claims_of_the_paper_and_its_critics_are_counted_apart_from_ours():
    of_the_paper, derived = report.counts(example())
    assert of_the_paper == {"reproduced": 1, "not reproduced": 1, "inconclusive": 1}
    assert derived == {"reproduced": 3, "invalid": 1, "not testable here": 1}
    assert report.verdict_counts(example()) == (
        "Paper and critics: 1 reproduced, 1 not reproduced, 1 inconclusive. "
        "Derived by us: 3 reproduced, 1 invalid, 1 not testable here. Not run: 1."
    )


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


def test_what_is_drawn_of_a_standalone_figure_is_its_title_too():
    first, other = (plain_figure([LINE], title=title, standalone=True) for title in "ab")
    assert plotting.data_digest(first) != plotting.data_digest(other)


def test_two_figures_of_one_name_are_a_mistake():
    made = example()
    studies = made["results"]["studies"]
    studies["cost"]["figures"].append(studies["training"]["figures"][0])
    with pytest.raises(ValueError, match="same name"):
        report.figures_of(made)


def test_the_headline_figure_is_drawn_before_the_others_and_has_a_name_of_its_own():
    made = example()
    others = report.figures_of(made)
    assert report.drawn_of(made) == others
    made["figure"] = others[0] | {"name": "headline"}
    assert report.drawn_of(made) == [made["figure"], *others]
    made["figure"] = others[0] | {"name": others[1]["name"].upper()}
    with pytest.raises(ValueError, match="same name"):
        report.drawn_of(made)


def notes(done):
    return [report.note_of(entry) for entry in report.entries(done)]


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
    assert notes(done) == notes(made)
    assert report.control_found(verdict, name) == found
