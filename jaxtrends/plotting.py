"""Drawing: a figure's data to SVG and PNG, with the digest of what was plotted inside each file.

The look is the same for every figure: one column's width a panel, the Okabe-Ito palette (which
readers with colour-blindness can tell apart), a marker of its own for every series (so that it
survives a grey printer), theory in black dashes, the legend outside the axes. A figure that stands
alone is larger, says its title, and names each series where it lies. `jaxtrends.labels` has the
names of these, and those of landmarks and vertical rules.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxtrends import fonts, labels, record

PANEL_WIDTH = 3.4  # inches: one column of a two-column paper
PANEL_HEIGHT = 2.5
PNG_DPI = 200

# Okabe and Ito's colours, in the order of how well they stand out; black is theory's, and yellow,
# which hardly shows on white, is left out. Purple and brown are for figures of many series.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A3FB0", "#8C6239")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")
THEORY_DASHES = ((0, (4, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (8, 3)))
STEP_LINES = ("solid", (0, (1, 0.6)), (0, (5, 1)), (0, (3, 1, 1, 1)))
MANY = 30  # points of a cloud, which are drawn smaller
REPORTED = ("*", "P", "X")  # the paper's own figures
COLOUR_MAP = "viridis"  # even steps of lightness: also for the colour-blind, and in grey
TEXT_SIZE = 7  # of labels inside the axes
STANDALONE_SIZE = (5.2, 3.3)  # inches, below the title
STANDALONE_TEXT = 9
TITLE_WIDTH = 52  # characters
INK = 0.72  # what a colour is multiplied by for text, which needs more contrast than a line
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

STYLE = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 6,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-4, 5),
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.columnspacing": 1.4,
    "legend.labelspacing": 0.35,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.2,
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "svg.hashsalt": "jaxtrends",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a dollar in somebody's data is a dollar
}

STANDALONE = {
    "font.size": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.5,
    "figure.titlesize": 11.5,
}

DIGEST_LABEL = "Digest of the plotted data (SHA-256): "


def data_digest(figure: Mapping[str, Any]) -> str:
    """SHA-256 of all that is drawn: a figure's panels, and its title where it stands alone."""
    if figure.get("standalone"):
        return record.digest([figure["title"], figure["panels"]])
    return record.digest(figure["panels"])


def drawn_from(path: Path) -> str:
    """The digest of the data that a drawing was made from, read from the file; "" if it has none.

    PNG keeps it in a text chunk, SVG in its metadata: in both as plain ASCII.
    """
    found = re.search(re.escape(DIGEST_LABEL).encode() + rb"([0-9a-f]{64})", path.read_bytes())
    return found[1].decode() if found else ""


