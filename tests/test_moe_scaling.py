"""Mixtures at scale: crossings, arms of equal arithmetic, students and verdicts by hand."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.moe_scaling import (
    arms,
    compute_to_quality,
    compute_to_quality_claims,
    dispatch_claims,
    distillation,
    distillation_claims,
    layout,
    layout_claims,
    planned,
    targets,
)
from experiments.moe_scaling import config as settings
from jaxtrends import claims, stats, transformer
from jaxtrends.errors import Problem

CLAIMS = {
    claim.id: claim
    for module in (
        compute_to_quality_claims,
        layout_claims,
        distillation_claims,
        dispatch_claims,
    )
    for claim in module.CLAIMS
}
SEEDS = 10
NOISE = np.random.default_rng(0).normal(size=SEEDS)
OTHER = np.random.default_rng(1).normal(size=SEEDS)


def judged(name, values):
    return claims.judge(CLAIMS[name], CLAIMS[name].evidence(values))


def verdict(name, values):
    return judged(name, values).verdict


# --- when a curve is there -----------------------------------------------------------------------


def test_a_power_law_crosses_where_its_formula_says():
    steps = np.arange(1, 41) * 25.0
    curve = 3.0 * steps**-0.3
    for target in (0.9, 0.6, 0.45):
        exact = (3.0 / target) ** (1 / 0.3)
        assert targets.crossing(curve, target, 25) == pytest.approx(exact, rel=1e-9)
    # The control: a straight line between points would be off.
    linear = np.interp(-0.9, -curve, steps)
    assert linear != pytest.approx((3.0 / 0.9) ** (1 / 0.3), rel=1e-4)


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([3.0, 1.0, 3.0, 1.0], (30.0, 40.0)),  # a dip is no arrival
        ([1.0, 1.0, 1.0, 1.0], (10.0, 10.0)),  # there from the first point on
        ([3.0, 2.5, 2.1, 2.0], (40.0, 40.0)),  # just at the target
        ([3.0, 2.5, 2.1, 2.01], (math.inf, math.inf)),
        ([1.0, 1.0, 1.0, math.nan], (math.inf, math.inf)),  # diverged at last
        ([math.inf, 1.0, 1.0, 1.0], (20.0, 20.0)),  # nothing to interpolate from
    ],
)
def test_arriving_means_staying(curve, expected):
    low, high = expected
    assert low <= targets.crossing(curve, 2.0, 10) <= high


def test_reach_is_seed_by_seed():
    curves = {"a": np.array([[3.0, 1.0], [3.0, 2.9]]), "b": np.array([[0.5, 0.5], [9.0, 4.0]])}
    found = targets.reach(curves, np.array([1.0, 4.0]), 5)
    np.testing.assert_allclose(found["a"], [10.0, 5.0])
    np.testing.assert_allclose(found["b"], [5.0, 10.0])


def task_values(steps, edge=False, drawn=True):
    """A task's values: arm -> steps to the target, with a little noise of its own."""
    cost = {"dense": 1e5, "dense_4x": 3e5}
    noise = iter((NOISE, OTHER, NOISE[::-1], OTHER[::-1], NOISE + OTHER, NOISE - OTHER))
    return {
        "tokens_per_step": 100,
        "seeds": list(range(SEEDS)),
        "arms": {
            arm: {
                "operations": cost.get(arm, 1.1e5),
                "operations_padded": cost.get(arm, 1.3e5),
                "parameters": 1000 * number,
                "grid": {"edge": edge},
                "steps_to_target": list(count * np.exp(0.02 * next(noise)))
                if math.isfinite(count)
                else [math.inf] * SEEDS,
            }
            for number, (arm, count) in enumerate(steps.items(), 1)
        },
    }


def compute_values(mixture, fixed=math.inf, plain=math.inf, in_turn=math.inf, **options):
    reached = {"dense": math.inf, "dense_4x": 1000.0}
    others = {"fixed_router": fixed, "by_position": in_turn}
    return {
        "tasks": {
            "lookup": task_values({**reached, "moe_16": mixture, **others}, **options),
            "one_cluster": task_values({**reached, "moe_16": plain}),
        }
    }


def test_the_cheaper_dense_network_counts():
    task = task_values({"dense": 1000.0, "dense_4x": 1000.0, "moe_16": 500.0})
    np.testing.assert_array_equal(
        targets.needed(task, "cheaper dense"), targets.needed(task, "dense")
    )
    task = task_values({"dense": 9000.0, "dense_4x": 1000.0})
    np.testing.assert_array_equal(
        targets.needed(task, "cheaper dense"), targets.needed(task, "dense_4x")
    )


