"""Claims declared as data: a comparison of two arms, a derived quantity, a fact, or not testable.

Each function returns a `jaxtrends.claims.Claim` about a study whose values are laid out as those of
`jaxtrends.comparison`. Every task that has the arms is a part of the claim, with its own controls.
If an arm's learning rate is on the edge of its grid, its task is inconclusive. If a run left out an
arm, the claim is left out too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxtrends import stats
from jaxtrends.claims import Claim, Control, Evidence, control_of

BELOW_ZERO = (-math.inf, 0.0)
ABOVE_ZERO = (0.0, math.inf)
STATISTICS = {"paired difference", "paired ratio", "median ratio", "discordant share", "odds ratio"}


@dataclass
class ArmView:
    """One arm's outcome: ``arm["test_loss"]`` (seeds,) float64, ``arm["parameters"]`` a fact."""

    values: Mapping[str, Any]
    note: Callable[[], None] = lambda: None  # a metric depends on the tuned rate, a fact does not

    def __getitem__(self, name: str) -> Any:
        """A metric seed by seed, or a fact.

        Raises:
            KeyError: the run has neither.
        """
        if name in self.values["metrics"]:
            self.note()
            return np.asarray(self.values["metrics"][name], np.float64)
        if name in self.values["facts"]:
            return self.values["facts"][name]
        raise KeyError(f"{name} of an arm")

    def __contains__(self, name: str) -> bool:
        return name in self.values["metrics"] or name in self.values["facts"]


@dataclass
class TaskView(Mapping):
    """One task's arms, as in ``task["dense"]["test_loss"]``; records whose metrics were read."""

    name: str
    values: Mapping[str, Any]
    tasks: Mapping[str, Any] = field(default_factory=dict)
    """All tasks of the study, by name."""
    read: list[tuple[str, str]] = field(default_factory=list)  # task, arm
    doubts: list[str] = field(default_factory=list)  # sentences: why it may be inconclusive

    def __getitem__(self, arm: str) -> ArmView:
        """The arm with that name.

        Raises:
            KeyError: the run left it out.
        """
        if arm not in self.values["arms"]:
            raise KeyError(f"arm {arm}")

        def note() -> None:
            if (self.name, arm) not in self.read:
                self.read.append((self.name, arm))

        return ArmView(self.values["arms"][arm], note)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values["arms"])

    def __len__(self) -> int:
        return len(self.values["arms"])

    @property
    def size(self) -> float:
        """The size of this rung of a ladder."""
        return float(self.values["size"])

    def of(self, name: str) -> Any:
        """A value of the task itself, such as ``steps``, or one that its study added.

        Raises:
            KeyError: it has none.
        """
        if name not in self.values:
            raise KeyError(f"{name} of a task")
        return self.values[name]

    def beside(self, name: str) -> TaskView:
        """Another task of the study; what is read from it is recorded here.

        Raises:
            KeyError: the run left it out.
        """
        if name not in self.tasks:
            raise KeyError(f"task {name}")
        return TaskView(name, self.tasks[name], self.tasks, self.read)

    def edges(self) -> str:
        """Why the arms whose metrics were read are inconclusive; "" if they are not.

        An arm that took another's rate depends on that arm's grid. One that starts from another's
        parameters depends on everything that arm depends on.
        """
        on_edge = []
        for task, arm in self.read:
            arms = self.values["arms"] if task == self.name else self.tasks[task]["arms"]
            waiting, seen = [arm], set()
            while waiting:
                tuned = waiting.pop(0)
                if tuned in seen or tuned not in arms:
                    continue
                seen.add(tuned)
                waiting += [arms[tuned][how] for how in ("rate_of", "after") if how in arms[tuned]]
                grid = arms[tuned].get("grid")
                if grid is not None and grid["edge"]:
                    on_edge.append(tuned if task == self.name else f"{tuned} of {task}")
        return "; ".join(
            f"{arm} is tuned to the edge of its grid" for arm in dict.fromkeys(on_edge)
        )


Quantity = Callable[[TaskView], Any]
"""A task -> one number per seed, or one number; or a pair of these, (treatment, reference).

Or several by name: each is then a separate part, and a control's value with the same name belongs
to that part.
"""


