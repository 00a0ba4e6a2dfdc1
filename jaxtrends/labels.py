"""Names inside a drawing: of landmarks, of rules, and of series where no legend has them.

`jaxtrends.label_placement` finds their places. Names of vertical rules are flags above the frame,
where no line can cross them; all others lie inside it.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxtrends import label_placement
from jaxtrends.label_placement import Candidates

ROW = 1.35  # height of a row of flags, in sizes of its text
GREY = "#808080"
WIDEST = 26  # characters in a line of a series' name
MORE_ROOM = 0.12  # of an axis, above what is drawn, where names found none
TRIES = 4
LANDMARK_AIR, SERIES_AIR = np.array([0.5, 0.5]), np.array([4.0, 1.0])  # on each side, in points


@dataclass(frozen=True)
class Name:
    """A name to be placed: its text as an artist, the pixel that it names, where it may go.

    One farther than ``led`` points from what it names is led back to it by a line. On each side of
    it there are at least so many points of ``air`` (2,).
    """

    artist: Any
    at: np.ndarray
    places: Candidates
    led: float
    air: np.ndarray


def fly(drawing: Any, axes: Any, marks: Mapping[str, float], size: float) -> float:
    """Name vertical rules by flags above the frame of a drawing that is laid out.

    Args:
        drawing: the figure.
        axes:    those with the rules.
        marks:   name -> x.
        size:    of the text, in points.

    Returns:
        The height that the flags take above the frame, in points.
    """
    point = drawing.dpi / 72
    renderer = drawing.canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    names = [_name(axes, text, (float(x), 1.0), True, size) for text, x in marks.items()]
    at = axes.transData.transform([(float(x), 1.0) for x in marks.values()])[:, 0]
    widths = np.array([name.get_window_extent(renderer).width for name in names]) + 4 * point
    ends = (frame.x0 - 20 * point, frame.x1 + 6 * point)
    found = label_placement.flags(at, widths, ends)
    for name, flag in zip(names, found, strict=True):
        foot = flag.row * ROW * size + 2
        name.set_position((-2 if flag.left else 2, foot))
        name.set_ha("right" if flag.left else "left")
        look = {"linewidth": 0.9, "linestyle": (0, (6, 2)), "shrinkB": 0}
        _line(axes, name.xy, True, (0, foot + size), **look)
    return (1 + max(flag.row for flag in found)) * ROW * size + 2


def write(
    drawing: Any,
    axes: Any,
    panel: Mapping[str, Any],
    size: float,
    inks: Mapping[str, str] | None,
    lay_out: Callable[[], None],
) -> None:
    """Write the names of a panel's landmarks, and where there is no legend those of its series.

    Args:
        drawing: the figure, laid out.
        axes:    those of the panel.
        panel:   a `jaxtrends.study.Panel` as plain data.
        size:    of the text, in points.
        inks:    label of a series or rule -> the colour of its name; None: a legend has them.
        lay_out: lays the drawing out once more, after a change of the axes: where the names of
                 series find no free place, there is more room made for them above.
    """
    names: list[Name] = []
    for attempt in range(TRIES):
        things = _things(drawing, axes, panel)
        frame = _frame(drawing, axes)
        dots = np.concatenate([np.empty((0, 2)), *(one.dots for one in things)])
        traces = np.concatenate([np.empty((0, 2)), *(one.traces for one in things)])
        names = _landmarks(drawing, axes, panel, size)
        if inks is not None:
            names += _series(drawing, axes, things, size, inks)
        point = drawing.dpi / 72
        places = [name.places for name in names]
        found = label_placement.choose(places, frame, dots, traces, 3 * point)
        crossed = label_placement.crossed(places, found, dots, traces)
        if inks is None or not crossed or attempt == TRIES - 1:
            break
        for name in names:
            name.artist.remove()
        _make_room(axes)
        lay_out()
    for name, index in zip(names, found, strict=True):
        box, (start, end) = name.places.boxes[index], name.places.leaders[index]
        name.artist.set_position((box[:2] - name.at) / point + name.air)
        if panel.get("map"):
            outline(name.artist)
        if np.hypot(*(end - start)) > name.led * point:
            landmark = np.allclose(start, name.at)
            at = name.artist.xy if landmark else axes.transData.inverted().transform(start)
            _line(axes, at, False, (end - start) / point, linewidth=0.5)


def outline(drawn: Any) -> None:
    """A white rim, so that what lies over a map is seen on its dark parts too."""
    from matplotlib.patheffects import Normal, withStroke

    for artist in drawn.get_children() or [drawn]:
        artist.set_path_effects([withStroke(linewidth=2.5, foreground="white"), Normal()])


# --- what is drawn, in pixels ------------------------------------------------------------------


@dataclass(frozen=True)
class _Thing:
    """A series or rule as it lies on the screen: markers (n, 2), and points along lines (m, 2)."""

    label: str
    dots: np.ndarray
    traces: np.ndarray


def _things(drawing: Any, axes: Any, panel: Mapping[str, Any]) -> list[_Thing]:
    step = 4 * drawing.dpi / 72
    found = []
    for series in panel["series"]:
        lines = [_on_screen(axes, series["x"], series["y"])]
        dots = np.empty((0, 2))
        low, high = series["low"], series["high"]
        if series["style"] == "reported":
            dots = lines[0]
        elif series["style"] == "points":
            dots = lines.pop()
            if low is not None and high is not None:
                bars = zip(series["x"], low, high, strict=True)
                lines = [_on_screen(axes, [x, x], ends) for x, *ends in bars]
        elif series["style"] == "steps":
            lines[0] = np.repeat(lines[0], 2, axis=0)
            lines[0][1:-1:2, 1], lines[0][1:-1:2, 0] = lines[0][:-2:2, 1], lines[0][2::2, 0]
        elif low is not None and high is not None:
            lines += _across(axes, series)
        filled = [_filled(line, step) for line in lines]
        found.append(_Thing(series["label"], dots, np.concatenate([np.empty((0, 2)), *filled])))
    if panel["threshold"] is not None:
        ends = axes.get_xlim()
        rule = _on_screen(axes, ends, [panel["threshold"]] * 2)
        found.append(_Thing(panel["threshold_label"], np.empty((0, 2)), _filled(rule, step)))
    for x in panel.get("marks", {}).values():
        rule = _on_screen(axes, [x] * 2, axes.get_ylim())
        found.append(_Thing("", np.empty((0, 2)), _filled(rule, step)))
    return found


def _across(axes: Any, series: Mapping[str, Any]) -> list[np.ndarray]:
    """Lines through a band, which stand for it: its edges, and others between."""
    y, *edges = (_array(series[name]) for name in ("y", "low", "high"))
    return [
        _on_screen(axes, series["x"], (1 - share) * y + share * edge)
        for edge in edges
        for share in (0.5, 1.0)
    ]


def _array(values: Sequence[Any]) -> np.ndarray:
    return np.asarray([float(value) for value in values])


def _on_screen(axes: Any, x: Sequence[Any], y: Sequence[Any]) -> np.ndarray:
    """Points in pixels (n, 2), without those that cannot be shown."""
    with np.errstate(all="ignore"):
        points = axes.transData.transform(np.stack([_array(x), _array(y)], axis=-1))
    return points[np.isfinite(points).all(axis=1)]


def _filled(points: np.ndarray, step: float) -> np.ndarray:
    """A polyline (n, 2) as points at most ``step`` apart."""
    pieces = [
        a + (b - a) * np.linspace(0, 1, max(2, math.ceil(np.hypot(*(b - a)) / step)))[:, None]
        for a, b in itertools.pairwise(points)
    ]
    return np.concatenate([points[:1], *pieces])


def _frame(drawing: Any, axes: Any) -> np.ndarray:
    inner = axes.get_window_extent(drawing.canvas.get_renderer()).padded(-2 * drawing.dpi / 72)
    return np.array(inner.extents)


# --- names, still to be placed -----------------------------------------------------------------


def _landmarks(drawing: Any, axes: Any, panel: Mapping[str, Any], size: float) -> list[Name]:
    point = drawing.dpi / 72
    names = []
    for series in panel["series"]:
        for x, y, text in zip(series["x"], series["y"], series.get("texts") or (), strict=False):
            if text:
                at = axes.transData.transform((float(x), float(y)))
                artist = _name(axes, text, (float(x), float(y)), False, size)
                extent = _extent(drawing, artist, LANDMARK_AIR)
                places = label_placement.around(at, extent, 3.5 * point)
                names.append(Name(artist, at, places, 7.0, LANDMARK_AIR))
    return names


def _series(
    drawing: Any, axes: Any, things: Sequence[_Thing], size: float, inks: Mapping[str, str]
) -> list[Name]:
    """Names of series and of the horizontal rule, one a label, near to all that bears it."""
    point = drawing.dpi / 72
    names = []
    for label in dict.fromkeys(thing.label for thing in things if thing.label in inks):
        own, others = (
            np.concatenate([np.empty((0, 2)), *(np.concatenate([t.traces, t.dots]) for t in some)])
            for some in (
                [thing for thing in things if thing.label == label],
                [thing for thing in things if thing.label != label],
            )
        )
        if not len(own):
            continue
        corner = np.array([axes.get_xlim()[0], axes.get_ylim()[0]])
        artist = _name(
            axes,
            textwrap.fill(label, WIDEST, break_long_words=False),
            tuple(map(float, corner)),
            False,
            size,
        )
        artist.set_color(inks[label])
        extent = _extent(drawing, artist, SERIES_AIR)
        frame = _frame(drawing, axes)
        places = label_placement.near(own, others, extent, frame, 3.5 * point)
        at = axes.transData.transform(corner)
        names.append(Name(artist, at, places, 16.0, SERIES_AIR))
    return names


def _extent(drawing: Any, artist: Any, air: np.ndarray) -> np.ndarray:
    """Width and height of a text, with its air, in pixels."""
    box = artist.get_window_extent(drawing.canvas.get_renderer())
    return np.array(box.size) + 2 * air * drawing.dpi / 72


def _make_room(axes: Any) -> None:
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log":
        axes.set_ylim(low, high * (high / low) ** MORE_ROOM)
    else:
        axes.set_ylim(low, high + (high - low) * MORE_ROOM)


def _name(axes: Any, text: str, at: tuple[float, float], above: bool, size: float) -> Any:
    """A name as an annotation of the point ``at``, which may be above; the layout ignores it."""
    name = axes.annotate(
        text,
        at,
        (0, 0),
        xycoords=axes.get_xaxis_transform() if above else "data",
        textcoords="offset points",
        fontsize=size,
        ha="left",
        va="bottom",
        zorder=5,
        annotation_clip=False,
    )
    name.set_in_layout(False)
    return name


def _line(
    axes: Any, at: Sequence[float], above: bool, offset: Sequence[float], **look: Any
) -> None:
    """A line from a point, as `_name` takes it, to an offset from it in points."""
    line = axes.annotate(
        "",
        at,
        offset,
        xycoords=axes.get_xaxis_transform() if above else "data",
        textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": GREY, "shrinkA": 0, **look},
        zorder=2.8,
        annotation_clip=False,
    )
    line.set_in_layout(False)