@pytest.mark.parametrize(
    ("mixture", "direction", "five"),
    [
        # 1000 steps of 3e5 against n of 1.1e5: a ratio of 2727 / n.
        (400.0, "reproduced", "reproduced"),
        (900.0, "reproduced", "not reproduced"),
        (545.5, "reproduced", "inconclusive"),
        (2727.0, "inconclusive", "not reproduced"),
        (5000.0, "not reproduced", "not reproduced"),
        (math.inf, "not reproduced", "not reproduced"),
    ],
)
def test_compute_saved_is_judged_by_its_ratio(mixture, direction, five):
    values = compute_values(mixture)
    assert verdict("D1a", values) == direction
    assert verdict("D1b", values) == five
    estimate = judged("D1a", values).parts["lookup"].estimate
    if math.isfinite(mixture):
        assert estimate == pytest.approx(1000 * 3e5 / (mixture * 1.1e5), rel=0.05)


def test_padding_counts_in_its_own_claim():
    values = compute_values(2500.0)  # 1.09 without, 0.92 with
    assert verdict("D1a", values) == "reproduced"
    assert verdict("D1c", values) == "not reproduced"


def test_every_arm_spends_the_compute_of_the_larger_dense_network():
    assert targets.equal_compute(1000, 20, 2e5, 2e5) == 1000
    assert targets.equal_compute(1000, 20, 1e5, 2e5) == 2000
    assert targets.equal_compute(1000, 20, 1.5e5, 2e5) == 1340  # 1333.3 in whole log points


@pytest.mark.parametrize(
    ("name", "control", "steps"),
    [
        ("D1a", "in_turn", 900.0),
        ("D1b", "in_turn", 400.0),
        ("D1b", "plain", 400.0),
        ("D1c", "in_turn", 900.0),
    ],
)
def test_a_control_that_saves_as_much_makes_the_claim_invalid(name, control, steps):
    assert verdict(name, compute_values(400.0, **{control: steps})) == "invalid"
    assert verdict(name, compute_values(400.0, **{control: 4000.0})) == "reproduced"


@pytest.mark.parametrize(
    ("plain", "expected"),
    [(900.0, "reproduced"), (math.inf, "reproduced"), (200.0, "not reproduced")],
)
def test_clusters_matter_if_more_is_saved_with_them(plain, expected):
    assert verdict("D1i", compute_values(400.0, plain=plain)) == expected


def test_an_edge_leaves_the_claim_open_and_a_missing_arm_leaves_it_out():
    assert verdict("D1a", compute_values(400.0, edge=True)) == "inconclusive"
    values = compute_values(400.0)
    del values["tasks"]["one_cluster"]
    with pytest.raises(KeyError, match="task one_cluster"):
        CLAIMS["D1b"].evidence(values)
    with pytest.raises(KeyError, match="arm moe_4"):
        CLAIMS["D1g"].evidence(values)


def test_a_learned_router_is_compared_with_a_fixed_one():
    assert verdict("D1f", compute_values(400.0, fixed=900.0)) == "reproduced"
    assert verdict("D1f", compute_values(400.0, fixed=math.inf)) == "reproduced"
    assert verdict("D1f", compute_values(900.0, fixed=400.0)) == "not reproduced"
    # A fixed router that experts in turn beat is no rival.
    assert verdict("D1f", compute_values(400.0, fixed=1500.0, in_turn=900.0)) == "invalid"


def test_the_price_counts_only_where_the_loss_is_reached():
    assert verdict("D2", compute_values(400.0)) == "reproduced"
    assert verdict("D2", compute_values(math.inf)) == "inconclusive"


def test_seconds_are_judged_as_measured():
    def times(mixture):
        never = [math.inf] * SEEDS
        lookup = {"dense": never, "dense_4x": list(10 + 0.1 * NOISE), "by_position": never}
        return {"seconds_to_target": {"lookup": {**lookup, "moe_16": list(mixture + 0.1 * OTHER)}}}

    assert verdict("D1h", times(5.0)) == "reproduced"
    assert verdict("D1h", times(20.0)) == "not reproduced"


# --- arms ----------------------------------------------------------------------------------------