def draw(figure: Mapping[str, Any], directory: Path) -> list[Path]:
    """Draw a figure as ``<name>.svg`` and ``<name>.png``.

    Args:
        figure:    a `jaxtrends.study.Figure` as plain data.
        directory: where the files go; it is made if it is missing.

    Returns:
        The two paths. The same data give the same SVG, byte for byte, with the same Matplotlib,
        and the same fonts where its own lacks a character.

    Raises:
        OSError: a file cannot be written; none is left that is not whole.
    """
    load_matplotlib()
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    note = f"{figure['title']} {DIGEST_LABEL}{data_digest(figure)}"
    described = {"Title": figure["title"], "Description": note}
    metadata = {".png": {"Software": None, **described}, ".svg": {"Date": None, **described}}
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{figure['name']}{suffix}" for suffix in metadata]
    letters = fonts.settings(json.dumps(figure["panels"], ensure_ascii=False))
    look = STYLE | (STANDALONE if figure.get("standalone") else {})
    try:
        with style.context(["default", look | letters]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # it is a box
            drawing = compose(figure)
            # The canvases themselves: `savefig` lays out and draws everything twice for each file.
            for path, canvas in zip(paths, (FigureCanvasAgg, FigureCanvasSVG), strict=True):
                write = getattr(canvas(drawing), f"print_{path.suffix[1:]}")
                write(path, metadata=metadata[path.suffix])
    except BaseException:
        for path in paths:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    return paths


def load_matplotlib() -> None:
    """Import Matplotlib whatever $MPLBACKEND says, which our canvases do without.

    A notebook sets it for the programs that it starts, to a backend that their environment may
    lack, and then the import fails. A backend that is there is the user's afterwards as ever.
    """
    asked = os.environ.get("MPLBACKEND")
    if "matplotlib" in sys.modules or not asked:
        return
    del os.environ["MPLBACKEND"]
    try:
        import matplotlib
    finally:
        os.environ["MPLBACKEND"] = asked
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = asked


def compose(figure: Mapping[str, Any]) -> Any:
    """A figure as a `matplotlib.figure.Figure`, in the style that is set by the caller."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels, standalone = figure["panels"], figure.get("standalone", False)
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = (PANEL_WIDTH * columns, PANEL_HEIGHT * rows)
    if standalone:
        size = STANDALONE_SIZE
    elif len(panels) == 1 and any(series.get("texts") for series in panels[0]["series"]):
        size = (PANEL_WIDTH * 2, PANEL_HEIGHT * 1.7)  # names need the room of both columns
    # At a low resolution the widths of text, by which the legend is laid out, come out wrong.
    drawing = Figure(figsize=size, dpi=PNG_DPI, layout="constrained")
    FigureCanvasAgg(drawing)
    grid = list(drawing.subplots(rows, columns, squeeze=False).flat)
    looks = _looks(panels)
    handles: dict[str, Any] = dict.fromkeys(look["label"] for look in looks.values())
    for number, (axes, panel) in enumerate(zip(grid, panels, strict=False)):
        letter = f"({'abcdefghijklmnop'[number]}) " if len(panels) > 1 else ""
        axes.set_title(_wrapped(letter + panel["title"], 42))
        _draw_panel(axes, panel, looks, handles)
    if standalone:
        _draw_title(drawing, figure["title"])
    else:
        _draw_legend(drawing, grid[len(panels) :], handles)
    _draw_names(drawing, grid, panels, _inks(panels, looks) if standalone else None)
    return drawing


def _draw_title(drawing: Any, title: str) -> None:
    """What a figure says, above it."""
    lines = _wrapped(title, TITLE_WIDTH)
    drawing.suptitle(lines, x=0.02, ha="left", fontweight="bold")
    width, height = drawing.get_size_inches()
    drawing.set_size_inches(width, height + 0.22 * len(lines.splitlines()))


def _inks(
    panels: Sequence[Mapping[str, Any]], looks: Mapping[tuple[str, str], Mapping[str, Any]]
) -> dict[str, Any]:
    """Label of a series or a rule -> the colour of its name: its own, darker."""
    from matplotlib.colors import to_rgb

    drawn = {panel["threshold_label"]: labels.GREY for panel in panels if panel["threshold_label"]}
    for (kind, label), look in looks.items():
        if kind != "theory" or label not in drawn:
            drawn[label] = look["color"]
    return {label: tuple(INK * part for part in to_rgb(one)) for label, one in drawn.items()}


def _draw_names(
    drawing: Any,
    grid: Sequence[Any],
    panels: Sequence[Mapping[str, Any]],
    inks: Mapping[str, Any] | None,
) -> None:
    """Lay out the figure, and write into it what bears its name in place."""
    size = STANDALONE_TEXT if inks is not None else TEXT_SIZE

    def lay_out() -> None:
        drawing.get_layout_engine().execute(drawing)

    lay_out()
    room = max(  # of flags above the panels
        labels.fly(drawing, axes, panel["marks"], size) if panel.get("marks") else 0.0
        for axes, panel in zip(grid, panels, strict=False)
    )
    if room:
        for axes, panel in zip(grid, panels, strict=False):
            title = axes.get_title(loc="left") or (" " if panel.get("marks") else "")
            axes.set_title(title, pad=room + 4)
        width, height = drawing.get_size_inches()
        rows = math.ceil(len(grid) / min(2, len(panels)))
        drawing.set_size_inches(width, height + room / 72 * rows)
        lay_out()
    for axes, panel in zip(grid, panels, strict=False):
        if inks is not None or any(series.get("texts") for series in panel["series"]):
            labels.write(drawing, axes, panel, size, inks, lay_out)
    drawing.set_layout_engine("none")  # which keeps what was laid out


# --- what a series looks like ------------------------------------------------------------------


def _labels(panels: Sequence[Mapping[str, Any]], *styles: str) -> list[str]:
    found = (s["label"] for panel in panels for s in panel["series"] if s["style"] in styles)
    return list(dict.fromkeys(found))


def _looks(panels: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, label) -> how to draw it, the same in every panel of a figure."""
    looks: dict[tuple[str, str], dict[str, Any]] = {}
    measured = _labels(panels, "line", "points", "steps")
    for number, label in enumerate(_labels(panels, "reported")):
        looks["reported", label] = {
            "color": "black",
            "marker": REPORTED[number % len(REPORTED)],
            "markersize": 10,
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
            "linestyle": (0, (1, 1.5)),
            "linewidth": 1.0,
            "label": label,
        }
    for number, label in enumerate(measured):
        looks["measured", label] = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number % len(MARKERS)],
            "markeredgecolor": "white",
            "markeredgewidth": 0.5,
            "label": label,
        }
    for number, label in enumerate(_labels(panels, "steps")):
        looks["steps", label] = {
            "color": looks["measured", label]["color"],
            "linestyle": STEP_LINES[number % len(STEP_LINES)],
            "label": label,
        }
    dashes = 0
    for label in _labels(panels, "theory"):
        # A law that bears the name of what was measured runs through its points: one entry for all.
        own = label not in measured
        looks["theory", label] = {
            "color": "black",
            "linestyle": THEORY_DASHES[dashes % len(THEORY_DASHES) if own else 0],
            "linewidth": 1.0,
            "label": label if own else "theory",
        }
        dashes += own
    return looks


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width, break_long_words=False))


