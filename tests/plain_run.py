"""A study run by itself, without the driver's effects."""

from __future__ import annotations

from jaxtrends import sweep, timing


class PlainRun:
    """`jaxtrends.study.Run` in this process: lanes one at a time, no checkpoints, nothing shown."""

    def __init__(self, study, datasets=None, methods=None):
        self.study, self.methods = study, methods or {}
        self.lanes, self.tables, self.calls = [], [], []
        self._datasets = datasets or {}

    def dataset(self, name):
        return self._datasets[name]

    def train(self, label, trainer, lanes, data, *, steps, log_every, test=True):
        self.calls.append((label, trainer, sweep.lane_count(lanes), steps, test))
        return sweep.run(trainer, lanes, data, steps=steps, log_every=log_every, block=1, test=test)

    def each(self, label, items):
        return items

    def step_seconds(self, label, programs, data, *, log_every, processes):
        return timing.step_seconds(programs, data, log_every, range(processes))

    def log_lanes(self, method, seeds, config, steps, metrics):
        self.lanes.append((method, list(seeds), dict(config), steps, metrics))

    def log_table(self, name, rows):
        self.tables.append((name, rows))
