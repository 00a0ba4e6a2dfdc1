"""Figures drawn beside other work: all of them, the same bits, whatever becomes of the process."""

import time

import pytest

from jaxtrends import figures, painter, record
from jaxtrends.painter import Painter
from jaxtrends.study import Figure, Panel, Series

PANEL = Panel("", "x", "y", [Series("a", [1, 2], [3, 4])])
MADE = [record.plain(Figure(f"figure-{number}", "A title", "", [PANEL])) for number in range(5)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    for figure in MADE:
        figures.draw(figure, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def drawn(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_processes_draw_what_one_does(alone, tmp_path):
    with Painter() as busy:
        busy.order(MADE[:2], tmp_path / "a")
        busy.order(MADE[2:], tmp_path / "b")
        busy.finish()
    assert drawn(tmp_path / "a") | drawn(tmp_path / "b") == alone
    assert len(drawn(tmp_path / "a")) == 4


def test_the_process_draws_by_itself_and_takes_orders_at_any_time(alone, tmp_path):
    with Painter() as busy:
        for figure in MADE[:2]:
            busy.order([figure], tmp_path)
            until = time.monotonic() + 60
            while not (tmp_path / f"{figure['name']}.svg").exists() and time.monotonic() < until:
                time.sleep(0.05)
        busy.finish()
        assert drawn(tmp_path).items() <= alone.items()
        assert len(drawn(tmp_path)) == 4
        busy.order(MADE[2:], tmp_path)
        busy.finish()
    assert drawn(tmp_path) == alone


def test_a_process_that_never_starts_costs_no_figure(alone, tmp_path, monkeypatch):
    monkeypatch.setattr(painter.sys, "executable", "/nowhere/python")
    with Painter() as busy:
        busy.order(MADE, tmp_path)
        busy.finish()
    assert drawn(tmp_path) == alone


def test_a_process_that_is_killed_costs_no_figure(alone, tmp_path):
    with Painter() as busy:
        busy.order(MADE, tmp_path)
        until = time.monotonic() + 60
        while busy._process is None and time.monotonic() < until:
            time.sleep(0.01)
        busy._process.kill()
        busy.finish()
    assert drawn(tmp_path) == alone


def test_closing_ends_the_process_and_leaves_the_rest_undrawn(tmp_path):
    busy = Painter()
    busy.order(MADE, tmp_path)
    busy.close()
    assert busy._process is None
    assert len(list(tmp_path.iterdir())) < 2 * len(MADE)
