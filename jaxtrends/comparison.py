"""A comparison: arms tuned alike, retrained on shared seeds, and tested once.

An experiment declares the arms; the rest is here. On every task, each arm's learning rate is chosen
from a common grid on tuning seeds and validation data. The arm is then trained on the reporting
seeds, which all arms share, and uses test data once, after training. A `ladder` is a comparison
over sizes: its rungs are tasks that differ in one number.

The results are ``values`` in the format that claims and charts read (`jaxtrends.declare`,
`jaxtrends.charts`). A study that trains in its own way may return the same format::

    tasks -> task -> arms -> arm -> metrics -> "test_loss" -> one number per seed
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from jaxtrends import charts, declare, flops, train, tuning
from jaxtrends.claims import Claim
from jaxtrends.errors import Problem
from jaxtrends.settings import TUNING_SEED_OFFSET, Schedule
from jaxtrends.study import Figure, Run, StudyResult, Table

RATE = "learning_rate"


@dataclass(frozen=True)
class Setting:
    """The setting that an arm is made for.

    config: the experiment's.
    part:   the study's part of the config, or the task's own part within it.
    task:   one of ``part.tasks``; "" if the study has no such field.
    size:   of this rung, if the comparison is a ladder.
    data:   for the trainer.
    """

    config: Any
    part: Any
    task: str = ""
    size: float | None = None
    data: Any = None

    @property
    def seeds(self) -> list[int]:
        """The reporting seeds: as many as the part says, or else the config."""
        count = getattr(self.part, "seeds", 0) or self.config.seeds
        return [self.config.seed + lane for lane in range(count)]

    @property
    def tuning_seeds(self) -> list[int]:
        """The tuning seeds, none of which is reported."""
        first = self.config.seed + TUNING_SEED_OFFSET
        return [first + lane for lane in range(self.part.schedule.tuning_seeds)]


@dataclass(frozen=True)
class Arm:
    """One of the compared methods.

    trainer: what a lane does. Arms that differ only in numbers share one trainer object, and so one
             compiled program.
    numbers: of its lanes, besides seed and learning rate: name -> number.
    facts:   for tables and axes, such as ``parameters`` or ``examples`` per step. ``flops`` per
             step are counted on the program unless given.
    steps:   of its reporting lanes, if not the schedule's, such as for equal FLOPs. Its tuning
             lanes are then shorter or longer in proportion.
    tuning_steps: of its tuning lanes, if not in that proportion.
    rate_of: an earlier arm whose tuned numbers it uses, as a control does.
    after:   an earlier arm from whose final parameters it starts, seed by seed: a teacher,
             pretraining, a warm-up.
    start:   initial parameters, if not another arm's: seed -> parameters, for tuning seeds too.
    metric:  validation metric to tune it by, if not the comparison's: for a stage that learns
             something else.
    grids:   numbers of its lanes to tune besides the learning rate: name -> values.
    rate:    its learning rate, if it is not tuned; 0 for an untrained control.
    grid:    the grid from which a study itself chose that rate, as in an arm's values.
    """

    trainer: train.Trainer
    numbers: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 0
    tuning_steps: int = 0
    rate_of: str = ""
    after: str = ""
    start: Mapping[int, Any] = field(default_factory=dict)
    metric: str = ""
    grids: Mapping[str, Sequence[float]] = field(default_factory=dict)
    rate: float | None = None
    grid: Mapping[str, Any] = field(default_factory=dict)


def no_facts(setting: Setting, run: Run) -> Mapping[str, Any]:
    """No facts about a task."""
    return {}


def splits(setting: Setting, run: Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The task's data set in the format of `jaxtrends.train.supervised`."""
    found = run.dataset(setting.task)
    names = ("train", "validation", "test")
    return {name: (getattr(found, name).inputs, getattr(found, name).labels) for name in names}