def test_the_smoke_run_trains_the_upper_half_by_the_program_of_its_mixture():
    config = settings.SMOKE
    networks = [
        compute_to_quality.network_of("moe_16", "lookup", config.compute_to_quality, config.texts),
        layout.network_of("second_half", "two_names", config.layout, config.texts),
    ]
    schedules = [config.compute_to_quality.schedule, config.layout.schedule]
    assert arms.trainer_of(networks[0], schedules[0]) is arms.trainer_of(networks[1], schedules[1])


@pytest.mark.parametrize("preset", settings.PRESETS)
def test_mixtures_do_the_arithmetic_of_the_dense_network_and_their_router(preset):
    config = settings.PRESETS[preset]
    chosen, width = config.compute_to_quality, config.compute_to_quality.network.width

    def network(arm):
        return compute_to_quality.network_of(arm, "lookup", chosen, config.texts)

    dense = transformer.training_operations(network("dense"))
    counts = {"moe_4": 4, "moe_16": 16, "moe_64": 64, "fixed_router": 16, "by_position": 16}
    for arm, experts in counts.items():
        made = network(arm)
        layers = sum(count > 0 for count in made.experts)
        assert made.experts[-1] == experts
        assert layers == math.ceil(chosen.network.layers / chosen.every)
        excess = transformer.training_operations(made) - dense
        assert excess == 3 * layers * 2 * width * experts
    assert network("fixed_router").mixture.assignment == "fixed"
    assert network("by_position").mixture.assignment == "position"


def test_top_2_residual_and_one_expert_do_equal_arithmetic():
    config = settings.FULL

    def operations(arm, padded=False):
        network = layout.network_of(arm, "lookup", config.layout, config.texts)
        return transformer.training_operations(network, padded=padded)

    assert operations("top_2") == operations("residual_half") == operations("uniform")
    # The places that two choices of half the width take are those of one of the whole.
    assert operations("top_2", padded=True) == operations("uniform", padded=True)
    assert operations("residual") > operations("uniform")


def test_layouts_place_experts_as_they_are_named():
    def experts(arm):
        return layout.experts_of(arm, layers=5, experts=8, pyramid_layers=2)

    assert experts("first_half") == (8, 8, 0, 0, 0)
    assert experts("second_half") == (0, 0, 0, 8, 8)
    assert experts("pyramid") == experts("pyramid_residual") == (8, 8, 8, 16, 16)
    assert experts("uniform_4x") == (32,) * 5
    assert experts("residual") == experts("top_2") == experts("uniform") == (8,) * 5
    assert experts("dense") == (0,) * 5


def test_the_halves_have_equal_parameters_and_the_pyramid_fewer():
    config = settings.FULL
    counts = {
        arm: arms.parameters(layout.network_of(arm, "lookup", config.layout, config.texts))
        for arm in ("first_half", "second_half", "pyramid_residual", "uniform_4x")
    }
    assert counts["first_half"] == counts["second_half"]
    assert counts["pyramid_residual"] < 0.6 * counts["uniform_4x"]


def test_tasks_of_one_network_share_their_trainer_and_their_vocabulary():
    config = settings.DEFAULT
    made = [
        compute_to_quality.network_of("moe_16", task, config.compute_to_quality, config.texts)
        for task in ("lookup", "one_cluster")
    ]
    schedule = config.compute_to_quality.schedule
    assert arms.trainer_of(made[0], schedule) is arms.trainer_of(made[1], schedule)
    for task in ("lookup", "one_cluster"):
        small = dataclasses.replace(config.texts, training=64)
        found = settings.load(dataclasses.replace(config, texts=small), task, None)
        assert found.vocabulary <= made[0].vocabulary
        data = arms.splits(found, 100)
        assert {name: len(part[0]) for name, part in data.items()} == {
            "train": 64,
            "validation": 100,
            "test": 100,
        }


# --- tuning --------------------------------------------------------------------------------------


def parabola(best):
    tried = []

    def losses_at(rates):
        tried.append(list(rates))
        return np.array([[abs(math.log10(rate / best))] * 2 for rate in rates])

    return losses_at, tried


def test_a_choice_inside_the_grid_tries_nothing_more():
    losses_at, tried = parabola(3e-3)
    rates, losses, best, edge = arms.tune(losses_at, (1e-3, 3e-3, 1e-2))
    assert (rates[best], edge, len(tried), losses.shape) == (3e-3, False, 1, (3, 2))


