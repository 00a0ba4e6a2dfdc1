"""Mixture of students: a shallower mixture of experts, distilled from a deeper one for a while.

A teacher is trained first, at its own learning rate. Four students with one layer fewer then train
from the same initialisation and on the same batches: without distillation, with it to the end, with
it for part of the steps (staged), and staged with an untrained teacher as a control. A student's
loss is next-token cross-entropy plus alpha times the KL divergence from its teacher's predictions.
All four use the learning rate that was tuned for the student without a teacher. Students differ
only in numbers, so they share one program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Lt

from experiments.moe_scaling import language
from experiments.moe_scaling.language import LOSS, Network, Schedule, loss
from jaxtrends import charts, declare, optimizers, train, transformer
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import ABOVE_ZERO, BELOW_ZERO
from jaxtrends.errors import Problem
from jaxtrends.settings import Name, PositiveFloat, PositiveInt
from jaxtrends.study import Run
from jaxtrends.transformer import Transformer

PyTree = Any
STUDENTS = ("none", "full", "staged", "untrained_teacher")
READ = ("lookup", "english")
NEVER = jnp.iinfo(jnp.int32).max


@dataclass(frozen=True)
class Distillation:
    """Teacher and students."""

    task: Name[READ] = "lookup"
    """Task: lookup or english."""
    experts: PositiveInt = 8
    """Experts per layer."""
    teacher_steps: PositiveInt = 1000
    """Training steps of the teacher, a multiple of --log-every."""
    teacher_rate: PositiveFloat = 3e-3
    """Learning rate of the teacher."""
    alpha: PositiveFloat = 1.0
    """Weight of the KL divergence from the teacher."""
    until: Annotated[float, Gt(0), Lt(1)] = 0.6
    """Share of the students' steps after which staged distillation stops."""
    network: Network = field(default_factory=Network)
    """Sizes of the teacher; students have one layer fewer."""
    schedule: Schedule = field(default_factory=Schedule)
    """Training of the students; the learning rate is tuned for the one without a teacher."""

    def check(self, flag: str) -> None:
        """Refuse a teacher of one layer, and teacher steps that are not a log point.

        Raises:
            Problem: names the flags.
        """
        if self.network.layers < 2:
            raise Problem(
                "A student has one layer fewer than its teacher, so the teacher needs at least "
                f"two: raise --{flag}.network.layers."
            )
        if self.teacher_steps % self.schedule.log_every:
            raise Problem(
                f"--{flag}.teacher-steps {self.teacher_steps} is not a multiple of "
                f"--{flag}.schedule.log-every {self.schedule.log_every}."
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The task, as a tuple."""
        return (self.task,)

    @property
    def leaves(self) -> int:
        """Steps of the students after which staged distillation stops."""
        return round(self.until * self.schedule.steps)


# --- arms ----------------------------------------------------------------------------------------


def network(setting: Setting, arm: str) -> Transformer:
    """The teacher's network, or a student's."""
    layers = setting.part.network.layers - (arm != "teacher")
    return language.network(setting, (setting.part.experts,) * layers)


def divergence(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """KL divergence of the student's predictions from the teacher's, in nats per token.

    Both are logits (..., vocabulary); no gradient flows into the teacher's.
    """
    known = jax.nn.log_softmax(jax.lax.stop_gradient(teacher))
    return jnp.mean(jnp.sum(jnp.exp(known) * (known - jax.nn.log_softmax(student)), axis=-1))


@cache
def students(
    teacher: Transformer, student: Transformer, schedule: Schedule, alpha: float, seen: int
) -> train.Trainer:
    """Students whose lane starts with their teacher's parameters.

    A lane's ``leaves`` is the step at which distillation stops; where ``misled`` is set, the
    teacher is untrained. Batches continue after the teacher's ``seen`` steps.
    """
    teach, learn = transformer.transformer(teacher), transformer.transformer(student)
    own_loss = transformer.language_loss(schedule.balance, schedule.z)
    adam = optimizers.adam(schedule.warm_up)

    def init(lane: PyTree, data: PyTree) -> PyTree:
        key, _, noise = train.streams(lane["seed"])
        untrained, misled = teach.init(jax.random.fold_in(noise, 0)), lane["misled"] > 0
        return {
            **train.learner(learn.init(key), adam(lane)),
            "teacher": jax.tree.map(partial(jnp.where, misled), untrained, lane["start"]),
            "step": jnp.zeros((), jnp.int32),
        }

    def step(lane: PyTree, state: PyTree, data: PyTree) -> tuple[PyTree, train.Metrics]:
        inputs, labels = train.drawn(lane, seen + state["step"], data["train"], schedule.batch_size)
        known = teach.apply(state["teacher"], inputs)[0]
        helped = state["step"] < lane["leaves"]
        weight = jnp.where(helped, jnp.float32(alpha), jnp.float32(0))

        def of(params: PyTree) -> jax.Array:
            outputs = learn.apply(params, inputs)
            return own_loss(outputs, labels) + weight * divergence(outputs[0], known)

        learned = train.descend(jax.grad(of)(state["params"]), state, adam(lane))
        return {**state, **learned, "step": state["step"] + 1}, {}

    def score(name: str) -> Callable[[PyTree, PyTree, PyTree], train.Metrics]:
        def scores(lane: PyTree, state: PyTree, data: PyTree) -> train.Metrics:
            inputs, labels = data[name]
            outputs = learn.apply(state["params"], inputs)
            return {f"{name}_cross_entropy": transformer.next_token_loss(outputs, labels)}

        return scores

    return train.Trainer(
        init, step, score("validation"), score("test"), stacked=transformer.with_experts
    )


def made(arm: str, setting: Setting) -> Arm:
    """The teacher, or a student after it."""
    part, (teacher, mine) = setting.part, (network(setting, name) for name in ("teacher", arm))
    if arm == "teacher":
        return language.arm(setting, teacher, steps=part.teacher_steps, rate=part.teacher_rate)
    return Arm(
        students(teacher, mine, part.schedule, part.alpha, part.teacher_steps),
        numbers={
            "leaves": {"none": 0, "full": NEVER}.get(arm, part.leaves),
            "misled": int(arm == "untrained_teacher"),
        },
        facts=transformer.cost(mine, part.schedule.batch_size),
        rate_of="" if arm == "none" else "none",
        after="teacher",
    )


# --- what is claimed and drawn -------------------------------------------------------------------


def facts(setting: Setting, run: Run) -> dict[str, Any]:
    """The task's known floor, and the last log point before staged distillation stops."""
    each = setting.part.schedule.log_every
    return {**language.floor(setting, run), "leave_step": setting.part.leaves // each * each}


def at_leave(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The teacher's final loss, and every student's loss when staged distillation stops."""
    point = max(task["leave_step"] // task["log_every"], 1) - 1
    return {
        "teacher": task["arms"]["teacher"]["metrics"][LOSS],
        "arms": {who: {"loss_at_leave": curves[f"{who}/{LOSS}"][:, point]} for who in STUDENTS},
    }


CLAIMS = (
    declare.compare(
        "D6a",
        "A student with one layer fewer ends at a lower loss if it is distilled from a teacher in "
        "the first part of training.",
        "staged",
        "none",
        on=LOSS,
        quantity="final validation loss, staged distillation - no teacher (nats per token)",
        region=BELOW_ZERO,
        reason="at 0 the teacher makes no difference",
        fails={"untrained_teacher": "an untrained teacher must not help its student"},
        where="Section 4.2, Figure 5",
    ),
    declare.derive(
        "D6b",
        "Distilling to the end hurts: the student ends at a higher loss than with staged "
        "distillation.",
        lambda task: (loss(task, "full"), loss(task, "staged")),
        quantity="final validation loss, full distillation - staged (nats per token)",
        statistic="paired difference",
        region=ABOVE_ZERO,
        reason="at 0 the teacher might as well stay",
        fails={
            "a teacher that left": (
                lambda task: (loss(task, "staged"), loss(task, "none")),
                "staged distillation must not hurt too, or it is not distilling to the end that "
                "hurts",
            )
        },
        reported="distillation hurts after about 400,000 steps",
        where="Section 4.2, Figure 5",
    ),
)


def leaving(task: Mapping[str, Any]) -> dict[str, float]:
    """A mark where staged distillation stops."""
    return {"staged distillation stops": float(task["leave_step"])}


STUDY = Comparison(
    about="shallower students with full, staged and no distillation",
    arms={arm: partial(made, arm) for arm in ("teacher", *STUDENTS)},
    metric="cross_entropy",
    unit="nats per token",
    data=language.splits,
    facts=facts,
    also=at_leave,
    claims=CLAIMS,
    figures=(
        charts.marked(
            charts.over(arms=STUDENTS, rule="teacher", title="Distilled students"), leaving
        ),
        charts.marked(charts.difference(STUDENTS[1:], "none"), leaving),
    ),
    more=(LOSS, "loss_at_leave"),
)