@dataclass(frozen=True)
class Comparison:
    """A study declared by its arms.

    The config has a part with the study's name. It has a `Schedule` in ``schedule``, and may have
    ``tasks`` and ``arms`` (names to choose from) and ``seeds`` (if not the config's). A task may
    have its own part, in a field with its name.

    about:   what it does, in one line.
    arms:    name -> a function that makes it for a setting, or returns None to skip a task.
    metric:  chooses rates on validation data, and is reported on test data: ``loss`` for the
             trainer's ``validation_loss`` and ``test_loss``.
    unit:    of the metric.
    better:  which values are better; if higher, a diverged lane counts as ``worst``.
    data:    (setting, run) -> data for the trainer.
    facts:   (setting, run) -> facts about the task, such as the lowest possible loss.
    ladder:  the field of the part whose values are the rungs; "" for no ladder.
    size:    what a rung's number is, with its unit in brackets.
    claims:  from `jaxtrends.declare`.
    figures: charts of `jaxtrends.charts`, or functions like them.
    tables:  likewise, in addition to those of outcomes and tuning.
    more:    further metrics in the table of outcomes, besides the one on test data.
    also:    (values of a task, its curves) -> further values of the task, such as a target; in
             ``arms``, further metrics of its arms: name -> metric -> one number per seed. Besides
             curves, ``arm/metric``, it gets the test metrics that start with
             `jaxtrends.train.RAW`.
    own:     whether the user's own arms take part, judged against the first arm.
    timed:   whether to time a step of every arm, in the part's ``timing_processes``. In the
             measurements, arms have as facts ``seconds``, the median, and ``process_seconds``, and
             the metrics ``steps_to_…``.
    """

    about: str
    arms: Mapping[str, Callable[[Setting], Arm | None]]
    metric: str = "loss"
    unit: str = ""
    better: tuning.Better = "lower"
    worst: float = 0.0
    data: Callable[[Setting, Run], Any] = splits
    facts: Callable[[Setting, Run], Mapping[str, Any]] = no_facts
    ladder: str = ""
    size: str = ""
    claims: tuple[Claim, ...] = ()
    figures: Sequence[Callable[[charts.Shown], Figure]] = ()
    tables: Sequence[Callable[[charts.Shown], Table]] = ()
    more: Sequence[str] = ()
    also: Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], Mapping[str, Any]] | None = None
    own: bool = False
    timed: bool = False

    def settings(self, config: Any, study: str) -> dict[str, Setting]:
        """The tasks of a config, by name; each rung of a ladder is one."""
        part = getattr(config, study)
        found = {}
        for task in getattr(part, "tasks", ("",)):
            own = getattr(part, task, None) if task else None
            own = own if is_dataclass(own) else part  # another field may have a task's name
            for size in getattr(part, self.ladder) if self.ladder else (None,):
                parts = [task, "" if size is None else f"{size:g}"]
                found[", ".join(filter(None, parts)) or "all"] = Setting(config, own, task, size)
        return found

    def run(
        self, config: Any, run: Run, settings: Mapping[str, Setting] | None = None
    ) -> StudyResult:
        """Tune, train and test every arm on every task.

        Args:
            config:   the experiment's.
            run:      the effects.
            settings: the tasks by name, if a study determines them itself.
        """
        tasks: dict[str, Any] = {}
        curves: dict[str, np.ndarray] = {}
        seconds: dict[str, dict[str, list[float]]] = {}
        settings = settings or self.settings(config, run.study)
        if not settings:
            raise Problem(f"Study {run.study} has no task: name one with --{run.study}.tasks.")
        for name, setting in settings.items():
            setting = replace(setting, data=self.data(setting, run))
            tasks[name], found, seconds[name] = self.task(name, setting, run)
            curves |= {f"{name}/{curve}": values for curve, values in found.items()}
        values = {"tasks": tasks, "step_flops": step_flops(tasks)}
        shown = charts.Shown(run.study, self.metric, self.unit, self.size, tasks, curves, self.more)
        found = StudyResult(
            values=values,
            curves=curves,
            tables=[table(shown) for table in (charts.outcomes, charts.grids, *self.tables)],
            figures=[figure for chart in self.figures if (figure := chart(shown)).panels],
        )
        if not self.timed:
            return found
        clocked = timed(shown, seconds)
        return replace(
            found,
            measurements={"step_seconds": seconds, "tasks": clocked.tasks},
            measured_tables=[charts.step_times(clocked, seconds)],
            measured_figures=[charts.over("seconds", x_scale="log")(clocked)],
        )

    def claims_of(self, own: Sequence[str]) -> tuple[Claim, ...]:
        """A claim about each of the user's own arms: it does better than the first arm that ran."""
        metric = f"test_{self.metric}"
        words = metric.replace("_", " ")

        def against_first(name: str) -> declare.Quantity:
            def pair(task: declare.TaskView) -> tuple[Any, Any]:
                first = next(arm for arm in task if arm not in own)
                return task[name or first][metric], task[first][metric]

            return pair

        return tuple(
            declare.derive(
                f"own-{name}",
                f"{name} has a {self.better} {words} than the paper's first arm.",
                against_first(name),
                quantity=f"{words}, {name} - first arm, by seed",
                statistic="paired difference",
                region=declare.BELOW_ZERO if self.better == "lower" else declare.ABOVE_ZERO,
                reason="any difference that the seeds can detect",
                fails={"the first arm": (against_first(""), "an arm does not differ from itself")},
                source="derived",
            )
            for name in own
        )

    def task(
        self, name: str, setting: Setting, run: Run
    ) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, list[float]]]:
        """Tune, train and test every arm on one task: its values, curves and seconds per step.

        For studies whose tasks need more than a part of the config, such as a schedule each.
        Curves are ``arm/metric`` -> (seeds, points).
        """
        schedule: Schedule = setting.part.schedule
        makers = {**self.arms, **(run.methods if self.own else {})}
        chosen = getattr(setting.part, "arms", None) or tuple(self.arms)
        wanted = [arm for arm in makers if arm in chosen or arm not in self.arms]
        made = {arm: makers[arm](setting) for arm in wanted}
        arms = {arm: found for arm, found in made.items() if found is not None}
        before: list[str] = []
        for arm, found in arms.items():
            for other in filter(None, (found.after, found.rate_of)):
                if other not in before:
                    raise Problem(f"Arm {arm} of {run.study} needs arm {other}: name it too.")
            before.append(arm)
        task: dict[str, Any] = {
            "task": setting.task,
            "size": setting.size,
            "steps": schedule.steps,
            "log_every": schedule.log_every,
            "seeds": setting.seeds,
            "tuning_seeds": setting.tuning_seeds,
            **self.facts(setting, run),
            "arms": {},
        }
        curves: dict[str, np.ndarray] = {}
        needed = {arm.after for arm in arms.values()}
        trained: dict[str, _Trained] = {}
        for arm, found in arms.items():
            lane = _Lanes(self, f"{name} {arm}", found, setting.data, schedule, run)
            trained[arm] = lane.train(task, trained, keep=arm in needed)
            task["arms"][arm] = trained[arm].values
            self._log(name, arm, task, trained[arm], run)
            curves |= {
                f"{arm}/{metric}": values
                for metric, values in trained[arm].metrics.items()
                if values.ndim == 2 and not metric.startswith("test_")
            }
        if self.also:
            raw = {f"{arm}/{name}": v for arm, t in trained.items() for name, v in t.raw.items()}
            further = dict(self.also(task, {**curves, **raw}))
            for arm, metrics in further.pop("arms", {}).items():
                task["arms"][arm]["metrics"] |= metrics
            task |= further
        if not self.timed:
            return task, curves, {}
        programs = {arm: (found.trainer, trained[arm].lane) for arm, found in arms.items()}
        processes = setting.part.timing_processes
        seconds = run.step_seconds(
            f"timing {name}",
            programs,
            setting.data,
            log_every=schedule.log_every,
            processes=processes,
        )
        return task, curves, seconds

    def _log(
        self, name: str, arm: str, task: Mapping[str, Any], trained: _Trained, run: Run
    ) -> None:
        values = trained.values
        logged = {
            metric: curve
            for metric, curve in trained.metrics.items()
            if curve.ndim == 2 and not metric.startswith("test_")
        }
        points = values["steps"] // task["log_every"]
        steps = np.arange(1, points + 1) * task["log_every"]
        tuned = {"learning_rate": values["learning_rate"], **values["tuned"]}
        told = {"task": name, **tuned, "steps": values["steps"]}
        run.log_lanes(f"{name}/{arm}", task["seeds"], told, steps, logged)
        if "grid" in values:
            rows = [
                {**point, "seed": seed, f"validation_{self.metric}": float(score)}
                for point, scores in zip(
                    charts.points_tried(values["grid"]), values["grid"]["scores"], strict=True
                )
                for seed, score in zip(task["tuning_seeds"], scores, strict=True)
            ]
            run.log_table(f"{name}/tuning/{arm}", rows)