@dataclass
class LadderView(Mapping):
    """One task's rungs by rising size, as in ``ladder[4]["dense"]["test_loss"]``."""

    name: str
    rungs: Sequence[TaskView]
    doubts: list[str] = field(default_factory=list)  # as in a `TaskView`

    def __getitem__(self, size: float) -> TaskView:
        """The rung with that size.

        Raises:
            KeyError: the run left it out.
        """
        for rung in self.rungs:
            if rung.size == size:
                return rung
        raise KeyError(f"rung {size:g}")

    def __iter__(self) -> Iterator[float]:
        return iter(rung.size for rung in self.rungs)

    def __len__(self) -> int:
        return len(self.rungs)

    def edges(self) -> str:
        """Why the arms that were read are inconclusive, rung by rung."""
        found = [(rung.size, rung.edges()) for rung in self.rungs]
        return "; ".join(f"at {size:g} {said}" for size, said in found if said)


Climbing = Callable[[LadderView], Any]
"""A ladder -> one number per seed, or one number."""

Measured = Callable[[Mapping[str, Any]], Any]
"""A study's values -> a number, a sample, or a pair of samples, (treatment, reference)."""


def tasks_of(values: Mapping[str, Any], chosen: Sequence[str] = ()) -> list[TaskView]:
    """The tasks of a study's values: those chosen by the name of task or rung, or all."""
    return [
        TaskView(name, task, values["tasks"])
        for name, task in values["tasks"].items()
        if not chosen or name in chosen or task.get("task") in chosen
    ]


def ladders_of(values: Mapping[str, Any], chosen: Sequence[str] = ()) -> list[LadderView]:
    """The ladders of a study's values, one per task, for the chosen tasks or rungs, or all."""
    ladders: dict[str, list[TaskView]] = {}
    for rung in tasks_of(values, chosen):
        if rung.values.get("size") is not None:
            ladders.setdefault(rung.values.get("task") or "", []).append(rung)
    return [
        LadderView(name, sorted(rungs, key=lambda rung: rung.size))
        for name, rungs in ladders.items()
    ]


def tops_of(values: Mapping[str, Any], chosen: Sequence[str] = ()) -> list[TaskView]:
    """The largest rung of each ladder."""
    return [ladder.rungs[-1] for ladder in ladders_of(values, chosen)]