@pytest.mark.parametrize(
    ("optimum", "found", "edge"),
    [(1e-3, 1e-3, False), (1e-4, 1e-4, False), (1e-6, 1e-5, True), (9.0, 10.0, True)],
)
def test_a_choice_on_the_edge_extends_the_grid_twice_at_most(optimum, found, edge):
    losses_at, _ = parabola(optimum)
    rates, losses, best, at_edge = arms.tune(losses_at, (1e-3, 1e-2, 1e-1))
    assert rates[best] == pytest.approx(found)
    assert at_edge is edge
    assert rates == sorted(rates)
    assert len(losses) == len(rates) <= 5


def test_a_rate_at_which_a_seed_diverged_is_not_chosen():
    def losses_at(rates):
        return np.array([[1.0 - rate, np.inf if rate > 0.15 else 1.0 - rate] for rate in rates])

    rates, _, best, edge = arms.tune(losses_at, (0.05, 0.1, 0.2))
    assert (rates[best], edge) == (0.1, False)
    assert arms.tune(lambda rates: np.full((len(rates), 1), np.inf), (0.1, 0.2, 0.4))[3]


def test_tuning_and_reporting_seeds_are_disjoint():
    for config in settings.PRESETS.values():
        apart = arms.tuning_seeds(config, config.compute_to_quality.schedule)
        assert not set(apart) & set(arms.reporting_seeds(config))


# --- layouts -------------------------------------------------------------------------------------


def layouts(edge=False, **losses):
    losses = {"dense": 2.5, **losses}
    noise = dict(zip(losses, (NOISE[::-1], NOISE, OTHER, OTHER[::-1]), strict=False))
    return {
        "tasks": {
            "lookup": {
                "arms": {
                    arm: {
                        "final_loss": list(loss + 0.003 * noise[arm]),
                        "parameters": {"uniform_4x": 1000, "uniform": 300}.get(arm, 400),
                        "grid": {"edge": edge},
                    }
                    for arm, loss in losses.items()
                }
            }
        }
    }


def test_the_halves_are_judged_by_sign():
    assert verdict("D3a", layouts(first_half=2.0, second_half=1.9)) == "reproduced"
    assert verdict("D3a", layouts(first_half=1.9, second_half=2.0)) == "not reproduced"
    assert verdict("D3a", layouts(first_half=2.0, second_half=2.0)) == "inconclusive"
    assert verdict("D3a", layouts(first_half=2.0, second_half=1.9, edge=True)) == "inconclusive"
    # A dense network that beats the first half leaves nothing to compare.
    assert verdict("D3a", layouts(dense=1.5, first_half=2.0, second_half=1.9)) == "invalid"
    with pytest.raises(KeyError, match="task two_names"):
        verdict("D3b", layouts(first_half=2.0, second_half=1.9))


def test_on_par_means_inside_the_margin():
    def on_par(residual):
        return verdict("D4a", layouts(residual_half=residual, top_2=1.5, dense=1.8))

    assert [on_par(1.5), on_par(1.6), on_par(1.52)] == [
        "reproduced",
        "not reproduced",
        "inconclusive",
    ]
    # If even a dense network is on par, the claim says nothing.
    assert verdict("D4a", layouts(residual_half=1.5, top_2=1.5, dense=1.5)) == "invalid"


LAYOUTS = {"pyramid_residual": 1.0, "uniform": 1.5, "uniform_4x": 1.0}


@pytest.mark.parametrize(
    ("loss", "expected"), [(1.0, "reproduced"), (1.15, "not reproduced"), (1.1, "inconclusive")]
)
def test_a_gap_is_closed_by_eight_tenths(loss, expected):
    # From 1.5 to 1.0: eight tenths are at 1.1.
    values = layouts(pyramid_residual=loss, uniform=1.5, uniform_4x=1.0)
    assert verdict("D5a", layouts(dense=1.0, **{**LAYOUTS, "pyramid_residual": loss})) == "invalid"
    assert verdict("D5a", values) == expected
    assert verdict("D5d", values) == "reproduced"


def test_without_a_gap_there_is_nothing_to_close():
    values = layouts(pyramid_residual=1.0, uniform=1.2, uniform_4x=1.5)
    assert verdict("D5a", values) in ("inconclusive", "invalid")


# --- students ------------------------------------------------------------------------------------