@dataclass(frozen=True)
class _Trained:
    """A trained arm: its values, its metrics, and parameters that others may start from."""

    values: dict[str, Any]
    metrics: Mapping[str, np.ndarray]
    lane: Any  # its first reporting lane, as a block of one
    raw: Mapping[str, np.ndarray]  # test metrics for `Comparison.also` only
    finals: Mapping[int, Any] = field(default_factory=dict)  # seed -> parameters


@dataclass(frozen=True)
class _Lanes:
    """The lanes of one arm on one task."""

    comparison: Comparison
    label: str
    arm: Arm
    data: Any
    schedule: Schedule
    run: Run

    def train(
        self, task: Mapping[str, Any], before: Mapping[str, _Trained], *, keep: bool
    ) -> _Trained:
        """Tune the arm unless it uses another's rate, then train it on the reporting seeds."""
        arm = self.arm
        starts = before[arm.after].finals if arm.after else arm.start
        steps = arm.steps or self.schedule.steps
        values: dict[str, Any] = {"steps": steps}
        if arm.after:
            values["after"] = arm.after
        apart = task["tuning_seeds"]
        if arm.rate is not None and not arm.grids:
            values |= {"learning_rate": arm.rate, "tuned": {}}
            values |= {"grid": arm.grid} if arm.grid else {}
        elif arm.rate_of:
            values |= {
                name: before[arm.rate_of].values[name] for name in ("learning_rate", "tuned")
            }
            values["rate_of"] = arm.rate_of
        else:
            values |= self._tuned(apart, starts, arm.tuning_steps or self._tuning_steps(steps))
        rate, tuned = values["learning_rate"], values["tuned"]
        trainer = train.keeping(arm.trainer) if keep else arm.trainer
        lanes = partial(self._lanes, rates=[rate], tuned=tuned, steps=steps, starts=starts)
        found = lanes("reporting", seeds=task["seeds"], trainer=trainer)
        finals = dict(zip(task["seeds"], train.kept(found), strict=True)) if keep else {}
        if keep:  # a later arm is also tuned from here, without test data
            alone = train.keeping(arm.trainer, test=False)
            found_apart = lanes("for tuning", seeds=apart, trainer=alone)
            finals |= dict(zip(apart, train.kept(found_apart), strict=True))
        raw = {name: v for name, v in found.items() if name.startswith(train.RAW)}
        metrics = {n: v for n, v in found.items() if not n.startswith((train.KEPT, train.RAW))}
        first = task["seeds"][:1]
        lane = tuning.lanes([rate], first, self._numbers(first, tuned, starts))
        facts = dict(arm.facts)
        if "flops" not in facts:
            facts["flops"] = flops.of_step(arm.trainer, _first(lane), self.data)
        values |= {"facts": facts, **self._outcome(metrics)}
        return _Trained(values, metrics, lane, raw, finals)

    def _tuning_steps(self, steps: int) -> int:
        share = self.schedule.tuned_for * steps / self.schedule.steps
        return self.schedule.log_every * max(1, round(share / self.schedule.log_every))

    def _tuned(self, seeds: Sequence[int], starts: Mapping[int, Any], steps: int) -> dict[str, Any]:
        """The numbers chosen on tuning seeds, and their grid."""
        arm, better = self.arm, self.comparison.better
        metric = arm.metric or self.comparison.metric

        def beside(point: Mapping[str, float]) -> dict[str, float]:
            return {name: value for name, value in point.items() if name != RATE}

        def scores_at(points: Sequence[Mapping[str, float]]) -> np.ndarray:
            finals = []
            for numbers, same in itertools.groupby(points, beside):
                rates = [point.get(RATE, arm.rate) for point in same]
                shown = [f"{name} {value:.3g}," for name, value in numbers.items()]
                shown += [f"{rate:.3g}" for rate in rates]
                found = self._lanes(
                    f"tuning {' '.join(shown)}",
                    seeds=seeds,
                    rates=rates,
                    tuned=numbers,
                    steps=steps,
                    starts=starts,
                    test=False,
                )
                final = tuning.final(found[f"validation_{metric}"], better)
                finals.append(final.reshape(len(rates), len(seeds)))
            return np.concatenate(finals)

        grids = dict(arm.grids) if arm.rate is not None else {**arm.grids, RATE: self.schedule.grid}
        found = tuning.tune_all(scores_at, grids, self.schedule.extensions, better)
        tried = {name: [point[name] for point in found.tried] for name in beside(found.best)}
        return {
            "learning_rate": found.best.get(RATE, arm.rate),
            "tuned": beside(found.best),
            "grid": {
                "rates": tuple(point.get(RATE, arm.rate) for point in found.tried),
                **({"beside": tried} if tried else {}),
                "scores": found.scores,
                "edge": found.edge,
            },
        }

    def _outcome(self, metrics: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Final metrics seed by seed; a diverged lane has the worst possible value."""
        better = self.comparison.better
        last = tuning.final(metrics[f"validation_{self.comparison.metric}"], better)
        whole = np.isfinite(last)
        outcome = {}
        for name, values in metrics.items():
            shown = values if name.startswith("test_") else values[:, -1:]
            if name in (f"validation_{self.comparison.metric}", "training_loss"):
                shown = tuning.final(values, better)
            shown = shown[:, 0] if shown.ndim == 2 and shown.shape[1] == 1 else shown
            kept = whole.reshape(-1, *[1] * (shown.ndim - 1)) & np.isfinite(shown)
            worst = np.inf
            if better == "higher" and name.endswith(f"_{self.comparison.metric}"):
                worst = self.comparison.worst
            elif name.endswith("accuracy"):  # beside a loss
                worst = 0.0
            outcome[name] = np.where(kept, shown.astype(np.float64), worst)
        return {"metrics": outcome, "diverged": int((~whole).sum())}

    def _numbers(
        self, seeds: Sequence[int], tuned: Mapping[str, float], starts: Mapping[int, Any]
    ) -> dict[str, Any]:
        import jax

        numbers = {**self.arm.numbers, **tuned}
        if starts:
            own = [starts[seed] for seed in seeds]
            numbers["start"] = jax.tree.map(tuning.stacked, *own)
        return numbers

    def _lanes(
        self,
        kind: str,
        *,
        rates: Sequence[float],
        seeds: Sequence[int],
        tuned: Mapping[str, float],
        steps: int,
        starts: Mapping[int, Any],
        test: bool = True,
        trainer: train.Trainer | None = None,
    ) -> dict[str, np.ndarray]:
        return self.run.train(
            f"{self.label}, {kind}",
            trainer or self.arm.trainer,
            tuning.lanes(rates, seeds, self._numbers(seeds, tuned, starts)),
            self.data,
            steps=steps,
            log_every=self.schedule.log_every,
            test=test,
        )


def step_flops(tasks: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """FLOPs of a training step of one lane, per task and arm: a record's ``step_flops``."""
    return {
        name: {arm: found["facts"]["flops"] for arm, found in task["arms"].items()}
        for name, task in tasks.items()
    }


def timed(
    shown: charts.Shown, seconds: Mapping[str, Mapping[str, Sequence[float]]]
) -> charts.Shown:
    """The timed tasks: an arm's facts with ``seconds``, and its metrics ``steps_to_…``.

    Args:
        shown:   of a comparison.
        seconds: task -> arm -> seconds per training step, one per process.
    """

    def clocked(arm: Mapping[str, Any], taken: Sequence[float]) -> dict[str, Any]:
        until = {n: found for n, found in arm["metrics"].items() if n.startswith("steps_to_")}
        facts = {"seconds": float(np.median(taken)), "process_seconds": list(taken)}
        return {"facts": {**arm["facts"], **facts}, "metrics": until}

    tasks = {
        name: {
            **{key: shown.tasks[name][key] for key in ("task", "size", "log_every", "seeds")},
            "arms": {arm: clocked(shown.tasks[name]["arms"][arm], s) for arm, s in taken.items()},
        }
        for name, taken in seconds.items()
    }
    return replace(shown, tasks=tasks)


def _first(lanes: Any) -> Any:
    import jax

    return jax.tree.map(lambda leaf: leaf[0], lanes)
