"""Mixtures at scale: arms of equal arithmetic, students, and verdicts on values made by hand."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import moe_scaling
from experiments.moe_scaling import compute_to_quality, dispatch, distillation, language, layout
from jaxtrends import claims, record, settings, transformer
from jaxtrends.errors import Problem
from tests.plain_run import PlainRun

PRESETS = moe_scaling.EXPERIMENT.presets
SMOKE, FULL = PRESETS["smoke"], PRESETS["full"]
MODULES = (compute_to_quality, layout, distillation, dispatch)
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


def task_values(steps, edge=False):
    """A task's values: arm -> steps to the target, with a little noise of its own."""
    flops = {"dense": 1e5, "dense_4x": 3e5}
    return {
        "arms": {
            arm: {
                "facts": {
                    "flops": flops.get(arm, 1.1e5),
                    "flops_padded": flops.get(arm, 1.3e5),
                    "parameters": 1000 * number,
                    "seconds": 0.1,
                },
                "metrics": {
                    "steps_to_target": count * np.exp(0.02 * noise)
                    if math.isfinite(count)
                    else np.full(SEEDS, math.inf)
                },
                "grid": {"edge": edge},
            }
            for number, ((arm, count), noise) in enumerate(
                zip(steps.items(), DRAWN, strict=False), 1
            )
        }
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
def test_compute_saved_is_judged_by_its_ratio_to_the_cheaper_dense_arm(mixture, direction, five):
    values = compute_values(mixture)
    assert verdict("D1a", values) == direction
    assert verdict("D1b", values) == five
    (part,) = judged("D1a", values).parts.values()
    if math.isfinite(mixture):
        assert part.estimate == pytest.approx(1000 * 3e5 / (mixture * 1.1e5), rel=0.05)
    # where the smaller dense arm gets there with less, it counts
    values["tasks"]["lookup"]["arms"]["dense"] = task_values({"dense": 100.0})["arms"]["dense"]
    assert verdict("D1a", values) == "not reproduced"


def test_padding_counts_in_its_own_claim():
    values = compute_values(2500.0)  # 1.09 without, 0.92 with
    assert verdict("D1a", values) == "reproduced"
    assert verdict("D1c", values) == "not reproduced"


@pytest.mark.parametrize(
    ("name", "control", "steps"),
    [
        ("D1a", "in_turn", 900.0),
        ("D1b", "in_turn", 400.0),
        ("D1b", "plain", 400.0),
        ("D1c", "in_turn", 900.0),
        ("D1h", "in_turn", 900.0),
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
    assert verdict("D2", compute_values(400.0, edge=True)) == "reproduced"
    assert verdict("D2", compute_values(math.inf)) == "inconclusive"


def test_seconds_are_steps_times_the_time_of_a_step():
    values = compute_values(400.0)
    assert verdict("D1h", values) == "reproduced"
    values["tasks"]["lookup"]["arms"]["moe_16"]["facts"]["seconds"] = 0.4
    assert verdict("D1h", values) == "not reproduced"


def test_every_arm_spends_the_compute_of_the_larger_dense_network():
    schedule = language.Schedule(steps=1000, log_every=20)
    assert compute_to_quality.equal_compute(schedule, 2e5, 2e5) == 1000
    assert compute_to_quality.equal_compute(schedule, 1e5, 2e5) == 2000
    assert compute_to_quality.equal_compute(schedule, 1.5e5, 2e5) == 1340  # 1333.3, in whole points
    setting = setting_of(PRESETS["default"], "compute_to_quality", "lookup")
    arms = {name: make(setting) for name, make in compute_to_quality.STUDY.arms.items()}
    spent = {name: arm.steps * arm.facts["flops"] for name, arm in arms.items()}
    assert min(spent.values()) == spent["dense_4x"]
    assert max(spent.values()) < 1.05 * spent["dense_4x"]


def test_the_target_is_the_end_of_the_larger_dense_arm_seed_by_seed():
    curves = {
        "dense_4x/validation_cross_entropy": np.array([[3.0, 1.0], [5.0, 4.0]]),
        "moe_16/validation_cross_entropy": np.array([[0.5, 0.5], [9.0, 4.0]]),
    }
    task = {"log_every": 5, "arms": dict.fromkeys(("dense_4x", "moe_16"))}
    found = compute_to_quality.reach(task, curves)
    np.testing.assert_array_equal(found["target"], [1.0, 4.0])
    np.testing.assert_allclose(found["arms"]["dense_4x"]["steps_to_target"], [10.0, 10.0])
    np.testing.assert_allclose(found["arms"]["moe_16"]["steps_to_target"], [5.0, 10.0])


# --- arms ----------------------------------------------------------------------------------------


def test_the_smoke_run_trains_the_upper_half_by_the_program_of_its_mixture():
    mixture = setting_of(SMOKE, "compute_to_quality", "lookup")
    halves = setting_of(SMOKE, "layout", "two_names")
    one = compute_to_quality.STUDY.arms["moe_16"](mixture)
    assert one.trainer is layout.STUDY.arms["second_half"](halves).trainer


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


# --- layouts -------------------------------------------------------------------------------------


def layouts(edge=False, **losses):
    arms = {
        arm: {
            "metrics": {language.LOSS: loss + 0.003 * noise},
            "facts": {"parameters": {"uniform_4x": 1000, "uniform": 300}.get(arm, 400)},
            "grid": {"edge": edge},
        }
        for (arm, loss), noise in zip({"dense": 2.5, **losses}.items(), DRAWN, strict=False)
    }
    return {"tasks": {"lookup": {"arms": arms}}}


def test_the_halves_are_judged_by_sign():
    assert verdict("D3a", layouts(first_half=2.0, second_half=1.9)) == "reproduced"
    assert verdict("D3a", layouts(first_half=1.9, second_half=2.0)) == "not reproduced"
    assert verdict("D3a", layouts(first_half=2.0, second_half=1.9, edge=True)) == "inconclusive"
    # A dense network that beats the first half leaves nothing to compare.
    assert verdict("D3a", layouts(dense=1.5, first_half=2.0, second_half=1.9)) == "invalid"
    with pytest.raises(KeyError, match="task two_names"):
        verdict("D3b", layouts(first_half=2.0, second_half=1.9))


def test_on_par_means_inside_the_margin():
    def on_par(residual, dense=1.8):
        return verdict("D4a", layouts(residual_half=residual, top_2=1.5, dense=dense))

    assert [on_par(loss) for loss in (1.5, 1.6, 1.52)] == [
        "reproduced",
        "not reproduced",
        "inconclusive",
    ]
    # If even a dense network is on par, the claim says nothing.
    assert on_par(1.5, dense=1.5) == "invalid"


@pytest.mark.parametrize(
    ("loss", "expected"), [(1.0, "reproduced"), (1.15, "not reproduced"), (1.1, "inconclusive")]
)
def test_a_gap_is_closed_by_eight_tenths(loss, expected):
    def values(**others):  # from 1.5 to 1.0: eight tenths are at 1.1
        return layouts(**{"pyramid_residual": loss, "uniform": 1.5, "uniform_4x": 1.0, **others})

    assert verdict("D5a", values()) == expected
    assert verdict("D5d", values()) == "reproduced"
    assert verdict("D5a", values(dense=1.0)) == "invalid"
    # Without a gap there is nothing to close.
    assert verdict("D5a", values(uniform=0.9)) in ("inconclusive", "invalid")


# --- students ------------------------------------------------------------------------------------


def students(edge=False, **losses):
    arms = {
        who: {"metrics": {language.LOSS: losses[who] + 0.003 * noise}, "facts": {}}
        for who, noise in zip(distillation.STUDENTS, DRAWN, strict=False)
    }
    arms["none"]["grid"] = {"edge": edge}
    for who in distillation.STUDENTS[1:]:
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


def test_dispatch_is_judged_at_the_most_experts():
    def rung(size, factor):
        index = 1.0 + 0.01 * NOISE
        ways = {"one-hot": factor * (1 + 0.01 * OTHER), "index": index, "index again": index[::-1]}
        arms = {way: {"metrics": {"seconds": s}, "facts": {}} for way, s in ways.items()}
        return {"task": "forward", "size": size, "arms": arms}

    def measured(few, many):
        return {"tasks": {"forward, 8": rung(8, few), "forward, 32": rung(32, many)}}

    assert verdict("D7a", measured(3.0, 9.0)) == "reproduced"
    assert verdict("D7a", measured(9.0, 3.0)) == "not reproduced"


def test_what_one_machine_cannot_show_says_why():
    for name in ("D4b", "D8"):
        assert claims.judge(CLAIMS[name], None).verdict == "not testable here"


# --- what is refused, and what is large ----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("compute_to_quality.schedule.batch_size", 0, "batch-size"),
        ("compute_to_quality.network.heads", 3, "shared by 3 heads"),
        ("compute_to_quality.network.capacity_factor", 0.0, "capacity-factor"),
        ("compute_to_quality.network.layers", 5000, "at most 1,000"),
        ("texts.context", 2, "--texts.context must be at least 4"),
        ("texts.context", 4, "at least 5 tokens"),
        ("texts.held_out", 12, "must be a multiple"),
        ("layout.experts", 300, "experts are more than the 128 tokens"),
        ("layout.network.layers", 1, "too few for two halves"),
        ("layout.network.hidden", 15, "must be even"),
        ("layout.tasks", ("lockup",), "Did you mean 'lookup'"),
        ("layout.schedule.groups", 3, "does not divide"),
        ("compute_to_quality.arms", ("dense", "moe_16"), "dense_4x"),
        ("compute_to_quality.arms", ("dense_4x", "moe_61"), "Did you mean"),
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
    assert moe_scaling.config.datasets(PRESETS["default"]) == ("lookup", "one_cluster", "two_names")
    assert moe_scaling.config.datasets(dataclasses.replace(FULL, studies=("dispatch",))) == ()
    assert set(moe_scaling.config.datasets(FULL)) == set(language.TASKS)


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


def test_the_answer_holds_the_numbers_of_the_record_and_what_it_lacks_is_left_out():
    found = record.read(record.ROOT / "results" / "moe_scaling" / "full")
    entries = {entry["claim"]["id"]: entry for entry in record.entries(found)}

    def said(*ids):
        return moe_scaling.answer(claims.Answers([entries[id] for id in ids]))

    whole = said(*entries)
    for id, part in (("D1a", "lookup"), ("D1d", "english")):
        shown = entries[id]["verdict"]["parts"][part]
        numbers = "{:.2f} [{:.2f}, {:.2f}]".format(
            *(float(shown[name]) for name in ("estimate", "low", "high"))
        )
        assert numbers in whole
    for id in ("D1a", "D1b", "D1d"):
        assert CLAIMS[id].headline
    assert whole.startswith("Partly: on a lookup task")
    assert "they saved none" in whole
    alone = said("D1a")
    assert alone.startswith("Partly: on a lookup task")
    assert "English" not in alone
    assert "lookup" not in said("D1d")
    assert said("D2") == ""
