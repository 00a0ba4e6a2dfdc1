"""Mixture of students: a shallower mixture of experts, distilled from a deeper one for a while.

A teacher is trained first, at its own learning rate. Students with one layer fewer then train from
the same initialisation and on the same batches: without distillation, with it to the end, with it
for part of the steps (staged), and staged with an untrained teacher as a control. A student's loss
is next-token cross-entropy plus alpha times the KL divergence from its teacher's predictions. All
use the learning rate that was tuned for the student without a teacher. Students differ only in
numbers, so they share one program.

The paper compares students after equal steps. A teacher's forward pass costs compute too, a third
of what training on the token would, while it is listened to. At equal compute, the student without
a teacher trains on until it has spent that of staged distillation, and distillation to the end is
read off its curve where it has. The training of the teacher is not counted: it is there already,
and the same for all.
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

from experiments.moe_scaling import language, layout
from experiments.moe_scaling.language import LOSS, TEST_LOSS, Network, Schedule
from jaxtrends import charts, declare, optimizers, train, transformer
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import ABOVE_ZERO, BELOW_ZERO, Quantity
from jaxtrends.errors import Problem
from jaxtrends.settings import Name, NonNegativeInt, PositiveFloat, PositiveInt
from jaxtrends.study import Run
from jaxtrends.transformer import Transformer

PyTree = Any
STUDENTS = ("none", "none_longer", "full", "staged", "untrained_teacher")
AT_EQUAL_COMPUTE = "loss_at_equal_compute"
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
    seeds: NonNegativeInt = 0
    """Reporting seeds; --seeds if 0."""
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


def listened(part: Distillation, arm: str) -> float:
    """The share of an arm's steps in which a teacher is asked."""
    share = part.leaves / part.schedule.steps
    return {"none": 0.0, "none_longer": 0.0, "full": 1.0}.get(arm, share)


def operations(setting: Setting, arm: str) -> tuple[float, float]:
    """FLOPs a token of a student's training, and of its teacher's forward passes, on average."""
    asked = transformer.training_operations(network(setting, "teacher")) / 3
    learning = transformer.training_operations(network(setting, arm))
    return learning, asked * listened(setting.part, arm)


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

        def alone(params: PyTree) -> jax.Array:
            return own_loss(learn.apply(params, inputs), labels)

        def helped(params: PyTree) -> jax.Array:
            outputs = learn.apply(params, inputs)
            known = teach.apply(state["teacher"], inputs)[0]
            return own_loss(outputs, labels) + alpha * divergence(outputs[0], known)

        gradient = jax.lax.cond(
            state["step"] < lane["leaves"], jax.grad(helped), jax.grad(alone), state["params"]
        )
        learned = train.descend(gradient, state, adam(lane))
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
    tokens, steps = part.schedule.batch_size * setting.config.texts.context, 0
    if arm == "none_longer":
        spent = sum(operations(setting, "staged"))
        steps = layout.equal_compute(part.schedule, sum(operations(setting, arm)), spent)
    learning, asked = operations(setting, arm)
    return Arm(
        students(teacher, mine, part.schedule, part.alpha, part.teacher_steps),
        numbers={
            "leaves": {"none": 0, "none_longer": 0, "full": NEVER}.get(arm, part.leaves),
            "misled": int(arm == "untrained_teacher"),
        },
        facts={
            **transformer.cost(mine, part.schedule.batch_size),
            "flops": tokens * (learning + asked),
            "teacher_flops": tokens * asked,
        },
        steps=steps,
        rate_of="" if arm == "none" else "none",
        after="teacher",
    )


# --- what is claimed and drawn -------------------------------------------------------------------


