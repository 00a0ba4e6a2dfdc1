"""Mixtures at scale: arms of equal arithmetic, students, and verdicts on values made by hand."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import moe_scaling
from experiments.moe_scaling import (
    compute_to_quality,
    dispatch,
    distillation,
    halves,
    language,
    layout,
    model_size,
    second_expert,
)
from jaxtrends import charts, claims, moe, record, settings, timing, transformer
from jaxtrends.errors import Problem
from tests.plain_run import PlainRun

PRESETS = moe_scaling.EXPERIMENT.presets
SMOKE, FULL = PRESETS["smoke"], PRESETS["full"]
MODULES = (compute_to_quality, model_size, halves, second_expert, layout, distillation, dispatch)
CLAIMS = {claim.id: claim for module in MODULES for claim in module.CLAIMS}
SEEDS = 10
NOISE = np.random.default_rng(0).normal(size=SEEDS)
OTHER = np.random.default_rng(1).normal(size=SEEDS)
DRAWN = (NOISE, OTHER, NOISE[::-1], OTHER[::-1], NOISE + OTHER, NOISE - OTHER)


def judged(name, values):
    return claims.judge(CLAIMS[name], CLAIMS[name].evidence(values))


def verdict(name, values):
    return judged(name, values).verdict


def replaced(config, path, value):
    first, _, rest = path.partition(".")
    inner = replaced(getattr(config, first), rest, value) if rest else value
    return dataclasses.replace(config, **{first: inner})


def setting_of(config, study, task):
    module = getattr(moe_scaling, study)
    return module.STUDY.settings(config, study)[task]


# --- compute to quality --------------------------------------------------------------------------


BUDGETS = compute_to_quality.BUDGETS


def task_values(steps, edge=False, losses=None, saving=None):
    """A task's values: arm -> steps to the target, with a little noise of its own.

    ``saving`` has steps to the targets of smaller budgets: budget -> arm -> steps.
    """
    flops = {"dense": 1e5, "dense_4x": 3e5, "dense_16x": 7e5}

    def drawn(count, noise):
        finite = math.isfinite(count)
        return count * np.exp(0.02 * noise) if finite else np.full(SEEDS, math.inf)

    arms = {}
    for (arm, count), noise in zip(steps.items(), DRAWN, strict=False):
        metrics = {"steps_to_target": drawn(count, noise)}
        for budget in BUDGETS[:-1]:
            own = (saving or {}).get(budget, steps)
            metrics[compute_to_quality.arrival(budget)] = drawn(own.get(arm, math.inf), noise)
        metrics["test_cross_entropy"] = (losses or {}).get(arm, 3.0) + 0.01 * noise
        facts = {
            "flops": flops.get(arm, 1.1e5),
            "flops_padded": flops.get(arm, 1.3e5),
            "process_seconds": [0.1, 0.1, 0.1],
        }
        arms[arm] = {"facts": facts, "metrics": metrics, "grid": {"edge": edge}}
    return {"arms": arms, "seeds": list(range(SEEDS))}


def compute_values(mixture, fixed=math.inf, in_turn=math.inf, **options):
    reached = {"dense": math.inf, "dense_4x": math.inf, "dense_16x": 1000.0}
    others = {"fixed_router": fixed, "by_position": in_turn}
    return {"tasks": {"lookup": task_values({**reached, "moe_16": mixture, **others}, **options)}}


@pytest.mark.parametrize(
    ("mixture", "direction", "five"),
    [
        # 1000 steps of 7e5 against n of 1.1e5: a ratio of 6364 / n.
        (1000.0, "reproduced", "reproduced"),
        (2000.0, "reproduced", "not reproduced"),
        (1272.7, "reproduced", "inconclusive"),
        (6364.0, "inconclusive", "not reproduced"),
        (9000.0, "not reproduced", "not reproduced"),
        (math.inf, "not reproduced", "not reproduced"),
    ],
)
def test_compute_saved_is_judged_against_the_cheapest_and_five_against_the_larger(
    mixture, direction, five
):
    values = compute_values(mixture)
    assert verdict("D1j", values) == direction
    assert verdict("D1k", values) == five
    (part,) = judged("D1j", values).parts.values()
    if math.isfinite(mixture):
        assert part.estimate == pytest.approx(1000 * 7e5 / (mixture * 1.1e5), rel=0.05)
    # Where a smaller dense network arrives with less, it counts, but not for the paper's factor.
    for arm in ("dense", "dense_4x"):
        values["tasks"]["lookup"]["arms"][arm] = task_values({arm: 100.0})["arms"][arm]
        assert verdict("D1j", values) == "not reproduced"
        assert verdict("D1k", values) == five


def test_a_factor_of_five_can_be_reached_by_every_preset():
    """The larger network has more than five times the FLOPs a token of the mixture."""
    for preset in ("default", "full"):
        setting = setting_of(PRESETS[preset], "compute_to_quality", "lookup")
        larger, mixture = (
            transformer.training_operations(compute_to_quality.network(setting, arm))
            for arm in (compute_to_quality.LARGER, "moe_16")
        )
        assert 5 < larger / mixture < 8


def test_one_seed_that_never_arrives_is_one_rank():
    values = compute_values(1000.0)
    steps = values["tasks"]["lookup"]["arms"]["moe_16"]["metrics"]["steps_to_target"]
    before = judged("D1j", values).parts[""].estimate
    steps[0] = math.inf
    found = judged("D1j", values)
    assert found.verdict == "reproduced"
    assert found.parts[""].estimate == pytest.approx(before, rel=0.05)


def test_padding_counts_in_its_own_claim():
    values = compute_values(5800.0)  # 1.10 without, 0.93 with
    assert verdict("D1j", values) == "reproduced"
    assert verdict("D1p", values) == "not reproduced"


@pytest.mark.parametrize("name", ["D1j", "D1k", "D1p", "D1s"])
def test_a_control_that_saves_as_much_makes_the_claim_invalid(name):
    assert verdict(name, compute_values(600.0, in_turn=600.0)) == "invalid"
    assert verdict(name, compute_values(600.0, in_turn=9000.0)) == "reproduced"


@pytest.mark.parametrize(
    ("mixture", "in_turn", "expected"),
    [
        (3.0, 3.5, "reproduced"),
        (2.8, 3.5, "reproduced"),  # better is on par too
        (3.2, 3.5, "not reproduced"),
        (3.0, 3.0, "invalid"),
    ],
)
def test_parity_is_of_test_losses_after_equal_tokens(mixture, in_turn, expected):
    losses = {"moe_16_equal_tokens": mixture, "by_position_equal_tokens": in_turn}
    steps = dict.fromkeys(("dense_16x", *losses), 100.0)
    values = {"tasks": {"lookup": task_values(steps, losses=losses)}}
    assert verdict("D1l", values) == expected


def test_a_saving_that_doubles_with_the_budget_has_a_slope_of_its_logarithm():
    saving = {
        budget: {"dense_16x": 1000.0 * budget, "moe_16": 1000.0, "by_position": 6000.0 * budget}
        for budget in BUDGETS[:-1]
    }
    values = compute_values(1000.0, saving=saving)  # experts in turn never arrive
    (part,) = judged("D1t", values).parts.values()
    assert part.estimate == pytest.approx(math.log(2), abs=0.02)
    assert verdict("D1t", values) == "reproduced"
    saving[0.5]["moe_16"] = math.inf
    undecided = judged("D1t", compute_values(1000.0, saving=saving))
    assert undecided.verdict == "inconclusive"
    assert "in 10 seeds 16 experts do not arrive" in undecided.note


def test_an_edge_leaves_the_claim_open_and_a_missing_arm_leaves_it_out():
    assert verdict("D1j", compute_values(1000.0, edge=True)) == "inconclusive"
    with pytest.raises(KeyError, match="arm moe_4"):
        CLAIMS["D1r"].evidence(compute_values(1000.0))


def test_a_learned_router_is_compared_with_a_fixed_one():
    assert verdict("D1q", compute_values(400.0, fixed=900.0)) == "reproduced"
    assert verdict("D1q", compute_values(400.0, fixed=math.inf)) == "reproduced"
    assert verdict("D1q", compute_values(900.0, fixed=400.0)) == "not reproduced"
    # A fixed router that experts in turn beat is no rival.
    assert verdict("D1q", compute_values(400.0, fixed=1500.0, in_turn=900.0)) == "invalid"


def test_seconds_are_steps_times_the_time_of_a_step_in_a_process():
    values = compute_values(600.0)
    assert verdict("D1s", values) == "reproduced"
    facts = values["tasks"]["lookup"]["arms"]["moe_16"]["facts"]
    facts["process_seconds"] = [0.1, 0.2, 0.4]  # one process cannot decide it
    assert verdict("D1s", values) == "inconclusive"
    facts["process_seconds"] = [0.4, 0.4, 0.4]
    assert verdict("D1s", values) == "not reproduced"


def test_every_arm_spends_the_compute_of_the_larger_dense_network_or_its_tokens():
    schedule = language.Schedule(steps=1000, log_every=20)
    assert compute_to_quality.equal_compute(schedule, 2e5, 2e5) == 1000
    assert compute_to_quality.equal_compute(schedule, 1e5, 2e5) == 2000
    assert compute_to_quality.equal_compute(schedule, 1.5e5, 2e5) == 1340  # 1333.3, in whole points
    setting = setting_of(PRESETS["default"], "compute_to_quality", "lookup")
    arms = {name: make(setting) for name, make in compute_to_quality.STUDY.arms.items()}
    equal = {name for name in arms if name.endswith("_equal_tokens")}
    assert {arms[name].steps for name in equal} == {arms["dense_16x"].steps}
    assert {arms[name].rate_of for name in equal} == {"moe_16", "by_position"}
    spent = {n: arm.steps * arm.facts["flops"] for n, arm in arms.items() if n not in equal}
    assert min(spent.values()) == spent["dense_16x"]
    assert max(spent.values()) < 1.05 * spent["dense_16x"]


def test_the_target_is_the_loss_of_the_larger_dense_arm_at_a_budget_seed_by_seed():
    curves = {
        "dense_16x/validation_cross_entropy": np.array(
            [[4.0, 3.0, 2.0, 1.0], [5.0, 5.0, 5.0, 4.0]]
        ),
        "moe_16/validation_cross_entropy": np.array(
            [[3.5, 2.5, 2.5, 2.5, 0.5, 0.5, 0.5, 0.5], [9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 4.0]]
        ),
    }
    task = {"log_every": 5, "arms": dict.fromkeys(("dense_16x", "moe_16"))}
    found = compute_to_quality.reach(task, curves)
    np.testing.assert_array_equal(found["target"], [1.0, 4.0])
    mixture = found["arms"]["moe_16"]
    np.testing.assert_allclose(found["arms"]["dense_16x"]["steps_to_target"], [20.0, 20.0])
    between = 20 * (25 / 20) ** (math.log(2.5 / 1.0) / math.log(2.5 / 0.5))  # on log-log scales
    assert mixture["steps_to_target"][0] == pytest.approx(between)
    assert mixture["steps_to_target"][1] == 40
    # At half the budget the target is 3, and only half of the mixture's curve counts.
    between = 5 * (10 / 5) ** (math.log(3.5 / 3.0) / math.log(3.5 / 2.5))
    assert mixture["steps_to_target_at_0.5"][0] == pytest.approx(between)
    assert mixture["steps_to_target_at_0.5"][1] == math.inf


# --- arms ----------------------------------------------------------------------------------------


def test_the_smoke_run_trains_the_upper_half_by_the_program_of_its_mixture():
    mixture = setting_of(SMOKE, "compute_to_quality", "lookup")
    half = setting_of(SMOKE, "halves", "two_names, 2 layers, 16 experts")
    one = compute_to_quality.STUDY.arms["moe_16"](mixture)
    assert one.trainer is halves.STUDY.arms["second_half"](half).trainer


@pytest.mark.parametrize("preset", PRESETS)
def test_mixtures_do_the_arithmetic_of_the_dense_network_and_their_router(preset):
    setting = setting_of(PRESETS[preset], "compute_to_quality", "lookup")
    sizes, every = setting.part.network, setting.part.every

    def network(arm):
        return compute_to_quality.network(setting, arm)

    dense = transformer.training_operations(network("dense"))
    counts = {"moe_4": 4, "moe_16": 16, "moe_64": 64, "fixed_router": 16, "by_position": 16}
    for arm, experts in counts.items():
        made = network(arm)
        layers = sum(count > 0 for count in made.experts)
        assert made.experts[-1] == experts
        assert layers == math.ceil(sizes.layers / every)
        excess = transformer.training_operations(made) - dense
        assert excess == 3 * layers * 2 * sizes.width * experts
    assert network("fixed_router").mixture.assignment == "fixed"
    assert network("by_position").mixture.assignment == "position"


def test_layouts_place_experts_as_they_are_named_and_do_equal_arithmetic():
    def experts(arm):
        return layout.LAYOUTS[arm](5, 8, 2)

    assert experts("first_half") == (8, 8, 0, 0, 0)
    assert experts("second_half") == (0, 0, 0, 8, 8)
    assert experts("pyramid") == experts("pyramid_residual") == (8, 8, 8, 16, 16)
    assert experts("uniform_4x") == (32,) * 5
    assert experts("residual") == experts("top_2") == experts("uniform") == (8,) * 5
    assert experts("dense") == (0,) * 5

    setting = setting_of(FULL, "layout", "lookup")
    facts = {arm: make(setting).facts for arm, make in layout.STUDY.arms.items()}
    flops = {arm: found["flops"] for arm, found in facts.items()}
    assert flops["top_2"] == flops["residual_half"] == flops["uniform"] < flops["residual"]
    # The places that two choices of half the width take are those of one of the whole.
    assert facts["top_2"]["flops_padded"] == facts["uniform"]["flops_padded"]
    assert facts["first_half"]["parameters"] == facts["second_half"]["parameters"]
    assert facts["pyramid_residual"]["parameters"] < 0.6 * facts["uniform_4x"]["parameters"]
    # The control of a layout with dense layers beside its experts has nearly its FLOPs a token.
    assert 0.97 < flops["dense_2x"] / flops["residual"] < 1
    assert flops["residual"] / flops["uniform"] == pytest.approx(1.37, abs=0.01)


@pytest.mark.parametrize("preset", ["default", "full"])
def test_layouts_spend_equal_compute_and_halves_have_it_by_construction(preset):
    setting = setting_of(PRESETS["full"], "layout", "lookup")
    arms = {arm: layout.STUDY.arms[arm](setting) for arm in layout.PYRAMIDS}
    spent = {arm: found.steps * found.facts["flops"] for arm, found in arms.items()}
    assert spent == pytest.approx(dict.fromkeys(spent, spent["uniform"]), rel=0.011)
    steps = {found.steps for found in arms.values()}
    assert min(steps) < 0.75 * max(steps)  # which equal steps would have hidden
    for setting in halves.STUDY.settings(PRESETS[preset], "halves").values():
        flops = [halves.made(arm, setting).facts["flops"] for arm in ("first_half", "second_half")]
        assert flops[0] == flops[1]


def test_every_depth_of_halves_has_one_dense_network():
    found = halves.STUDY.settings(FULL, "halves")
    assert list(found)[:5] == [
        "lookup, 2 layers, 4 experts",
        "lookup, 2 layers, 8 experts",
        "lookup, 2 layers, 16 experts",
        "lookup, 4 layers, 8 experts",
        "lookup, 2 layers, 8 experts, 600 steps",
    ]
    dense = [name for name, setting in found.items() if "dense" in setting.part.arms]
    assert dense[:3] == [list(found)[place] for place in (0, 3, 4)]
    for name, setting in found.items():
        half = setting.part.network.layers // 2
        made = halves.network(setting, "second_half")
        assert made.experts == (0,) * half + (int(setting.size),) * half
        assert f"{2 * half} layers, {int(setting.size)} experts" in name
        assert ("steps" in name) == (setting.part.schedule.steps != 360 and "english" not in name)
        assert len(setting.seeds) == {"two_names": 12}.get(setting.task, 16)


def test_a_curve_is_read_between_its_log_points():
    curves = np.array([[4.0, 2.0, 1.0], [8.0, 6.0, 5.0]])
    np.testing.assert_allclose(language.loss_at(curves, 15, 10), [3.0, 7.0])
    np.testing.assert_allclose(language.loss_at(curves, 30, 10), [1.0, 5.0])
    np.testing.assert_allclose(language.loss_at(curves, 99, 10), [1.0, 5.0])


def test_tasks_of_one_network_share_their_trainer_and_their_vocabulary():
    config = replaced(replaced(PRESETS["default"], "texts.training", 64), "texts.held_out", 96)
    settings_ = compute_to_quality.STUDY.settings(config, "compute_to_quality")
    trainers = {compute_to_quality.STUDY.arms["moe_16"](s).trainer for s in settings_.values()}
    assert len(trainers) == 1
    for task, setting in settings_.items():
        found = language.load(config, task, None)
        assert found.vocabulary <= compute_to_quality.network(setting, "moe_16").vocabulary
        data = language.splits(setting, PlainRun("compute_to_quality", {task: found}))
        counts = {name: len(part[0]) for name, part in data.items()}
        assert counts == {"train": 64, "validation": 96, "test": 96}


# --- halves --------------------------------------------------------------------------------------


def half_values(task="lookup", dense=2.5, edge=False, longer=False, halfway=None, **settings_):
    """Settings -> (first half, second half); the first of them has the dense network too."""
    tasks = {}
    for number, (name, (first, second)) in enumerate(settings_.items()):
        losses = {"first_half": first, "second_half": second}
        losses |= {} if number else {"dense": dense}
        before = halfway or dict.fromkeys(losses, 3.0)
        tasks[f"{task}, {name}"] = {
            "task": task,
            "layers": 2,
            "steps": 10,
            "longer": longer,
            "arms": {
                arm: {
                    "metrics": {
                        language.TEST_LOSS: loss + 0.003 * noise,
                        language.LOSS: loss + 0.003 * noise,
                        halves.HALFWAY: before[arm] + 0.003 * noise[::-1],
                    },
                    "facts": {},
                    "grid": {"edge": edge and number == 0},
                }
                for (arm, loss), noise in zip(losses.items(), DRAWN, strict=False)
            },
        }
    return {"tasks": tasks}


def test_the_halves_are_judged_by_sign_setting_by_setting():
    assert verdict("D3a", half_values(few=(2.0, 1.9))) == "reproduced"
    assert verdict("D3a", half_values(few=(1.9, 2.0))) == "not reproduced"
    # A dense network that beats the first half leaves nothing to compare.
    assert verdict("D3a", half_values(few=(2.0, 1.9), dense=1.5)) == "invalid"
    two = judged("D3a", half_values(few=(2.0, 1.9), many=(1.9, 2.0)))
    assert two.verdict == "partly reproduced"
    assert set(two.controls) == {"dense, lookup, few", "dense, lookup, many"}
    # A rate on the edge of its grid leaves its own setting open, and no other.
    doubted = judged("D3a", half_values(few=(2.0, 1.9), many=(2.0, 1.9), edge=True))
    assert [part.verdict for part in doubted.parts.values()] == ["inconclusive", "reproduced"]
    with pytest.raises(KeyError, match="task two_names"):
        verdict("D3b", half_values(few=(2.0, 1.9)))


@pytest.mark.parametrize(("key", "value"), [("layers", 4), ("steps", 20)])
def test_a_dense_network_of_another_depth_or_length_is_no_control(key, value):
    values = half_values(few=(2.0, 1.9), other=(2.0, 1.9))
    values["tasks"]["lookup, other"][key] = value
    assert len(judged("D3a", values).parts) == 1


@pytest.mark.parametrize(
    ("first", "second", "dense", "expected"),
    [
        # After half of the steps the second half leads by 0.2, and both lead a dense network.
        (2.0, 1.95, 2.5, "reproduced"),
        (2.0, 1.7, 2.5, "not reproduced"),
        (2.0, 1.8, 2.5, "inconclusive"),
        (2.0, 1.95, 2.05, "invalid"),  # where all come together, so do the halves
    ],
)
def test_the_lead_shrinks_while_that_over_a_dense_network_does_not(first, second, dense, expected):
    before = {"first_half": 2.4, "second_half": 2.2, "dense": 2.6}
    values = half_values(dense=dense, longer=True, halfway=before, long=(first, second))
    assert verdict("D3e", values) == expected
    with pytest.raises(KeyError, match="short training"):
        verdict("D3a", values)
    with pytest.raises(KeyError, match="longer training"):
        verdict("D3e", half_values(few=(2.0, 1.9)))


def test_halves_on_english_are_on_par_inside_the_margin():
    def on_par(second, halfway=3.0):
        before = dict.fromkeys(halves.ARMS, halfway)
        return verdict("D3d", half_values("english", few=(2.0, second), halfway=before))

    assert [on_par(loss) for loss in (2.0, 2.1, 2.02)] == [
        "reproduced",
        "not reproduced",
        "inconclusive",
    ]
    assert on_par(2.0, halfway=2.0) == "invalid"  # training that stalled makes all alike


# --- a second expert -----------------------------------------------------------------------------


def second_values(residual, alone=1.8, padded=None):
    losses = {"one_expert": alone, "top_2": 1.5, "residual_half": residual}
    return {
        "tasks": {
            "lookup": {
                "arms": {
                    arm: {
                        "metrics": {
                            language.TEST_LOSS: loss + 0.003 * noise,
                            "loss_at_equal_padded": loss + 0.003 * noise
                            if padded is None or arm != "residual_half"
                            else padded + 0.003 * noise,
                        },
                        "facts": {},
                    }
                    for (arm, loss), noise in zip(losses.items(), DRAWN, strict=False)
                }
            }
        }
    }


@pytest.mark.parametrize(
    ("residual", "par", "no_worse"),
    [
        (1.5, "reproduced", "reproduced"),
        (1.4, "not reproduced", "reproduced"),
        (1.48, "inconclusive", "reproduced"),
        (1.52, "inconclusive", "inconclusive"),
        (1.6, "not reproduced", "not reproduced"),
    ],
)
def test_on_par_means_inside_the_margin_and_no_worse_has_one_end(residual, par, no_worse):
    assert verdict("D4a", second_values(residual)) == par
    assert verdict("D4c", second_values(residual)) == no_worse
    # If one expert alone is on par, what is added does nothing.
    assert verdict("D4a", second_values(residual, alone=1.5)) == "invalid"
    assert verdict("D4d", second_values(residual, padded=1.6)) == "not reproduced"


def test_padded_compute_is_read_where_the_cheaper_has_spent_it():
    arms = {
        "top_2": {"facts": {"flops_padded": 12.0}},
        "residual_half": {"facts": {"flops_padded": 10.0}},
        "one_expert": {"facts": {"flops_padded": 8.0}},
    }
    task = {"steps": 30, "log_every": 10, "arms": arms}
    curves = {f"{arm}/{language.LOSS}": np.array([[4.0, 2.0, 1.0]]) for arm in arms}
    found = second_expert.at_equal_padded(task, curves)["arms"]
    read = {arm: metrics["loss_at_equal_padded"][0] for arm, metrics in found.items()}
    assert read == {"top_2": 1.5, "residual_half": 1.0, "one_expert": 1.0}  # after 25, 30, 30


# --- layouts -------------------------------------------------------------------------------------


def layouts(edge="", **losses):
    """Test losses; at equal steps, those with dense layers beside their experts are 0.3 lower."""
    plain = {"dense": 2.5, "dense_2x": 2.3, "uniform": 1.5, "uniform_4x": 1.0, **losses}
    arms = {
        arm: {
            "metrics": {
                language.TEST_LOSS: loss + 0.003 * noise,
                layout.AT_EQUAL_STEPS: loss - 0.3 * ("residual" in arm) + 0.003 * noise,
            },
            "facts": {"parameters": 100, "flops": 1e5},
            "steps": 100,
            "grid": {"edge": arm == edge},
        }
        for (arm, loss), noise in zip(plain.items(), DRAWN, strict=False)
    }
    return {"tasks": {"lookup": {"arms": arms}}}


@pytest.mark.parametrize(
    ("loss", "compute", "steps"),
    [
        (1.0, "reproduced", "reproduced"),
        (1.1, "inconclusive", "reproduced"),
        (1.2, "not reproduced", "reproduced"),  # what equal steps hide
        (1.5, "not reproduced", "not reproduced"),
    ],
)
def test_a_gap_is_closed_by_eight_tenths_at_equal_compute_and_at_equal_steps(loss, compute, steps):
    values = layouts(pyramid_residual=loss)  # from 1.5 to 1.0: eight tenths are at 1.1
    assert verdict("D5e", values) == compute
    assert verdict("D5a", values) == steps


@pytest.mark.parametrize("control", ["dense_2x", "uniform"])
def test_what_closes_the_gap_must_be_experts_in_this_layout(control):
    assert verdict("D5e", layouts(pyramid_residual=1.0)) == "reproduced"
    # Arithmetic that closes it alone, or 4E experts that are worse than E.
    spoilt = layouts(pyramid_residual=1.0, **{control: 0.9})
    assert verdict("D5e", spoilt) == "invalid"
    assert "no gap" in layout.gaps(shown_of(spoilt)).rows[-1] or control == "dense_2x"


def shown_of(values):
    return charts.Shown("layout", "cross_entropy", "", "", values["tasks"], {})


def test_an_arm_that_a_claim_does_not_read_may_be_on_its_edge():
    values = layouts(pyramid_residual=1.0, pyramid=1.0)
    values["tasks"]["lookup"]["arms"]["pyramid"]["grid"]["edge"] = True
    assert verdict("D5e", values) == "reproduced"
    assert verdict("D5f", values) == "inconclusive"


def test_shares_of_the_gap_and_parameters_stand_in_a_table():
    values = layouts(pyramid_residual=1.2)
    values["tasks"]["lookup"]["arms"]["pyramid_residual"]["facts"]["parameters"] = 50
    table = layout.gaps(shown_of(values))
    rows = {row[1]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    mine = rows["pyramid residual"]
    assert mine["parameters / those of 4E"] == 0.5
    assert float(mine["closed at equal compute"].rstrip("%")) == pytest.approx(60, abs=1)
    assert float(mine["closed at equal steps"].rstrip("%")) == pytest.approx(120, abs=1)
    assert "D5d" not in CLAIMS


def test_equal_steps_are_those_of_the_arm_that_ends_first():
    arms = {"uniform": {"steps": 40}, "residual": {"steps": 20}}
    curves = {
        f"uniform/{language.LOSS}": np.array([[4.0, 3.0, 2.0, 1.0]]),
        f"residual/{language.LOSS}": np.array([[4.0, 2.5]]),
    }
    found = layout.at_equal_steps({"log_every": 10, "arms": arms}, curves)
    assert found["equal_steps"] == 20
    assert found["arms"]["uniform"][layout.AT_EQUAL_STEPS] == [3.0]
    assert found["arms"]["residual"][layout.AT_EQUAL_STEPS] == [2.5]


# --- students ------------------------------------------------------------------------------------


def students(edge=False, at=language.TEST_LOSS, **losses):
    arms = {
        who: {"metrics": {at: losses[who] + 0.003 * noise}, "facts": {}}
        for who, noise in zip(losses, DRAWN, strict=False)
    }
    arms["none"]["grid"] = {"edge": edge}
    for who in losses:
        if who != "none":
            arms[who]["rate_of"] = "none"
    return {"tasks": {"lookup": {"arms": arms}}}


@pytest.mark.parametrize(
    ("name", "none", "full", "staged", "untrained", "expected"),
    [
        ("D6a", 1.5, 1.4, 1.4, 1.5, "reproduced"),
        ("D6a", 1.5, 1.4, 1.6, 1.6, "not reproduced"),
        ("D6a", 1.5, 1.4, 1.4, 1.4, "invalid"),
        ("D6b", 1.5, 1.6, 1.4, 1.5, "reproduced"),
        ("D6b", 1.3, 1.6, 1.4, 1.5, "invalid"),  # to leave harms as well
        ("D6b", 1.5, 1.3, 1.4, 1.5, "not reproduced"),
    ],
)
def test_students_are_judged_by_sign(name, none, full, staged, untrained, expected):
    losses = {"none": none, "full": full, "staged": staged, "untrained_teacher": untrained}
    assert verdict(name, students(**losses)) == expected
    if expected == "reproduced":  # all of them take the rate of the one that is tuned
        assert verdict(name, students(edge=True, **losses)) == "inconclusive"


def test_at_equal_compute_the_student_without_a_teacher_has_more_steps():
    losses = {"none": 1.5, "none_longer": 1.3, "staged": 1.4, "untrained_teacher": 1.6}
    assert verdict("D6a", students(**losses)) == "reproduced"
    assert verdict("D6c", students(**losses)) == "not reproduced"
    values = students(**losses)
    arms = values["tasks"]["lookup"]["arms"]
    arms["full"] = {"metrics": {}, "facts": {}}
    for who, read, noise in (("staged", 1.4, NOISE), ("full", 1.5, OTHER)):
        arms[who]["metrics"][distillation.AT_EQUAL_COMPUTE] = read + 0.003 * noise
    assert verdict("D6d", values) == "reproduced"
    arms["staged"]["metrics"][language.TEST_LOSS] = (
        arms["none"]["metrics"][language.TEST_LOSS] + 0.1
    )
    assert verdict("D6d", values) == "invalid"  # a teacher that hurts anyway

    setting = setting_of(FULL, "distillation", "lookup")
    arms = {name: distillation.STUDY.arms[name](setting) for name in distillation.STUDENTS}
    spent = {
        name: (arm.steps or setting.part.schedule.steps) * arm.facts["flops"]
        for name, arm in arms.items()
    }
    assert spent["none_longer"] == pytest.approx(spent["staged"], rel=0.03)
    assert spent["none"] < 0.8 * spent["staged"]
    teacher = transformer.training_operations(distillation.network(setting, "teacher"))
    tokens = setting.part.schedule.batch_size * setting.config.texts.context
    assert arms["full"].facts["teacher_flops"] == pytest.approx(tokens * teacher / 3)
    assert arms["none"].facts["teacher_flops"] == arms["none_longer"].facts["teacher_flops"] == 0


def test_full_distillation_is_read_where_it_has_spent_what_staged_has():
    cost = {"none": 10.0, "none_longer": 10.0, "full": 16.0, "staged": 12.0}
    cost["untrained_teacher"] = 12.0
    arms = {
        who: {"facts": {"flops": each}, "steps": 50 if who == "none_longer" else 40}
        for who, each in cost.items()
    }
    task = {"log_every": 10, "steps": 40, "leave_step": 20}
    task["arms"] = {**arms, "teacher": {"metrics": {language.LOSS: [1.0]}}}
    line = np.array([[5.0, 4.0, 3.0, 2.0, 1.0]])
    curves = {f"{who}/{language.LOSS}": line[:, : arm["steps"] // 10] for who, arm in arms.items()}
    found = distillation.read(task, curves)["arms"]
    read = {who: v[0] for who in found for n, v in found[who].items() if "compute" in n}
    # After 480 FLOPs: steps 48, 30, 40 and 40; the student that is not trained longer ends before.
    assert read == pytest.approx(
        {"none_longer": 1.2, "full": 3.0, "staged": 2.0, "untrained_teacher": 2.0}
    )


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
    config = replaced(replaced(SMOKE, "texts.context", 8), "texts.held_out", 8)
    config = replaced(
        config,
        "distillation.network",
        dataclasses.replace(SMOKE.distillation.network, width=8, hidden=8),
    )
    brief = dataclasses.replace(SMOKE.distillation.schedule, steps=10, batch_size=4, warm_up=0)
    config = replaced(replaced(config, "distillation.schedule", brief), "distillation.until", 0.5)
    setting = setting_of(config, "distillation", "lookup")
    found = language.load(config, "lookup", None)
    data = jax.device_put(language.splits(setting, PlainRun("distillation", {"lookup": found})))
    arms = {name: distillation.STUDY.arms[name](setting) for name in distillation.STUDENTS}
    (trainer,) = {arm.trainer for arm in arms.values()}  # which differ in numbers alone
    teach = transformer.transformer(distillation.network(setting, "teacher"))
    lane = {"seed": jnp.uint32(3), "learning_rate": jnp.float32(0.01)}
    start = teach.init(jax.random.key(0))
    lanes = {
        name: {**lane, "start": start, **{n: jnp.int32(v) for n, v in arm.numbers.items()}}
        for name, arm in arms.items()
    }
    states = {name: jax.jit(trainer.init)(lane, data) for name, lane in lanes.items()}
    step = jax.jit(lambda lane, state: trainer.step(lane, state, data)[0])

    def same(one, other, part="params"):
        pairs = jax.tree.map(
            lambda a, b: bool((a == b).all()), states[one][part], states[other][part]
        )
        return all(jax.tree.leaves(pairs))

    assert same("full", "staged", "teacher")
    assert not same("full", "untrained_teacher", "teacher")
    assert all(same("none", other) for other in arms)  # students start together
    for number in range(1, 9):
        states = {name: step(lanes[name], state) for name, state in states.items()}
        assert not same("none", "full")
        assert not same("untrained_teacher", "full")
        assert same("staged", "full") == (number <= 5)
    unmoved = jax.tree.map(lambda a, b: bool((a == b).all()), states["full"]["teacher"], start)
    assert all(jax.tree.leaves(unmoved))


# --- dispatch ------------------------------------------------------------------------------------


def dispatched(few, many, dense=0.8):
    """Seconds of five processes at 8 and at 32 experts: one-hot over index, and dense over it."""

    def rung(size, factor):
        index = 1.0 + 0.01 * NOISE[:5]
        other = 1 + 0.01 * OTHER[:5]
        ways = {"one-hot": factor * other, "index": index, "dense": dense * other[::-1]}
        arms = {way: {"metrics": {"seconds": s}, "facts": {}} for way, s in ways.items()}
        return {"task": "forward", "size": size, "arms": arms}

    return {"tasks": {"forward, 8": rung(8, few), "forward, 32": rung(32, many)}}


def test_dispatch_is_judged_at_the_most_experts():
    assert verdict("D7a", dispatched(3.0, 9.0)) == "reproduced"
    assert verdict("D7a", dispatched(9.0, 3.0)) == "not reproduced"
    # Indexing that is far faster than the products it must do has left them out.
    assert verdict("D7a", dispatched(3.0, 9.0, dense=9.0)) == "invalid"


def test_dispatch_takes_one_number_a_process(monkeypatch):
    asked = []

    def processes(target, argument, each):
        asked.append((target, argument))
        return [dispatch.seconds(argument) for _ in each]

    monkeypatch.setattr(timing, "over_processes", processes)
    config = replaced(replaced(SMOKE, "dispatch.processes", 3), "dispatch.rounds", 1)
    found = dispatch.run(config, PlainRun("dispatch"))
    assert asked[0][0] == "experiments.moe_scaling.dispatch:seconds"
    for task in found.measurements["tasks"].values():
        assert {arm: len(v["metrics"]["seconds"]) for arm, v in task["arms"].items()} == {
            "one-hot": 3,
            "index": 3,
            "dense": 3,
        }


def test_the_dense_control_does_the_products_of_one_expert():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(1, 6, 4)).astype(np.float32)
    params = {
        "router": np.zeros((4, 1), np.float32),
        "up": generator.normal(size=(1, 4, 8)).astype(np.float32),
        "down": generator.normal(size=(1, 8, 4)).astype(np.float32),
    }
    mixture = moe.mixture_layer(params, inputs, moe.Mixture(experts=1))[0]
    np.testing.assert_allclose(mixture, dispatch._dense(params, inputs), rtol=1e-5, atol=1e-6)


def test_what_one_machine_cannot_show_says_why():
    for name in ("D4b", "D8"):
        assert claims.judge(CLAIMS[name], None).verdict == "not testable here"


# --- what is refused, and what is large ----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("compute_to_quality.schedule.batch_size", 0, "batch-size"),
        ("compute_to_quality.network.heads", 3, "not divisible by 3 heads"),
        ("compute_to_quality.network.capacity_factor", 0.0, "capacity-factor"),
        ("compute_to_quality.network.layers", 5000, "at most 1,000"),
        ("texts.context", 2, "--texts.context must be at least 4"),
        ("texts.context", 4, "at least 5 tokens"),
        ("texts.held_out", 12, "must be a multiple"),
        ("layout.experts", 300, "experts are more than the 128 tokens"),
        ("layout.network.layers", 1, "too few for a pyramid"),
        ("layout.network.hidden", 15, "must be even"),
        ("halves.two_names.layers", (1, 2), "too few for two halves"),
        ("halves.lookup.schedule.groups", 3, "does not divide"),
        ("second_expert.network.hidden", 15, "must be even"),
        ("second_expert.experts", 1, "needs two experts"),
        ("layout.tasks", ("lockup",), "Did you mean 'lookup'"),
        ("layout.schedule.groups", 3, "does not divide"),
        ("compute_to_quality.arms", ("dense", "moe_16"), "dense_16x"),
        ("compute_to_quality.arms", ("dense_16x", "moe_61"), "Did you mean"),
        ("compute_to_quality.schedule.grid", (0.1,), "needs 3 or more"),
        ("compute_to_quality.schedule.log_every", 7, "not a multiple"),
        ("distillation.until", 1.0, "below 1, not 1.0"),
        ("distillation.network.layers", 1, "one layer fewer"),
        ("distillation.teacher_steps", 21, "not a multiple"),
        ("distillation.task", "two_names", "choose from lookup, english"),
        ("dispatch.experts", (512,), "512 experts are more than the 256 tokens"),
        ("dispatch.experts", (), "needs 1 or more"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_sentence(path, value, words):
    with pytest.raises(Problem, match=words) as refused:
        settings.check(replaced(SMOKE, path, value))
    assert "\n" not in str(refused.value)


def test_a_text_shorter_than_its_windows_is_refused():
    pytest.importorskip("gensim", reason="the English text comes with the package gensim")
    config = replaced(SMOKE, "texts.context", 10_000_000)
    with pytest.raises(Problem, match="too short"):
        language.load(config, "english", None)


def test_data_are_those_of_the_studies_chosen():
    assert moe_scaling.config.datasets(PRESETS["default"]) == ("lookup", "two_names")
    assert moe_scaling.config.datasets(dataclasses.replace(FULL, studies=("dispatch",))) == ()
    assert set(moe_scaling.config.datasets(FULL)) == set(language.TASKS) - {"one_cluster"}


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_large_preset_lowers_for_accelerators(platform):
    config = PRESETS["large"]
    setting = setting_of(config, "compute_to_quality", "lookup")
    trainer = compute_to_quality.STUDY.arms["moe_64"](setting).trainer
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


def entry(name, values):
    """A claim judged from made-up values, as a record has it."""
    evidence = CLAIMS[name].evidence(values)
    return record.claim_entry(CLAIMS[name], evidence, claims.judge(CLAIMS[name], evidence))


@pytest.mark.parametrize(
    ("mixture", "word", "fifth"),
    [
        (1000.0, "Yes", "They did so with a fifth"),
        (1272.7, "Partly", "They may have done so with a fifth"),
        (2000.0, "Partly", "They did not do so with a fifth"),
        (9000.0, "No", "They did not do so with a fifth"),
    ],
)
def test_the_answer_holds_the_numbers_of_the_record_and_leaves_out_what_it_lacks(
    mixture, word, fifth
):
    entries = {name: entry(name, compute_values(mixture)) for name in ("D1j", "D1k")}

    def said(*names):
        return moe_scaling.answer(claims.Answers([entries[name] for name in names]))

    whole = said("D1j", "D1k")
    assert whole.startswith(f"{word}: on a lookup task")
    assert fifth in whole
    for name in entries:
        assert format(claims.Answers([entries[name]])[name], ".2f") in whole
        assert CLAIMS[name].headline
    assert "factor" in said("D1j")
    assert "fifth" not in said("D1j")
    assert "English" not in whole
    assert said() == ""


def test_a_record_with_the_weaker_rival_keeps_its_answer():
    found = record.read(record.ROOT / "results" / "moe_scaling" / "full")
    said = moe_scaling.answer(claims.Answers(record.entries(found)))
    assert said.startswith("Partly: on a lookup task")
    assert "On English text" in said
    assert "fifth" not in said