def students(none, full, staged, untrained):
    drawn = {"none": NOISE, "full": OTHER, "staged": NOISE[::-1], "untrained_teacher": OTHER[::-1]}
    losses = {"none": none, "full": full, "staged": staged, "untrained_teacher": untrained}
    return {
        "grid": {"edge": False},
        "students": {
            who: {
                "final_loss": list(losses[who] + 0.003 * noise),
            }
            for who, noise in drawn.items()
        },
    }


def test_students_are_judged_by_sign_and_an_untrained_teacher_must_not_help():
    assert verdict("D6a", students(1.5, 1.4, 1.4, 1.5)) == "reproduced"
    assert verdict("D6a", students(1.5, 1.4, 1.6, 1.6)) == "not reproduced"
    assert verdict("D6a", students(1.5, 1.4, 1.4, 1.4)) == "invalid"
    assert verdict("D6b", students(1.5, 1.6, 1.4, 1.5)) == "reproduced"
    assert verdict("D6b", students(1.3, 1.6, 1.4, 1.5)) == "invalid"  # to leave harms as well
    assert verdict("D6b", students(1.5, 1.3, 1.4, 1.5)) == "not reproduced"


def test_divergence_is_that_of_the_definition_and_moves_the_student_alone():
    generator = np.random.default_rng(0)
    student, teacher = (jnp.asarray(generator.normal(size=(5, 7)), jnp.float32) for _ in range(2))
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (teacher, student))
    expected = (p * np.log(p / q)).sum(-1).mean()
    assert float(distillation.divergence(student, teacher)) == pytest.approx(expected, rel=1e-5)
    assert float(distillation.divergence(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)
    mine, theirs = jax.grad(distillation.divergence, (0, 1))(student, teacher)
    np.testing.assert_allclose(mine, (q - p) / 5, atol=1e-6)
    assert np.abs(theirs).max() == 0


def test_students_part_from_their_teacher_when_they_should():
    config = dataclasses.replace(
        settings.SMOKE.distillation,
        teacher_steps=6,
        network=dataclasses.replace(settings.SMOKE.distillation.network, width=8, hidden=8),
    )
    schedule = dataclasses.replace(config.schedule, steps=10, batch_size=4, warm_up=0)
    config = dataclasses.replace(config, schedule=schedule, until=0.5)
    texts = dataclasses.replace(settings.SMOKE.texts, context=8)
    found = settings.load(dataclasses.replace(settings.SMOKE, texts=texts), "lookup", None)
    data = jax.device_put(arms.splits(found, 8))
    trainer = distillation.trainer_of(config, texts)
    lane = {"seed": jnp.uint32(3), "learning_rate": jnp.float32(0.01)}
    state = jax.jit(trainer.init)(lane, data)
    step = jax.jit(lambda state: trainer.step(lane, state, data)[0])

    def weights(who):
        if who == "teacher":
            leaves = jax.tree.leaves(state["teacher"]["params"])
        else:
            mine = distillation.STUDENTS.index(who)
            leaves = [leaf[mine] for leaf in jax.tree.leaves(state["students"]["params"])]
        return np.concatenate([np.ravel(leaf) for leaf in leaves])

    def differ(one, other):
        return bool((weights(one) != weights(other)).any())

    teachers = [weights("teacher")]
    for number in range(16):
        state = step(state)
        teachers.append(weights("teacher"))
        # The teacher learns first and stays as it is then; students start together.
        assert (teachers[-1] != teachers[-2]).any() == (number < 6)
        assert differ("none", "full") == (number >= 6)
        assert differ("staged", "full") == (number >= 11)
        assert differ("untrained_teacher", "full") == (number >= 6)


# --- dispatch ------------------------------------------------------------------------------------


def test_dispatch_is_judged_at_the_most_experts():
    def ways(factor):
        index = 1.0 + 0.01 * NOISE
        return {
            "one-hot": list(factor * (1 + 0.01 * OTHER)),
            "index": list(index),
            "index again": list(index[::-1]),
        }

    measured = {"seconds": {"forward": {"8": ways(3.0), "32": ways(9.0)}}}
    assert verdict("D7a", measured) == "reproduced"
    measured = {"seconds": {"forward": {"8": ways(9.0), "32": ways(3.0)}}}
    assert verdict("D7a", measured) == "not reproduced"


def test_what_one_machine_cannot_show_says_why():
    for name in ("D4b", "D8"):
        assert claims.judge(CLAIMS[name], None).verdict == "not testable here"


# --- plans, and what is refused ------------------------------------------------------------------


def test_a_plan_counts_lanes_and_steps():
    config = settings.DEFAULT
    schedule = config.compute_to_quality.schedule
    found = planned.work(config)["compute_to_quality"]
    one, larger = found["lookup dense"], found["lookup dense_4x"]
    tuning = len(schedule.grid) * schedule.tuning_seeds * schedule.tuning_steps
    assert larger.lane_steps == tuning + config.seeds * schedule.steps
    spent = (one.lane_steps - tuning) * one.operations
    assert spent == pytest.approx((larger.lane_steps - tuning) * larger.operations, rel=0.02)
    tokens = schedule.batch_size * config.texts.context
    assert one.operations > transformer.training_operations(one.network) * tokens
    assert planned.operations(settings.LARGE)["compute_to_quality"] > 1e18
    assert all(seconds > 0 for seconds in planned.seconds(config).values())


def replaced(config, path, value):
    first, _, rest = path.partition(".")
    inner = replaced(getattr(config, first), rest, value) if rest else value
    return dataclasses.replace(config, **{first: inner})


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("compute_to_quality.schedule.batch_size", 0, "batch-size"),
        ("compute_to_quality.network.heads", 3, "shared by 3 heads"),
        ("compute_to_quality.network.capacity_factor", 0.0, "capacity-factor"),
        ("texts.context", 2, "at least 4 tokens"),
        ("texts.context", 4, "at least 5 tokens"),
        ("texts.held_out", 12, "not a multiple"),
        ("layout.experts", 300, "experts are more than the 128 tokens"),
        ("layout.network.layers", 1, "no two halves"),
        ("layout.tasks", ("lockup",), "Did you mean 'lookup'"),
        ("compute_to_quality.arms", ("dense", "moe_16"), "dense_4x"),
        ("compute_to_quality.arms", ("dense_4x", "moe_61"), "Did you mean"),
        ("compute_to_quality.schedule.grid", (0.1,), "three learning rates"),
        ("compute_to_quality.schedule.log_every", 7, "not a multiple"),
        ("distillation.until", 1.0, "between 0 and 1"),
        ("distillation.network.layers", 1, "one layer less"),
        ("dispatch.experts", (512,), "512 experts are more than the 256 tokens"),
        ("seeds", 0, "seeds"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(path, value, words):
    with pytest.raises(Problem, match=words) as refused:
        settings.check(replaced(settings.SMOKE, path, value))
    assert "\n" not in str(refused.value)


def test_a_text_shorter_than_its_windows_is_refused():
    pytest.importorskip("gensim", reason="the English text comes with the package gensim")
    config = replaced(settings.SMOKE, "texts.context", 10_000_000)
    with pytest.raises(Problem, match="too short"):
        settings.load(config, "english", None)


def test_data_are_those_of_the_studies_chosen():
    assert settings.datasets(settings.DEFAULT) == ("lookup", "one_cluster", "two_names")
    only = dataclasses.replace(settings.FULL, studies=("dispatch",))
    assert settings.datasets(only) == ()
    assert set(settings.datasets(settings.FULL)) == set(arms.TASKS)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_large_preset_lowers_for_accelerators(platform):
    config = settings.LARGE
    chosen = config.compute_to_quality
    network = compute_to_quality.network_of("moe_64", "lookup", chosen, config.texts)
    trainer = arms.trainer_of(network, chosen.schedule)
    tokens = jax.ShapeDtypeStruct((config.texts.training, config.texts.context), jnp.int32)
    data = {"train": (tokens, tokens)}
    lane = {
        "seed": jax.ShapeDtypeStruct((), jnp.uint32),
        "learning_rate": jax.ShapeDtypeStruct((), jnp.float32),
    }
    state = jax.eval_shape(trainer.init, lane, data)
    count = sum(leaf.size for leaf in jax.tree.leaves(state["params"]))
    assert 16 * count < 40e9  # bytes of weights, gradients and Adam's moments
    exported = jax.export.export(jax.jit(trainer.step), platforms=[platform])(lane, state, data)
    assert exported.platforms == (platform,)
    assert exported.out_avals[-1].shape == ()


def test_every_claim_names_a_statistic_that_reads_its_samples():
    for claim in CLAIMS.values():
        assert claim.statistic in stats.STATISTICS
        assert bool(claim.controls) or claim.not_testable, claim.id
