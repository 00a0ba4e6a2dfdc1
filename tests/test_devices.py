"""How many lanes run as one block, and how many blocks at a time, by what a device has."""

from __future__ import annotations

import math

import pytest

from jaxtrends import devices
from jaxtrends.errors import Problem


class Device:
    """A device that says how much memory it has."""

    def __init__(self, platform, limit=0):
        self.platform, self._limit = platform, limit

    def memory_stats(self):
        return {"bytes_limit": self._limit, "bytes_in_use": 0} if self._limit else None


def test_how_many_blocks_are_in_flight(monkeypatch):
    first, second = pair = [Device("gpu", 100), Device("gpu", 100)]
    assert devices.in_flight(pair, 3, 1e9) == [first, second, first]
    assert devices.in_flight(pair, 1, 1.0) == [first]
    assert devices.in_flight(pair, None, 50.0) == pair * 2
    assert devices.in_flight(pair, None, 51.0) == pair
    assert devices.in_flight(pair, None, 1e9) == pair  # it may fit all the same; the run will say
    assert devices.in_flight([Device("tpu")], None, 1e9)[1:]  # which does not say what it has
    cores = [Device("cpu"), Device("cpu")]
    assert devices.in_flight(cores, None, 1.0) == cores
    monkeypatch.setattr(devices, "free_memory", lambda device: 100.0)
    assert devices.in_flight(cores, None, 60.0) == cores[:1]
    with pytest.raises(Problem, match="--blocks-in-flight must be at least 1, not 0"):
        devices.in_flight(cores, 0, 1.0)


def room_for(lanes):
    """Memory that holds a block of so many lanes, each of ten bytes beside 30 shared."""
    return "gpu", (30 + 10 * lanes) / devices.BLOCK_SHARE


def needed(lanes):
    return 30 + 10 * lanes


def test_a_cpu_runs_a_lane_by_itself():
    assert devices.block(40, "cpu", 1e12, needed) == 1


@pytest.mark.parametrize(
    ("lanes", "fit", "expected"),
    [(40, 40, 40), (40, 100, 40), (40, 39, 20), (40, 14, 14), (41, 14, 14), (9, 4, 3), (5, 1, 1)],
)
def test_an_accelerator_takes_the_fewest_blocks_that_fit(lanes, fit, expected):
    assert devices.block(lanes, *room_for(fit), needed) == expected


def test_a_block_that_no_compiler_makes_room_for_is_halved():
    tried = []

    def compiled(lanes):
        tried.append(lanes)
        return math.inf if lanes > 8 else needed(lanes)

    assert devices.block(32, *room_for(20), compiled) == 8
    assert tried == [32, 16, 8]


def test_a_lane_that_does_not_fit_is_tried_all_the_same():
    assert devices.block(4, *room_for(0), needed) == 1
    assert devices.block(4, *room_for(0), lambda lanes: math.inf) == 1


def test_a_device_that_does_not_say_what_it_has_takes_all_lanes():
    assert devices.memory(Device("tpu")) == math.inf
    assert devices.memory(Device("gpu", 100)) == 100
    assert devices.block(40, "tpu", math.inf, needed) == 40