def facts(setting: Setting, run: Run) -> dict[str, Any]:
    """The task's known floor, and the last log point before staged distillation stops."""
    each = setting.part.schedule.log_every
    return {**language.floor(setting, run), "leave_step": setting.part.leaves // each * each}


def read(task: Mapping[str, Any], curves: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The teacher's loss, every student's when staged distillation stops, and at equal compute.

    That is the validation loss where a student has spent the FLOPs of staged distillation, for the
    students that get so far.
    """
    point = max(task["leave_step"] // task["log_every"], 1) - 1
    found: dict[str, Any] = {}
    budget = task["steps"] * task["arms"]["staged"]["facts"]["flops"]
    for who in STUDENTS:
        arm, curve = task["arms"][who], curves[f"{who}/{LOSS}"]
        found[who] = {"loss_at_leave": curve[:, point]}
        steps = budget / arm["facts"]["flops"]
        if steps < arm["steps"] + task["log_every"] / 2:  # that of none_longer is the nearest
            found[who][AT_EQUAL_COMPUTE] = language.loss_at(curve, steps, task["log_every"])
    return {"teacher": task["arms"]["teacher"]["metrics"][LOSS], "arms": found}


def between(one: str, other: str, on: str = TEST_LOSS) -> Quantity:
    """The losses of two students."""
    return lambda task: (task[one][on], task[other][on])


HELPS = {
    "statistic": "paired difference",
    "region": BELOW_ZERO,
    "reason": "at 0 the teacher makes no difference",
    "where": "Section 4.2, Figure 5",
}
HURTS = {
    "statistic": "paired difference",
    "region": ABOVE_ZERO,
    "reason": "at 0 the teacher might as well stay",
    "where": "Section 4.2, Figure 5",
}
UNTRAINED = (
    "an untrained teacher must not help its student: it would if distillation only smoothed the "
    "labels, or if the students' arithmetic differed"
)
LEFT = (
    "staged distillation must not hurt too, at equal steps: it would if the teacher were no better "
    "than its student, and then it is not distilling to the end that hurts"
)
CLAIMS = (
    declare.derive(
        "D6c",
        "A student with one layer fewer ends at a lower loss if it is distilled from a teacher in "
        "the first part of training, at equal compute.",
        between("staged", "none_longer"),
        quantity="test loss, staged distillation - no teacher but more steps (nats per token); the "
        "teacher's forward passes count as compute",
        fails={"untrained teacher": (between("untrained_teacher", "none_longer"), UNTRAINED)},
        source="derived",
        **HELPS,
    ),
    declare.derive(
        "D6a",
        "A student with one layer fewer ends at a lower loss if it is distilled from a teacher in "
        "the first part of training, at equal steps.",
        between("staged", "none"),
        quantity="test loss, staged distillation - no teacher (nats per token)",
        fails={"untrained teacher": (between("untrained_teacher", "none"), UNTRAINED)},
        **HELPS,
    ),
    declare.derive(
        "D6d",
        "Distilling to the end hurts: the student has a higher loss than with staged distillation, "
        "at equal compute.",
        between("full", "staged", AT_EQUAL_COMPUTE),
        quantity="validation loss where both have spent the FLOPs of staged distillation: full "
        "distillation - staged (nats per token); the teacher's forward passes count as compute",
        fails={"a teacher that left": (between("staged", "none"), LEFT)},
        source="derived",
        **HURTS,
    ),
    declare.derive(
        "D6b",
        "Distilling to the end hurts: the student ends at a higher loss than with staged "
        "distillation, at equal steps.",
        between("full", "staged"),
        quantity="test loss, full distillation - staged (nats per token)",
        fails={"a teacher that left": (between("staged", "none"), LEFT)},
        reported="distillation hurts after about 400,000 steps",
        **HURTS,
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
    also=read,
    claims=CLAIMS,
    figures=(
        charts.marked(
            charts.over(arms=STUDENTS, rule="teacher", title="Distilled students"), leaving
        ),
        charts.marked(charts.difference(STUDENTS[2:], "none"), leaving),
    ),
    more=(LOSS, "loss_at_leave", AT_EQUAL_COMPUTE),
)
