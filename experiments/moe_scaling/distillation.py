"""A mixture of students: a shallower mixture that learns from a deeper one, for a while.

One lane trains a teacher first, then four students of one layer less in lockstep, from one
initialisation and on the same batches: without the teacher, with it to the end, with it up to a
share of the steps (staged), and staged with a teacher that was never trained, as a control. The
loss of a student is the cross-entropy of the next token plus alpha times the divergence of its
predictions from its teacher's. One learning rate serves all four, chosen for the student without a
teacher; the teacher has its own, fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from experiments.moe_scaling import arms
from experiments.moe_scaling import distillation_figures as figures
from experiments.moe_scaling.arms import Network, Schedule, Texts
from jaxtrends import optimizers, train, transformer
from jaxtrends.errors import Problem, choose, require_positive
from jaxtrends.moe import Mixture
from jaxtrends.study import Run, StudyResult
from jaxtrends.transformer import Transformer

PyTree = Any
STUDENTS = ("none", "full", "staged", "untrained_teacher")


@dataclass(frozen=True)
class DistillationConfig:
    """Teacher and students."""

    task: str = "lookup"
    """What is learned: lookup or english."""
    experts: int = 8
    """Experts of every layer."""
    teacher_steps: int = 1000
    """Steps of the teacher, a multiple of --log-every."""
    teacher_rate: float = 3e-3
    """Learning rate of the teacher."""
    alpha: float = 1.0
    """Weight of the divergence from the teacher."""
    until: float = 0.6
    """Share of the students' steps after which the staged ones leave their teacher."""
    network: Network = field(default_factory=Network)
    """Sizes of the teacher; students have one layer less."""
    schedule: Schedule = field(default_factory=Schedule)
    """Training of the students; the grid is that of the student without a teacher."""


def networks_of(config: DistillationConfig, texts: Texts) -> tuple[Transformer, Transformer]:
    """Teacher and student."""

    def made(layers: int) -> Transformer:
        network = config.network
        mixture = Mixture(capacity_factor=network.capacity_factor)
        experts = (config.experts,) * layers
        return arms.sizes(
            config.task, texts, network, config.schedule, experts, network.hidden, mixture
        )

    return made(config.network.layers), made(config.network.layers - 1)


def check(config: DistillationConfig, texts: Texts) -> None:
    """Refuse what cannot be run.

    Raises:
        Problem: names the flag at fault.
    """
    choose("task", config.task, ("lookup", "english"))
    arms.check_texts(texts, (config.task,))
    require_positive(
        **{
            "distillation.experts": config.experts,
            "distillation.teacher-steps": config.teacher_steps,
            "distillation.teacher-rate": config.teacher_rate,
            "distillation.alpha": config.alpha,
        }
    )
    if config.network.layers < 2:
        raise Problem(
            "A student has one layer less than its teacher, which therefore needs two: raise "
            "--distillation.network.layers."
        )
    if not 0 < config.until < 1:
        raise Problem(
            f"--distillation.until must lie between 0 and 1, not {config.until}: full and no "
            "distillation are trained anyway."
        )
    if config.teacher_steps % config.schedule.log_every:
        raise Problem(
            f"--distillation.teacher-steps {config.teacher_steps} is not a multiple of "
            f"--distillation.schedule.log-every {config.schedule.log_every}."
        )
    teacher, student = networks_of(config, texts)
    arms.check("distillation", texts, config.schedule, {"teacher": teacher, "student": student})