def compare(
    id: str,
    statement: str,
    treatment: str,
    reference: str,
    *,
    on: str,
    region: tuple[float, float],
    reason: str,
    fails: Mapping[str, str],
    passes: Mapping[str, str] | None = None,
    tasks: Sequence[str] = (),
    top: bool = False,
    statistic: str = "paired difference",
    quantity: str = "",
    unit: str = "",
    **declared: Any,
) -> Claim:
    """Two arms, seed by seed, on every task that has both.

    Args:
        id:        short and stable.
        statement: what is claimed, in our words.
        treatment: an arm.
        reference: the arm to compare it with.
        on:        the metric, such as ``test_loss``.
        region:    must contain the whole interval.
        reason:    why this region.
        fails:     arm -> why: arms that must fail the test instead of the treatment; the reason
                   says which fault would let one pass.
        passes:    the same for arms that must pass it.
        tasks:     the parts; every task with both arms if none is named.
        top:       use only the largest rung of a ladder.
        statistic: a paired one of `jaxtrends.stats`.
        quantity:  what is measured, if arms and metric do not say enough.
        unit:      the metric's unit, for the text that says what is measured.
        declared:  further fields of the claim: source, reported, where, known, headline.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"claim {id}: {statistic!r} does not compare two samples")
    sign = "/" if "ratio" in statistic else "-"
    words = f"{on.replace('_', ' ')} of {treatment} {sign} that of {reference}"

    def sample(task: TaskView, arm: str) -> stats.Samples:
        return {"treatment": list(task[arm][on]), "reference": list(task[reference][on])}

    swaps = {**dict.fromkeys(fails, "fail"), **dict.fromkeys(passes or {}, "pass")}
    why = {**fails, **(passes or {})}
    return _claim(
        id,
        statement,
        part=lambda task: {"": sample(task, treatment)},
        controls={arm: (lambda task, arm=arm: {"": sample(task, arm)}) for arm in swaps},
        tasks=tasks,
        views=tops_of if top else tasks_of,
        declarations=tuple(Control(arm, must, why[arm]) for arm, must in swaps.items()),
        quantity=quantity or words + (f" ({unit})" if unit else ""),
        statistic=statistic,
        region=region,
        reason=reason,
        **declared,
    )


def derive(
    id: str,
    statement: str,
    value: Quantity,
    *,
    quantity: str,
    region: tuple[float, float],
    reason: str,
    fails: Mapping[str, tuple[Quantity, str]],
    passes: Mapping[str, tuple[Quantity, str]] | None = None,
    tasks: Sequence[str] = (),
    top: bool = False,
    statistic: str = "mean",
    doubt: Callable[[TaskView], str] = lambda task: "",
    **declared: Any,
) -> Claim:
    """A quantity computed from several arms, seed by seed, on every task that has them.

    Args:
        id:        short and stable.
        statement: what is claimed, in our words.
        value:     task -> (seeds,) what is measured, or a pair of these for a paired statistic.
        quantity:  what that is, with its unit.
        region:    must contain the whole interval.
        reason:    why this region.
        fails:     name -> (task -> what the control measures, why): controls that must fail.
        passes:    the same for controls that must pass.
        tasks:     the parts; every task with the arms that ``value`` reads if none is named.
        top:       use only the largest rung of a ladder.
        statistic: one of `jaxtrends.stats`.
        doubt:     task -> why it is inconclusive, apart from grid edges; "" if it is not.
        declared:  further fields of the claim.
    """
    declared |= {"quantity": quantity, "region": region, "reason": reason, "statistic": statistic}
    views = tops_of if top else tasks_of
    return _derived(id, statement, value, fails, passes, tasks, views, doubt=doubt, **declared)


def across(
    id: str,
    statement: str,
    value: Climbing,
    *,
    quantity: str,
    region: tuple[float, float],
    reason: str,
    fails: Mapping[str, tuple[Climbing, str]],
    passes: Mapping[str, tuple[Climbing, str]] | None = None,
    tasks: Sequence[str] = (),
    statistic: str = "mean",
    **declared: Any,
) -> Claim:
    """A quantity computed from several rungs of a ladder, seed by seed; every task is a part.

    Args are those of `derive`, except that ``value``, the controls and ``doubt`` take a ladder. A
    task without a rung that they read is left out.
    """
    declared |= {"quantity": quantity, "region": region, "reason": reason, "statistic": statistic}
    return _derived(id, statement, value, fails, passes, tasks, ladders_of, **declared)


def slope(
    id: str,
    statement: str,
    effect: Quantity,
    *,
    quantity: str,
    region: tuple[float, float],
    reason: str,
    fails: Mapping[str, tuple[Quantity, str]],
    tasks: Sequence[str] = (),
    per: float = 2.0,
    **declared: Any,
) -> Claim:
    """How an effect changes over the rungs of a ladder: its slope against log size, seed by seed.

    Args:
        id:        short and stable.
        statement: what is claimed, in our words.
        effect:    rung -> (seeds,); a quantity without a floor or ceiling in the range.
        quantity:  what the effect is, with its unit; "per doubling of the size" is added.
        region:    must contain the whole interval.
        reason:    why this region.
        fails:     name -> (rung -> the control's effect, why): controls that must fail.
        tasks:     rungs, or tasks with all their rungs; all if none is named. Each task is a part
                   with its own slope.
        per:       the slope is per this factor in size.
        declared:  further fields of the claim.

    The claim is not run if fewer than three rungs have the arms. It is inconclusive if the effect
    is not finite for any seed, also in a control: a rung that never reaches its target has no
    slope, and nothing says on which side it would be.
    """
    every = {2.0: "doubling", 10.0: "factor of ten"}.get(per, f"factor of {per:g}")

    def slopes(effect: Quantity, whose: str) -> Climbing:
        def climbed(ladder: LadderView) -> np.ndarray:
            found = []
            for rung in ladder.rungs:
                try:
                    found.append((rung.size, np.asarray(effect(rung), np.float64)))
                except KeyError:
                    continue
            if len(found) < 3:
                raise KeyError("ladder of three rungs with these arms")
            for size, values in found:
                if lost := int((~np.isfinite(values)).sum()):
                    seeds = f"{lost} of {values.size} seeds"
                    ladder.doubts.append(f"at {size:g} {seeds} have no finite effect{whose}")
            return slope_of(*zip(*found, strict=True), per=per)

        return climbed

    return across(
        id,
        statement,
        slopes(effect, ""),
        quantity=f"{quantity}, per {every} of the size",
        region=region,
        reason=reason,
        fails={
            name: (slopes(function, f" of the control “{name}”"), why)
            for name, (function, why) in fails.items()
        },
        tasks=tasks,
        **{"source": "derived", **declared},
    )


RUNGS_MIXED_UP = (
    "the same effects on rungs taken for one another, so that they do not rise or fall with size; "
    "effects that were sorted, or a slope against their order, would still show one"
)


def mixed_up(effect: Quantity) -> Quantity:
    """A control for a `slope`: each rung has the effect of another one of its ladder.

    The order is one in which an effect that is linear in log size has the least slope.
    """

    def elsewhere(rung: TaskView) -> Any:
        ladders = ladders_of({"tasks": rung.tasks})
        (ladder,) = (found for found in ladders if found.name == rung.of("task"))
        own = [view for view in ladder.rungs if _has(effect, view)]
        x = np.log([view.size for view in own])
        x = x - x.mean()
        orders = itertools.permutations(range(len(own)))
        order = min(orders, key=lambda order: (round(abs(float(x @ x[list(order)])), 9), order))
        place = next(i for i, view in enumerate(own) if view.name == rung.name)
        return effect(rung.beside(own[order[place]].name))

    return elsewhere


def _has(effect: Quantity, rung: TaskView) -> bool:
    try:
        effect(rung)
    except KeyError:
        return False
    return True


def slope_of(sizes: Sequence[float], effects: Sequence[np.ndarray], per: float = 2.0) -> np.ndarray:
    """Least-squares slope of effects (rungs, seeds) against log size, per factor of ``per``.

    Shape (seeds,); not finite where an effect of the seed is not.
    """
    x = np.log(np.asarray(sizes, np.float64)) / math.log(per)
    x = x - x.mean()
    with np.errstate(invalid="ignore"):
        return (x[:, None] * np.stack(effects)).sum(axis=0) / (x**2).sum()


def fact(
    id: str,
    statement: str,
    value: Measured,
    *,
    quantity: str,
    region: tuple[float, float],
    reason: str,
    fails: Mapping[str, tuple[Measured, str]],
    passes: Mapping[str, tuple[Measured, str]] | None = None,
    doubt: Callable[[Mapping[str, Any]], str | Mapping[str, str]] = lambda values: "",
    statistic: str = "exact",
    **declared: Any,
) -> Claim:
    """A claim about a study's values: an identity, or a refit that must round to given digits.

    Args:
        id:        short and stable.
        statement: what is claimed, in our words.
        value:     the study's values -> what is measured, or part -> what is measured.
        quantity:  what it is, with its unit.
        region:    must contain it.
        reason:    why this region.
        fails:     name -> (values -> what the control measures, why): controls that must fail. What
                   is measured part by part, as in ``value``, is each part's own control.
        passes:    the same for controls that must pass.
        doubt:     values -> why they are inconclusive, or part -> why; "" if they are not.
        statistic: ``exact`` for one number per part, else one of `jaxtrends.stats`.
        declared:  further fields of the claim.
    """
    both = {**fails, **(passes or {})}

    def evidence(values: Mapping[str, Any]) -> Evidence:
        tested = {
            control_of(name, part): samples
            for name, (function, _) in both.items()
            for part, samples in _named(function(values)).items()
        }
        return Evidence(_named(value(values)), tested, doubt(values))

    return Claim(
        id=id,
        study="",
        statement=statement,
        quantity=quantity,
        statistic=statistic,
        kind="exact" if statistic == "exact" else "statistical",
        region=region,
        reason=reason,
        controls=tuple(
            Control(name, "fail" if name in fails else "pass", why)
            for name, (_, why) in both.items()
        ),
        evidence=evidence,
        **_sourced(declared, "derived"),
    )


def untestable(
    id: str,
    statement: str,
    why: str,
    *,
    quantity: str,
    region: tuple[float, float] = ABOVE_ZERO,
    reason: str = "the sign is what the paper claims",
    statistic: str = "mean",
    **declared: Any,
) -> Claim:
    """A claim of the paper that cannot be tested here, with the reason: hardware, scale or data."""
    return Claim(
        id=id,
        study="",
        statement=statement,
        quantity=quantity,
        statistic=statistic,
        kind="exact" if statistic == "exact" else "statistical",
        region=region,
        reason=reason,
        evidence=None,
        not_testable=why,
        **_sourced(declared),
    )


def _sourced(declared: Mapping[str, Any], source: str = "paper") -> dict[str, Any]:
    """The claim's further fields; a claim of the paper is known from its text unless given."""
    source = declared.get("source", source)
    return {"source": source, "known": "derived" if source == "derived" else "text", **declared}


def _named(values: Any) -> dict[str, stats.Samples]:
    """The measured values by name, "" if they have none."""
    named = values if isinstance(values, Mapping) else {"": values}
    return {name: _samples(measured) for name, measured in named.items()}


def _samples(values: Any) -> stats.Samples:
    if isinstance(values, tuple):
        treatment, reference = (_single(sample)["values"] for sample in values)
        return {"treatment": treatment, "reference": reference}
    return _single(values)


def _single(values: Any) -> stats.Samples:
    return {"values": [float(value) for value in np.atleast_1d(np.asarray(values, np.float64))]}


def _derived(
    id: str,
    statement: str,
    value: Callable[[Any], Any],
    fails: Mapping[str, tuple[Callable[[Any], Any], str]],
    passes: Mapping[str, tuple[Callable[[Any], Any], str]] | None,
    tasks: Sequence[str],
    views: Callable[[Mapping[str, Any], Sequence[str]], Sequence[TaskView | LadderView]],
    **declared: Any,
) -> Claim:
    both = {**fails, **(passes or {})}
    must = {**dict.fromkeys(fails, "fail"), **dict.fromkeys(passes or {}, "pass")}
    return _claim(
        id,
        statement,
        part=lambda view: _named(value(view)),
        controls={
            n: (lambda view, f=function: _named(f(view))) for n, (function, _) in both.items()
        },
        tasks=tasks,
        declarations=tuple(Control(name, must[name], why) for name, (_, why) in both.items()),
        views=views,
        **declared,
    )


def _claim(
    id: str,
    statement: str,
    *,
    part: Callable[[Any], Mapping[str, stats.Samples]],
    controls: Mapping[str, Callable[[Any], Mapping[str, stats.Samples]]],
    tasks: Sequence[str],
    declarations: tuple[Control, ...],
    views: Callable[[Mapping[str, Any], Sequence[str]], Sequence[TaskView | LadderView]] = tasks_of,
    doubt: Callable[[Any], str] = lambda view: "",
    **declared: Any,
) -> Claim:
    """A claim whose parts are tasks, ladders, or named values in these, each with its controls."""

    def evidence(values: Mapping[str, Any]) -> Evidence:
        parts: dict[str, stats.Samples] = {}
        tested: dict[str, stats.Samples] = {}
        undecided: dict[str, str] = {}
        missing: KeyError | None = None
        found = views(values, tasks)
        for view in found:
            place = view.name if len(found) > 1 else ""
            try:
                measured = part(view)
                edges = view.edges()  # only for the arms of the part: a control may be on an edge
                spoilt = {control: measure(view) for control, measure in controls.items()}
                said = "; ".join(filter(None, [edges, doubt(view), *view.doubts]))
            except KeyError as error:
                missing = error
                continue
            for own, samples in measured.items():
                name = ", ".join(filter(None, [place, own]))
                parts[name] = samples
                undecided[name] = said
                for control, by_name in spoilt.items():
                    tested[control_of(control, name)] = by_name[own if own in by_name else ""]
        if not parts:
            raise missing or KeyError(f"task {' or '.join(tasks)}")
        return Evidence(parts, tested, {name: why for name, why in undecided.items() if why})

    return Claim(
        id=id,
        study="",
        statement=statement,
        controls=declarations,
        evidence=evidence,
        **_sourced(declared),
    )