def _array(values: Sequence[Any]) -> np.ndarray:
    return np.asarray([float(value) for value in values])


def _draw_panel(
    axes: Any,
    panel: Mapping[str, Any],
    looks: Mapping[tuple[str, str], dict[str, Any]],
    handles: dict[str, Any],
) -> None:
    axes.set_xlabel(_wrapped(panel["x_label"].removesuffix(" [1]"), 48))
    axes.set_ylabel(_wrapped(panel["y_label"].removesuffix(" [1]"), 32))
    axes.set_xscale(panel["x_scale"])
    axes.set_yscale(panel["y_scale"])
    log = panel["y_scale"] == "log"
    if panel.get("map"):
        _draw_map(axes, panel)
    crowded = any(len(s["x"]) > MANY for s in panel["series"] if s["style"] == "points")
    for number, series in enumerate(panel["series"]):
        kind = "measured" if series["style"] in ("line", "points") else series["style"]
        look = looks[kind, series["label"]]
        x, y = _array(series["x"]), _visible(_array(series["y"]), log)
        band = series["low"] is not None and series["high"] is not None
        low, high = (_array(series["low"]), _array(series["high"])) if band else (y, y)
        if series["style"] == "points":
            look = {**look, "markersize": 3.5} if crowded else look
            drawn = _draw_points(axes, look, x, y, _visible(low, log), _visible(high, log))
        elif kind == "steps":
            (drawn,) = axes.step(x, y, where="post", zorder=2.5, **look)
            axes.fill_between(x, y, step="post", color=look["color"], alpha=0.18, linewidth=0)
        else:
            order = 2.5 if kind == "measured" else 3.5  # a law lies over what was measured
            every = _every(x.size, number, len(panel["series"])) if kind != "reported" else None
            dot = {"marker": "_", "markersize": 14} if kind == "theory" and x.size == 1 else {}
            (drawn,) = axes.plot(x, y, zorder=order, markevery=every, **look, **dot)
            if band:
                low, high = _visible(low, log), _visible(high, log)
                axes.fill_between(x, low, high, color=look["color"], alpha=0.18, linewidth=0)
        handles[look["label"]] = drawn
        lost = ~np.isfinite(_array(series["y"]))
        if lost.any() and not lost[0]:
            end = int(lost.argmax()) - 1
            at_end = {"marker": "x", "color": "black", "markersize": 6, "linestyle": "none"}
            (cross,) = axes.plot(x[end], y[end], markeredgewidth=1.3, zorder=4, **at_end)
            handles.setdefault("diverged from here on", cross)
        if panel.get("map"):
            labels.outline(drawn)
    if panel["threshold"] is not None:
        rule = axes.axhline(panel["threshold"], color=labels.GREY, linewidth=1.1, zorder=2)
        handles[panel["threshold_label"] or "threshold"] = rule
    for x in panel.get("marks", {}).values():
        axes.axvline(x, color=labels.GREY, linewidth=0.9, linestyle=(0, (6, 2)), zorder=2)
    _ticks(axes, panel)


def _visible(values: np.ndarray, log: bool) -> np.ndarray:
    """What cannot be shown (not finite, or not above zero on a log scale) becomes a gap."""
    shown = np.isfinite(values) & ((values > 0) if log else True)
    return np.where(shown, values, np.nan)


def _draw_points(
    axes: Any, look: Mapping[str, Any], x: np.ndarray, y: np.ndarray, low: Any, high: Any
) -> Any:
    # An end that cannot be shown leaves its half of the bar out; hollow markers, since the points
    # of several series often lie on top of each other.
    errors = np.nan_to_num(np.stack([y - low, high - y]), nan=0.0).clip(min=0.0)
    hollow = {"markerfacecolor": "none", "markeredgecolor": look["color"], "markeredgewidth": 1.1}
    return axes.errorbar(
        x,
        y,
        yerr=errors if errors.any() else None,
        linestyle="none",
        elinewidth=0.9,
        capsize=2.0,
        zorder=3,
        **{**look, **hollow},
    )


def _edges(centres: np.ndarray, log: bool) -> np.ndarray:
    """The edges of cells with these centres (n,), halfway between them on their scale: (n + 1,)."""
    at = np.log(centres) if log else centres
    if at.size == 1:
        edges = at[0] + np.array([-0.5, 0.5])
    else:
        middle = (at[1:] + at[:-1]) / 2
        edges = np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
    return np.exp(edges) if log else edges