def divergence(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """KL divergence of the student's predictions from the teacher's, in nats a token.

    Both are logits (..., vocabulary); the teacher's carry no gradient.
    """
    known = jax.nn.log_softmax(jax.lax.stop_gradient(teacher))
    return jnp.mean(jnp.sum(jnp.exp(known) * (known - jax.nn.log_softmax(student)), axis=-1))


def trainer_of(config: DistillationConfig, texts: Texts) -> train.Trainer:
    """Teacher, then students, as one trainer; its steps are those of both one after the other."""
    schedule = config.schedule
    teacher_network, student_network = networks_of(config, texts)
    teach = transformer.transformer(teacher_network)
    learn = transformer.transformer(student_network)
    loss = transformer.language_loss(schedule.balance, schedule.z)
    adam = optimizers.adam(schedule.warm_up)
    staged, never = round(config.until * schedule.steps), jnp.iinfo(jnp.int32).max
    leave = jnp.asarray([0, never, staged, staged], jnp.int32)  # in the order of STUDENTS
    untrained = jnp.asarray([False, False, False, True])

    def init(lane: PyTree, data: PyTree) -> PyTree:
        key, _, noise = train.streams(lane["seed"])
        teacher, student = teach.init(key), learn.init(key)
        return {
            "teacher": _with_memory(teacher, adam(_teacher_lane(config))),
            "untrained": teach.init(jax.random.fold_in(noise, 0)),
            "students": jax.vmap(lambda _: _with_memory(student, adam(lane)))(leave),
            "step": jnp.zeros((), jnp.int32),
        }

    def step(lane: PyTree, state: PyTree, data: PyTree) -> tuple[PyTree, train.Metrics]:
        _, order, _ = train.streams(lane["seed"])
        inputs, labels = data["train"]
        rows = jax.random.randint(
            jax.random.fold_in(order, state["step"]),
            (schedule.batch_size,),
            0,
            labels.shape[0],
            jnp.int32,
        )
        batch = inputs[rows], labels[rows]
        state = jax.lax.cond(
            state["step"] < config.teacher_steps, of_teacher, of_students, lane, state, batch
        )
        return {**state, "step": state["step"] + 1}, {}

    def of_teacher(lane: PyTree, state: PyTree, batch: PyTree) -> PyTree:
        def of(params: PyTree) -> jax.Array:
            return loss(teach.apply(params, batch[0]), batch[1])

        return {**state, "teacher": _descend(of, state["teacher"], adam(_teacher_lane(config)))}

    def of_students(lane: PyTree, state: PyTree, batch: PyTree) -> PyTree:
        known = teach.apply(state["teacher"]["params"], batch[0])[0]
        guessed = teach.apply(state["untrained"], batch[0])[0]
        done = state["step"] - config.teacher_steps

        def one(student: PyTree, leaves: jax.Array, misled: jax.Array) -> PyTree:
            weight = jnp.where(done < leaves, jnp.float32(config.alpha), jnp.float32(0))
            teacher = jnp.where(misled, guessed, known)

            def of(params: PyTree) -> jax.Array:
                outputs = learn.apply(params, batch[0])
                return loss(outputs, batch[1]) + weight * divergence(outputs[0], teacher)

            return _descend(of, student, adam(lane))

        return {**state, "students": jax.vmap(one)(state["students"], leave, untrained)}

    def score(name: str) -> Callable[[PyTree, PyTree, PyTree], train.Metrics]:
        def scores(lane: PyTree, state: PyTree, data: PyTree) -> train.Metrics:
            inputs, labels = data[name]

            def one(params: PyTree) -> jax.Array:
                return transformer.next_token_loss(learn.apply(params, inputs), labels)

            students = jax.vmap(one)(state["students"]["params"])
            outputs = teach.apply(state["teacher"]["params"], inputs)
            losses = [transformer.next_token_loss(outputs, labels), *students]
            names = (f"{name}_{who}" for who in ("teacher", *STUDENTS))
            return dict(zip(names, losses, strict=True))

        return scores

    return train.Trainer(init, step, score("validation"), score("test"))


def _teacher_lane(config: DistillationConfig) -> dict[str, jax.Array]:
    return {"learning_rate": jnp.float32(config.teacher_rate)}


def _with_memory(params: PyTree, optimizer: Any) -> PyTree:
    with jax.numpy_dtype_promotion("standard"):  # Optax mixes Python and array numbers
        return {"params": params, "optimizer": optimizer.init(params)}


def _descend(loss: Callable[[PyTree], jax.Array], learner: PyTree, optimizer: Any) -> PyTree:
    gradient = jax.grad(loss)(learner["params"])
    with jax.numpy_dtype_promotion("standard"):
        update, memory = optimizer.update(gradient, learner["optimizer"], learner["params"])
    params = jax.tree.map(jnp.add, learner["params"], update)
    return {"params": params, "optimizer": memory}


def run(config: Any, run: Run) -> StudyResult:
    """Tune the students' rate, then train teachers and students on the reporting seeds."""
    chosen: DistillationConfig = config.distillation
    schedule, found = chosen.schedule, run.dataset(chosen.task)
    whole = replace(
        schedule,
        steps=chosen.teacher_steps + schedule.steps,
        tuning_steps=chosen.teacher_steps + schedule.tuning_steps,
    )
    trainer = trainer_of(chosen, config.texts)
    data = arms.splits(found, config.texts.held_out)
    tuned, metrics = arms.train_arm(
        chosen.task, "students", trainer, whole, data, config, run, judged="validation_none"
    )
    before = chosen.teacher_steps // schedule.log_every
    curves = {
        f"{chosen.task}/{who}/validation_cross_entropy": metrics[f"validation_{who}"][:, before:]
        for who in STUDENTS
    }
    leave = round(chosen.until * schedule.steps) // schedule.log_every  # the last point before
    teacher, student = networks_of(chosen, config.texts)
    values = {
        **tuned,
        "floor": found.floor,
        "seeds": arms.reporting_seeds(config),
        "tuning_seeds": arms.tuning_seeds(config, schedule),
        chosen.task: {"log_every": schedule.log_every, "seeds": arms.reporting_seeds(config)},
        "teacher": {
            **arms.cost(teacher),
            "final_loss": arms.final(metrics["validation_teacher"]),
        },
        "student": arms.cost(student),
        "leave_step": leave * schedule.log_every,
        "students": {
            who: {
                "final_loss": arms.final(curves[f"{chosen.task}/{who}/validation_cross_entropy"]),
                "loss_at_leave": metrics[f"validation_{who}"][:, before + max(leave, 1) - 1],
                "test_loss": metrics[f"test_{who}"],
            }
            for who in STUDENTS
        },
    }
    return StudyResult(
        values=values,
        curves=curves,
        tables=[figures.outcomes(values)],
        figures=[figures.curves(chosen.task, values, curves, schedule.log_every)],
    )
