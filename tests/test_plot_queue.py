"""Figures drawn beside other work: all of them, the same bits, whatever becomes of the process."""

import time

import pytest

from jaxtrends import plot_queue, plotting, record
from jaxtrends.plot_queue import PlotQueue
from jaxtrends.study import Figure, Panel, Series

PANEL = Panel("", "x", "y", [Series("a", [1, 2], [3, 4])])
MADE = [record.plain(Figure(f"figure-{number}", "A title", "", [PANEL])) for number in range(5)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    for figure in MADE:
        plotting.draw(figure, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def drawn(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_processes_draw_what_one_does(alone, tmp_path):
    with PlotQueue() as busy:
        busy.order(MADE[:2], tmp_path / "a")
        busy.order(MADE[2:], tmp_path / "b")
        busy.finish()
    assert drawn(tmp_path / "a") | drawn(tmp_path / "b") == alone
    assert len(drawn(tmp_path / "a")) == 4


def test_the_process_draws_by_itself_and_takes_orders_at_any_time(alone, tmp_path):
    with PlotQueue() as busy:
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
    monkeypatch.setattr(plot_queue.sys, "executable", "/nowhere/python")
    with PlotQueue() as busy:
        busy.order(MADE, tmp_path)
        busy.finish()
    assert drawn(tmp_path) == alone


def test_a_process_that_is_killed_costs_no_figure(alone, tmp_path):
    with PlotQueue() as busy:
        busy.order(MADE, tmp_path)
        until = time.monotonic() + 60
        while busy._process is None and time.monotonic() < until:
            time.sleep(0.01)
        busy._process.kill()
        busy.finish()
    assert drawn(tmp_path) == alone


@pytest.mark.parametrize("fault", [ValueError("no backend\nat all."), OSError(28, "No space left")])
def test_what_cannot_be_drawn_is_told_and_raises_nothing(tmp_path, monkeypatch, fault):
    def fail(figure, directory):
        raise fault

    monkeypatch.setattr(plot_queue.sys, "executable", "/nowhere/python")
    with PlotQueue() as busy:
        busy.finish()
        assert busy.complaint == ""
        monkeypatch.setattr(plot_queue.plotting, "draw", fail)
        busy.order(MADE, tmp_path)
        busy.finish()
        assert {path.name for path in busy.undrawn} == {f"figure-{n}.svg" for n in range(5)}
        reason = str(fault).partition("\n")[0]
        assert busy.complaint.endswith(f".svg and 4 more could not be drawn ({reason})")


def test_a_name_of_any_language_is_drawn_by_the_process(tmp_path):
    figure = {**MADE[0], "name": "große-図"}
    with PlotQueue() as busy:
        busy._process = plot_queue._start()
        assert busy._drawn_there(plot_queue.Order(figure, tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"große-図.svg", "große-図.png"}


def test_closing_ends_the_process_and_leaves_the_rest_undrawn(tmp_path):
    busy = PlotQueue()
    busy.order(MADE, tmp_path)
    busy.close()
    assert busy._process is None
    assert len(list(tmp_path.iterdir())) < 2 * len(MADE)
