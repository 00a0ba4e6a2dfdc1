"""Names inside a drawing, measured where they lie: they cross neither lines nor each other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jaxtrends import label_placement, plotting, record
from jaxtrends.charts import headline
from jaxtrends.study import Figure, Panel, Series


@pytest.fixture
def compose():
    from matplotlib import style

    with style.context(["default", plotting.STYLE | plotting.STANDALONE]):

        def composed(figure):
            drawing = plotting.compose(record.plain(figure))
            drawing.draw_without_rendering()
            return drawing

        yield composed


def tangle(seed):
    """Five curves that cross, a band, the paper's figure and a rule: hardly any room."""
    generator = np.random.default_rng(seed)
    x = np.linspace(0.0, 10.0, 21)
    curves = generator.uniform(0, 4) + np.cumsum(generator.normal(0, 0.35, (4, x.size)), axis=1)
    series = [Series(f"an arm of number {n}", x, y) for n, y in enumerate(curves[:3])]
    series.append(Series("one with a band", x, curves[3], curves[3] - 0.4, curves[3] + 0.4))
    paper = Series("paper: 1.5", [5.0, 9.0], [1.5, 2.1], style="reported")
    rule = {"threshold": 2.0, "threshold_label": "no difference"}
    return headline("A title", "", "time (s)", "loss (nats)", [*series, paper], **rule)


def names_of(drawing, axes):
    renderer = drawing.canvas.get_renderer()
    return {
        text.get_text().replace("\n", " "): text.get_window_extent(renderer)
        for text in axes.texts
        if text.get_text()
    }


def on_lines(axes):
    """Points along everything that is drawn as a line, in pixels."""
    found = []
    for line in axes.lines:
        points = line.get_transform().transform(np.column_stack(line.get_data()))
        for a, b in itertools.pairwise(points):
            found.append(a + (b - a) * np.linspace(0, 1, 200)[:, None])
        found.append(points)
    return np.concatenate(found)


def crossings(boxes, points):
    """Pairs of names that overlap, and names that lie on a line."""
    pairs = [
        (one, other)
        for one, other in itertools.combinations(boxes, 2)
        if boxes[one].overlaps(boxes[other])
    ]
    x, y = points.T
    struck = [
        name
        for name, box in boxes.items()
        if ((box.x0 < x) & (x < box.x1) & (box.y0 < y) & (y < box.y1)).any()
    ]
    return pairs, struck


@pytest.mark.parametrize("seed", range(4))
def test_series_and_rules_are_named_in_place_and_no_name_crosses_anything(compose, seed):
    figure = tangle(seed)
    drawing = compose(figure)
    (axes,) = drawing.axes
    boxes = names_of(drawing, axes)
    series = figure.panels[0].series
    assert set(boxes) == {*(one.label for one in series), "no difference"}
    assert crossings(boxes, on_lines(axes)) == ([], [])
    for box in boxes.values():
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0 < box.y1 <= axes.bbox.y1


def test_names_at_the_ends_of_their_lines_would_cross(compose):
    """The measure of the test above can be false."""
    drawing = compose(tangle(0))
    (axes,) = drawing.axes
    for text, line in zip(axes.texts, axes.lines, strict=False):
        text.xy = [float(values[-1]) for values in line.get_data()]
        text.set_position((0, 0))
        text.set_ha("right")
    pairs, struck = crossings(names_of(drawing, axes), on_lines(axes))
    assert pairs or struck


def test_each_name_is_nearest_to_what_it_names(compose):
    x = np.linspace(0, 1, 11)
    series = [Series(name, x, level + x) for level, name in enumerate(["low", "mid", "high"])]
    drawing = compose(headline("A title", "", "x (s)", "y (m)", series))
    (axes,) = drawing.axes
    for name, box in names_of(drawing, axes).items():
        middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        away = {
            line.get_label(): np.hypot(
                *(axes.transData.transform(np.column_stack(line.get_data())) - middle).T
            ).min()
            for line in axes.lines
        }
        assert min(away, key=away.get) == name


def test_a_standalone_figure_says_its_title_and_has_no_legend(compose):
    drawing = compose(tangle(1))
    assert drawing.get_suptitle() == "A title"
    assert not drawing.legends
    plain = compose(Figure("a", "A title", "", tangle(1).panels))
    assert plain.get_suptitle() == ""
    assert plain.legends


RULES = {
    "dense": 9.9,
    "4 experts: 1.2x less": 8.9,
    "16 experts: 1.7x less": 7.5,
    "64 experts: 1.1x less": 9.6,
}


@pytest.mark.parametrize(
    "marks", [RULES, {"first": 0.1, "last of them": 9.9}, {"one": 4.9, "two": 5.0, "three": 5.1}]
)
def test_flags_of_rules_fly_above_the_frame_and_cross_neither_each_other_nor_a_rule(compose, marks):
    panel = Panel("a title", "x", "y", [Series("a", [0, 10], [0, 1])], marks=marks)
    drawing = compose(Figure("a", "A title", "", [panel, panel]))
    for axes in drawing.axes:
        boxes = names_of(drawing, axes)
        assert set(boxes) == set(marks)
        poles = [text.arrow_patch.get_window_extent() for text in axes.texts if not text.get_text()]
        points = [np.linspace(pole.p0, pole.p1, 200) for pole in poles]
        assert crossings(boxes, np.concatenate(points)) == ([], [])
        title = axes._left_title.get_window_extent()
        for box in boxes.values():
            assert axes.bbox.y1 <= box.y0
            assert not box.overlaps(title)
            assert 0 <= box.x0 < box.x1 <= drawing.bbox.x1


def test_flags_that_are_far_apart_share_a_row_and_close_ones_rise_one_by_one():
    apart = label_placement.flags(np.array([10.0, 500.0]), np.array([40.0, 40.0]), (0.0, 600.0))
    assert [flag.row for flag in apart] == [0, 0]
    close = np.array([550.0, 560.0, 570.0, 580.0])
    rising = label_placement.flags(close, np.full(4, 100.0), (0.0, 600.0))
    assert [flag.row for flag in rising] == [0, 1, 2, 3]
    assert all(flag.left for flag in rising)


def test_many_rules_are_named_too():
    many = np.linspace(0, 600, 12)
    found = label_placement.flags(many, np.full(12, 100.0), (0.0, 600.0))
    assert len(found) == 12
