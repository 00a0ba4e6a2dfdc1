"""What figures hold besides curves: names inside the axes, vertical rules, histograms, maps."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import jsonschema
import numpy as np
import pytest

from jaxtrends import label_placement, plotting, record
from jaxtrends.study import Figure, Map, Panel, Series


@pytest.fixture
def compose():
    from matplotlib import style

    with style.context(["default", plotting.STYLE]):
        yield lambda panel: plotting.compose(plain_figure(panel))


def plain_figure(*panels):
    return record.plain(Figure("figure", "A title", "", panels))


def crowd(names=12):
    """A cloud along a line, some of its points named."""
    generator = np.random.default_rng(3)
    x = np.sort(generator.uniform(2010, 2022, 90))
    y = 10 ** (16 + 0.6 * (x - 2010) + generator.normal(0, 1, x.size))
    texts = [""] * x.size
    for index in np.linspace(0, x.size - 1, names).round().astype(int):
        texts[index] = f"Landmark {index}"
    cloud = Series("systems", x, y, style="points", texts=texts)
    line = Series("fit", [2010, 2022], [1e16, 10**23.2], style="theory")
    return Panel("", "date", "FLOP", [cloud, line], y_scale="log", marks={"2012": 2012.0})


def names_of(axes):
    return [text for text in axes.texts if text.get_text()]


def test_names_overlap_neither_each_other_nor_points_nor_the_edges(compose):
    drawing = compose(crowd())
    drawing.draw_without_rendering()
    (axes,) = drawing.axes
    renderer = drawing.canvas.get_renderer()
    names = names_of(axes)
    assert len(names) == 13
    boxes = {name.get_text(): name.get_window_extent(renderer) for name in names}
    flag = boxes.pop("2012")
    assert axes.bbox.y1 <= flag.y0
    boxes = list(boxes.values())
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
        assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= box.y0 < box.y1 <= axes.bbox.y1
    x, y = axes.lines[0].get_data()
    for at in axes.transData.transform(np.stack([x, y], axis=-1)):
        assert not any(box.contains(*at) for box in boxes)
    assert min(name.get_fontsize() for name in names) >= 7


def test_a_name_far_from_its_point_is_led_back_to_it(compose):
    drawing = compose(crowd())
    leaders = [text for text in drawing.axes[0].texts if not text.get_text()]
    named = {name.xy for name in names_of(drawing.axes[0])}
    assert 0 < len(leaders) < 12
    assert {leader.xy for leader in leaders} < named


def test_the_same_names_make_the_same_file(tmp_path):
    figure = plain_figure(crowd())
    (first, _), (second, _) = (plotting.draw(figure, tmp_path / name) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_lone_panel_with_names_takes_both_columns(compose):
    assert compose(crowd()).get_size_inches()[0] == pytest.approx(6.8)
    line = Panel("", "x", "y", [Series("a", [1, 2], [1, 2])])
    assert compose(line).get_size_inches()[0] == pytest.approx(3.4)


def test_a_vertical_rule_stands_where_it_was_told_and_bears_its_name(compose):
    panel = Panel("", "x", "y", [Series("a", [0, 4], [0, 1])], marks={"here": 1.5, "there": 3.0})
    (axes,) = compose(panel).axes
    rules = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
    assert rules == [1.5, 3.0]
    assert [(name.get_text(), name.xy[0]) for name in names_of(axes)] == [
        ("here", 1.5),
        ("there", 3.0),
    ]


def test_a_histogram_holds_from_each_x_to_the_next_and_is_filled(compose):
    steps = Series("null", [0.0, 1.0, 2.0], [3.0, 5.0, 0.0], style="steps")
    (axes,) = compose(Panel("", "x", "y", [steps])).axes
    (line,) = axes.lines
    assert line.get_drawstyle() == "steps-post"
    path = axes.collections[0].get_paths()[0]
    assert path.contains_point((0.5, 2.9))
    assert not path.contains_point((0.5, 3.1))
    assert path.contains_point((1.5, 4.9))


def test_histograms_differ_without_colour(compose):
    steps = [Series(name, [0, 1], [1, 0], style="steps") for name in "abc"]
    (axes,) = compose(Panel("", "x", "y", steps)).axes
    assert len({str(line._dash_pattern) for line in axes.lines}) == 3


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_map_has_its_cells_round_their_values_and_a_bar_with_its_unit(compose, scale):
    shown = Map([1.0, 2.0, 4.0], [1.0, 10.0], [[1.0, 2.0, 3.0], [4.0, float("nan"), 6.0]], "t [s]")
    series = [Series("paper", [2.0], [1.0], style="points", texts=["the paper"])]
    panel = Panel("", "x", "y", series, x_scale=scale, y_scale=scale, map=shown)
    drawing = compose(panel)
    axes, bar = drawing.axes
    (mesh,) = (c for c in axes.collections if hasattr(c, "get_coordinates"))
    corners = mesh.get_coordinates()
    assert corners.shape == (3, 4, 2)
    edges = corners[0, :, 0]
    assert (edges[:-1] < [1, 2, 4]).all()
    assert (edges[1:] > [1, 2, 4]).all()
    if scale == "log":
        assert edges[1] == pytest.approx(2**0.5)
    assert mesh.get_array().mask.tolist() == [[False] * 3, [False, True, False]]
    assert bar.get_ylabel() == "t [s]"


def test_the_colours_of_a_map_grow_lighter_and_lighter_in_grey():
    from matplotlib import colormaps

    red, green, blue, _ = colormaps[plotting.COLOUR_MAP](np.linspace(0, 1, 50)).T
    assert (np.diff(0.299 * red + 0.587 * green + 0.114 * blue) > 0).all()


@pytest.mark.parametrize(("y", "whole"), [([1, 2, 3, 4], True), ([0.5, 1.0, 1.5], False)])
def test_numbered_cells_have_no_ticks_between_them(compose, y, whole):
    shown = Map([1, 2], y, [[1.0, 2.0]] * len(y), "t")
    axes = compose(Panel("", "x", "y", [], map=shown)).axes[0]
    assert all(float(tick).is_integer() for tick in axes.get_yticks()) == whole


def test_a_map_needs_no_series(compose):
    shown = Map([1.0, 2.0], [1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]], "t [s]")
    assert len(compose(Panel("", "x", "y", [], x_scale="log", map=shown)).axes) == 2


def test_a_figure_of_an_older_record_is_drawn_as_ever(tmp_path):
    old = plain_figure(Panel("", "x", "y", [Series("a", [1, 2], [1, 2])]))
    _, new_svg = plotting.draw(old, tmp_path / "new")
    digest = plotting.data_digest(old)
    for panel in old["panels"]:
        del panel["marks"], panel["map"]
        for series in panel["series"]:
            del series["texts"]
    _, old_svg = plotting.draw(old, tmp_path / "old")
    marked = plotting.data_digest(old)
    assert old_svg.read_text().replace(marked, digest) == new_svg.read_text()


@pytest.mark.parametrize("panel", [crowd(), Panel("", "x", "y", [], map=Map([1], [1], [[2]], "t"))])
def test_a_record_may_hold_it(panel):
    schema = json.loads(record.SCHEMA_FILE.read_text())
    part = {"$ref": "#/$defs/figure", "$defs": schema["$defs"]}
    jsonschema.Draft202012Validator(part).validate(plain_figure(panel))


def test_a_drawing_that_fails_leaves_no_half_of_itself(tmp_path, monkeypatch):
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    def half(self, path, metadata):
        path.write_text("<svg>")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FigureCanvasSVG, "print_svg", half)
    with pytest.raises(OSError, match="No space left"):
        plotting.draw(plain_figure(crowd()), tmp_path)
    assert list(tmp_path.iterdir()) == []


BACKEND = """
import os
from jaxtrends import plotting
plotting.load_matplotlib()
import matplotlib
print(os.environ["MPLBACKEND"], matplotlib.get_backend(auto_select=False))
"""


@pytest.mark.parametrize(
    ("asked", "kept"), [("svg", "svg"), ("nonsense", "None"), ("module://no.such", None)]
)
def test_matplotlib_is_imported_whatever_backend_is_asked_for(asked, kept):
    """One that is there is still the user's; one that is not is as if none had been asked for."""
    run = subprocess.run(
        [sys.executable, "-c", BACKEND],
        capture_output=True,
        text=True,
        env=os.environ | {"MPLBACKEND": asked},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [asked, kept or asked]


# --- the places of names -----------------------------------------------------------------------


FRAME = np.array([0.0, 0.0, 200.0, 100.0])
NOTHING = np.empty((0, 2))


def choose(points, dots=NOTHING, size=(40.0, 10.0)):
    found = [label_placement.around(np.array(point), np.array(size), 3.0) for point in points]
    chosen = label_placement.choose(found, FRAME, np.asarray(dots), NOTHING, 2.0)
    return np.array([one.boxes[place] for one, place in zip(found, chosen, strict=True)])


def test_a_lone_name_stands_close_by_to_the_upper_right():
    ((left, bottom, right, top),) = choose([(100.0, 50.0)])
    assert 95 < left < 110
    assert 50 < (bottom + top) / 2 < 65
    assert (right - left, top - bottom) == pytest.approx((40.0, 10.0))


def test_names_give_way_to_points_and_to_the_frame():
    assert choose([(195.0, 95.0)])[0][2] <= 200
    wall = [(x, 58.0) for x in range(100, 145, 3)]
    (box,) = choose([(100.0, 50.0)], wall)
    inside = [box[0] < x < box[2] and box[1] < y < box[3] for x, y in wall]
    assert not any(inside)


def test_names_of_points_in_one_place_are_spread():
    boxes = choose([(100.0, 50.0)] * 6)
    for number, (left, bottom, right, top) in enumerate(boxes):
        for other in boxes[:number]:
            assert right <= other[0] or other[2] <= left or top <= other[1] or other[3] <= bottom


def test_more_names_than_room_are_still_placed():
    assert len(choose([(100.0, 50.0)] * 60)) == 60


def test_a_log_axis_within_a_decade_has_numbers(compose):
    points = [Series(f"{x}", [x], [1.0], style="points") for x in (33952, 41000, 46368)]
    axes = compose(Panel("", "parameters", "y", points, x_scale="log")).axes[0]
    low, high = axes.get_xlim()
    told = [float(tick.get_text()) for tick in axes.get_xticklabels() if tick.get_text()]
    assert sum(low < value < high for value in told) >= 2


@pytest.mark.parametrize("series", [[], [Series("diverged", [], [])]])
def test_a_log_axis_without_a_point_is_drawn(compose, series):
    """No lane was finite, or none reached a target."""
    compose(Panel("", "population", "y", series, x_scale="log", y_scale="log"))