def _draw_map(axes: Any, panel: Mapping[str, Any]) -> None:
    """A matrix by colour with its colour bar; an image, since edges of vector cells shine through.

    What is not finite is white.
    """
    shown = panel["map"]
    values = np.array([[float(value) for value in row] for row in shown["values"]])
    mesh = axes.pcolormesh(
        _edges(_array(shown["x"]), panel["x_scale"] == "log"),
        _edges(_array(shown["y"]), panel["y_scale"] == "log"),
        np.ma.masked_invalid(values),
        cmap=COLOUR_MAP,
        rasterized=True,
        zorder=1,
    )
    axes.grid(False)
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.03)
    bar.outline.set_linewidth(0.7)
    bar.set_label(_wrapped(shown["label"].removesuffix(" [1]"), 32))


def _every(points: int, number: int, series: int) -> tuple[int, int]:
    """Markers on every point of a short line, on some eight of a long one, no two in one place."""
    step = 1 if points <= 12 else math.ceil(points / 8)
    return (number * step // series, step)


def _ticks(axes: Any, panel: Mapping[str, Any]) -> None:
    """Plain numbers where a log axis has few values or covers little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for axis, scale in ((axes.xaxis, panel["x_scale"]), (axes.yaxis, panel["y_scale"])):
        if scale == "linear":
            axis.get_major_locator().set_params(
                steps=(1, 2, 5, 10),  # 2012.5 is no year
                integer=_counts_cells(panel),
            )
        if scale == "log":
            axis.set_major_formatter(FuncFormatter(_power_of_ten))
            axis.set_minor_formatter(NullFormatter())
    x = np.unique(np.concatenate([[], *(_array(series["x"]) for series in panel["series"])]))
    if panel["x_scale"] == "log" and x.size:  # series may be empty: no lane was finite
        apart = x.size == 1 or (x[1:] / x[:-1]).min() > 1.5
        if x.size <= 8 and (x > 0).all() and apart and x[-1] < 1e5:
            if x.size == 1:  # of which a log axis makes nothing
                axes.set_xlim(x[0] / 2, x[0] * 2)
            axes.set_xticks(x, minor=False)
            axes.xaxis.set_major_formatter(plain)
            axes.xaxis.set_minor_locator(NullLocator())
        elif not _has_power_of_ten(*axes.get_xlim()):
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 2.5, 5, 10)))
            axes.xaxis.set_major_formatter(plain)
            axes.xaxis.set_minor_locator(NullLocator())
        elif x[0] > 1e-3 and x[-1] < 1e5 and 6 < x[-1] / x[0] < 100:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(plain)
            axes.xaxis.set_minor_locator(NullLocator())
    if panel["y_scale"] == "log":
        low, high = axes.get_ylim()
        decades = math.log10(high / low)
        if decades < 2 and low > 1e-3 and high < 1e5:
            near = MaxNLocator(5, steps=(1, 2, 2.5, 5, 10))
            axes.yaxis.set_major_locator(near if decades < 0.8 else LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(plain)
            axes.yaxis.set_minor_locator(NullLocator())


def _has_power_of_ten(low: float, high: float) -> bool:
    return math.floor(math.log10(high)) >= math.ceil(math.log10(low))


def _counts_cells(panel: Mapping[str, Any]) -> bool:
    """Whether a map's cells are numbered, so that nothing lies between two numbers."""
    shown = panel.get("map")
    return bool(shown) and all(float(at).is_integer() for at in (*shown["x"], *shown["y"]))


def _power_of_ten(value: float, _: int) -> str:
    """10³ in plain text: to set it as a formula takes Matplotlib a hundred times as long."""
    exponent = round(math.log10(value))
    return f"10{str(exponent).translate(SUPERSCRIPTS)}"


def _draw_legend(drawing: Any, empty: Sequence[Any], handles: Mapping[str, Any]) -> None:
    """One legend for the whole figure: in an empty place of the grid, else below the panels."""
    handles = {label: handle for label, handle in handles.items() if label}
    for axes in empty:
        axes.axis("off")
    if not handles:
        return
    if empty:
        empty[0].legend(handles.values(), handles.keys(), loc="center left")
        return
    width, height = drawing.get_size_inches()
    for rows in range(1, len(handles) + 1):
        legend = drawing.legend(
            handles.values(),
            handles.keys(),
            loc="outside lower center",
            ncols=math.ceil(len(handles) / rows),
        )
        box = legend.get_window_extent(drawing.canvas.get_renderer())
        if box.width / drawing.dpi <= width - 0.1:
            break
        if rows < len(handles):
            legend.remove()
    drawing.set_size_inches(width, height + box.height / drawing.dpi)
