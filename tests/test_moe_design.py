"""The design study: rules of failure, information and claims against cases worked by hand."""

from __future__ import annotations

import dataclasses
import functools
import math
import zlib

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from experiments.moe_design import (
    EXPERIMENT,
    balance_claims,
    capacity_claims,
    exchanged,
    finetuning,
    finetuning_claims,
    information,
    language,
    planned,
    specialisation_claims,
    stability,
    z_loss,
    z_loss_claims,
)
from experiments.moe_design import config as settings
from jaxtrends import claims, models, moe, sequences, sweep, train, transformer
from jaxtrends.errors import Problem

SEEDS = 10
NOISE = np.random.default_rng(0).normal(size=SEEDS)
OTHER = np.random.default_rng(1).normal(size=SEEDS)
NO_LOSSES = {"balance": 0.0, "z": 0.0, "group_balance": 0.0}


def verdict(module, name, values):
    (claim,) = (claim for claim in module.CLAIMS if claim.id == name)
    return claims.judge(claim, claim.evidence(values)).verdict


# --- failure -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curve", "reason"),
    [
        ([3.0, 2.0, 1.0, 0.9, 0.8], ""),
        ([3.0, 2.0, math.nan, 0.9, 0.8], "not finite"),
        ([3.0, 2.0, 1.0, math.inf, 0.8], "not finite"),
        ([3.0, 1.0, 1.6, 1.6, 1.6], "jump"),
        ([3.0, 1.0, 1.6, 1.6, 0.9], ""),  # two evaluations are one too few
        ([3.0, 1.0, 1.6, 1.2, 1.6], ""),  # and they must be in a row
        ([3.0, 1.0, 1.5, 1.5, 1.5], ""),  # by more than half a nat
        ([3.4, 3.4, 3.4, 3.35, 3.30], "stuck"),
        ([3.4, 3.4, 3.4, 3.35, 3.28], ""),
    ],
)
def test_the_rules_of_failure(curve, reason):
    assert stability.reasons(np.asarray([curve]), math.log(32), 3) == [reason]


def test_the_stressful_rate_is_nearest_to_a_third():
    failures = np.asarray([[0] * 6, [0, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0], [1] * 6])
    assert stability.stress_rate((1e-3, 1e-2, 0.1, 1.0), failures) == (2, True)


def test_a_tie_goes_to_the_lower_rate_and_a_useless_grid_is_told():
    assert stability.stress_rate((0.2, 0.1), np.asarray([[1, 0, 0], [1, 0, 0]])) == (1, True)
    assert stability.stress_rate((0.1, 0.2), np.asarray([[0, 0, 0], [1, 1, 1]])) == (0, False)


def stability_values(
    without, with_z, *, in_reach=True, loss_gap=0.0, spread=0.003, logits=0.5, placebo=None
):
    """Values of the z-loss study with 30 seeds, of which the first fail."""
    seeds = 30
    noise = np.random.default_rng(2).normal(size=(2, seeds))

    def arm(count, loss, logit):
        failed = [1.0] * count + [0.0] * (seeds - count)
        return {
            "failed": failed[::-1] if count == with_z else failed,
            "largest_logit": list(np.exp(noise[0]) * logit),
            "test_loss": list(loss),
        }

    calm = 1.5 + 0.1 * noise[0]
    arms = {"bf16": arm(without, calm, 10.0), "bf16 + z": arm(with_z, calm, 10.0 * logits)}
    costly = calm + loss_gap + spread * noise[1]
    best = {"bf16": arm(0, calm, 5.0), "bf16 + z": arm(0, costly, 5.0)}
    return {
        "chance": 3.4,
        "stress_rate": 0.1,
        "in_reach": in_reach,
        "strata": {"0.1": arms},
        "calm": best,
        "tuning": {name: {"edge": False} for name in arms},
        "round_off": {"float32": 0.1415, "bfloat16": 0.0909},
        "no_round_off": {"float32": 0.2137, "bfloat16": 0.2139},
        "placebo": {
            "failed": list(np.roll(arms["bf16"]["failed"], 1)) if placebo is None else placebo,
            "largest_logit": list(np.exp(noise[1]) * 10.0),
        },
    }


@pytest.mark.parametrize(
    ("without", "with_z", "expected"),
    [
        (10, 0, "reproduced"),
        (10, 9, "inconclusive"),
        (4, 0, "inconclusive"),  # four discordant pairs cannot tell
        (0, 10, "not reproduced"),
    ],
)
def test_failures_are_compared_seed_by_seed(without, with_z, expected):
    assert verdict(z_loss_claims, "S1a", stability_values(without, with_z)) == expected


@pytest.mark.parametrize("claim", ["S1a", "S1b"])
def test_a_placebo_that_cures_makes_the_claim_invalid(claim):
    assert verdict(z_loss_claims, claim, stability_values(10, 0, placebo=[0.0] * 30)) == "invalid"


def test_only_seeds_that_differ_count():
    values = stability_values(12, 0)
    arms = values["strata"]["0.1"]
    arms["bf16 + z"]["failed"] = [1.0] * 12 + [0.0] * 18  # the very same seeds fail
    assert verdict(z_loss_claims, "S1a", values) == "inconclusive"
    (claim,) = (claim for claim in z_loss_claims.CLAIMS if claim.id == "S1a")
    found = claims.judge(claim, claim.evidence(values)).parts["bf16 router"]
    assert (found.n, found.method) == (0, "McNemar, no discordant pair")


def test_a_rate_that_does_not_stress_decides_nothing():
    values = stability_values(10, 0, in_reach=False)
    assert verdict(z_loss_claims, "S1a", values) == "inconclusive"
    assert verdict(z_loss_claims, "S1b", values) == "inconclusive"
    assert verdict(z_loss_claims, "S1b", stability_values(10, 0)) == "reproduced"


@pytest.mark.parametrize(
    ("gap", "spread", "expected"),
    [
        (0.0, 0.003, "reproduced"),
        (-0.2, 0.003, "not reproduced"),
        (0.2, 0.003, "not reproduced"),
        (0.0, 0.3, "inconclusive"),
    ],
)
def test_no_cost_is_an_equivalence(gap, spread, expected):
    values = stability_values(10, 0, loss_gap=gap, spread=spread)
    assert verdict(z_loss_claims, "S1c", values) == expected


def test_smaller_logits_and_rounding():
    assert verdict(z_loss_claims, "S1d", stability_values(10, 0, logits=0.5)) == "reproduced"
    assert verdict(z_loss_claims, "S1d", stability_values(10, 0, logits=2.0)) == "not reproduced"
    assert verdict(z_loss_claims, "S2", stability_values(10, 0)) == "reproduced"


def test_rounding_survives_compilation():
    generator = np.random.default_rng(0)
    inputs = jnp.asarray(generator.normal(size=(1, 64, 8)), jnp.float32)
    params = {
        "router": jnp.asarray(generator.normal(size=(8, 4)) * 3, jnp.float32),
        "up": jnp.zeros((4, 8, 1), jnp.float32),
        "down": jnp.zeros((4, 1, 8), jnp.float32),
    }
    largest = {}
    for dtype in moe.ROUTER_DTYPES:
        layer = functools.partial(
            moe.mixture_layer, mixture=moe.Mixture(experts=4, router_dtype=dtype)
        )
        largest[dtype] = jax.jit(layer)(params, inputs)[1].largest_logit
    rounded = {dtype: float(value.astype(jnp.bfloat16)) for dtype, value in largest.items()}
    assert rounded["bfloat16"] == float(largest["bfloat16"])
    assert rounded["float32"] != float(largest["float32"])


def test_the_papers_example_of_rounding_through_the_layer():
    gates = z_loss.round_off()
    assert gates["float32"] == pytest.approx(math.exp(0.5) / (math.exp(0.5) + 10), rel=1e-5)
    assert gates["bfloat16"] == pytest.approx(1 / 11, rel=2**-8)
    kept = z_loss.round_off(129.0)
    assert kept["bfloat16"] == pytest.approx(kept["float32"], rel=2**-8)
    values = {"round_off": gates, "no_round_off": kept}
    assert verdict(z_loss_claims, "S2", values) == "reproduced"
    assert verdict(z_loss_claims, "S2", {**values, "no_round_off": gates}) == "invalid"
    unrounded = dict.fromkeys(gates, gates["float32"])
    assert verdict(z_loss_claims, "S2", {**values, "round_off": unrounded}) == "not reproduced"


# --- capacity ------------------------------------------------------------------------------------


def capacity_values(losses, *, second=0.002, dropped=0.004, spread=0.01):
    """Top-1 and top-2 with a loss per capacity factor; top-2 gains ``second`` everywhere."""

    def arm(factor, loss, sign):
        sample = list(loss + spread * NOISE + 0.0005 * sign * OTHER)
        return {
            "tuning": {"edge": False},
            "loss": {factor: sample, "2.0": list(np.asarray(sample) - 0.01)},
            "dropped_in_training": list(0.3 + 0.01 * NOISE if factor == "0.5" else [dropped] * 10),
        }

    def arms(gain):
        found = {}
        for number, (factor, loss) in enumerate(losses.items()):
            found[factor] = arm(factor, loss - gain, (-1) ** number)
        found["2.0"]["loss"] = {"2.0": list(np.asarray(found["2.0"]["loss"]["2.0"]) + 0.01)}
        return found

    base = list(3.5 + 0.1 * NOISE)
    return {
        "arms": {"top-1": arms(0.0), "top-2": arms(second)},
        "untrained": {"0.5": base, "2.0": list(np.asarray(base) + 0.001 * OTHER)},
    }


FALLING = {"0.5": 2.0, "1.0": 1.5, "1.25": 1.4, "2.0": 1.3}


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (FALLING, "reproduced"),
        ({**FALLING, "1.25": 1.6}, "partly reproduced"),
        (dict(zip(FALLING, [1.3, 1.4, 1.5, 2.0], strict=True)), "not reproduced"),
    ],
)
def test_every_step_of_capacity_must_lower_the_loss(losses, expected):
    assert verdict(capacity_claims, "S3a", capacity_values(losses)) == expected


def test_capacity_that_helps_an_untrained_net_makes_the_claim_invalid():
    values = capacity_values(FALLING)
    values["untrained"]["2.0"] = list(np.asarray(values["untrained"]["0.5"]) - 0.1)
    assert verdict(capacity_claims, "S3a", values) == "invalid"


def test_wide_evaluation_few_drops_and_the_second_expert():
    values = capacity_values(FALLING)
    assert verdict(capacity_claims, "S3b", values) == "reproduced"
    assert verdict(capacity_claims, "S3c", values) == "reproduced"
    assert verdict(capacity_claims, "S3c", capacity_values(FALLING, dropped=0.05)) == (
        "not reproduced"
    )
    assert verdict(capacity_claims, "S4", values) == "reproduced"
    assert verdict(capacity_claims, "S4", capacity_values(FALLING, second=0.3)) == "not reproduced"


def test_steps_go_by_number_not_by_spelling():
    assert capacity_claims.steps(dict.fromkeys(("10.0", "2.0", "0.5"))) == [
        ("0.5", "2.0"),
        ("2.0", "10.0"),
    ]


# --- information ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("joint", "expected"),
    [
        ([[5, 0], [0, 5]], 1.0),
        ([[5, 5], [5, 5]], 0.0),
        ([[10, 0]], 0.0),  # both entropies are not zero, nothing is told
        ([[10]], 0.0),
        # H = ln 2 and H = 0.75 ln(4/3) + 0.25 ln 4; joint entropy 1.5 ln 2
        ([[2, 0], [1, 1]], 2 * (1 - (1.5 - 0.811278)) / 1.811278),
    ],
)
def test_normalised_information_by_hand(joint, expected):
    assert information.normalised_information(np.asarray(joint)) == pytest.approx(expected, 1e-4)


def test_normalised_information_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 400)
    experts = (labels + generator.integers(0, 3, 400)) % 6
    joint = information.joint_counts(labels, experts, 5, 6)
    assert joint.sum() == 400
    expected = normalized_mutual_info_score(labels, experts)
    assert information.normalised_information(joint) == pytest.approx(expected, rel=1e-9)


def test_the_null_keeps_sequences_together():
    generator = np.random.default_rng(0)
    clusters = np.repeat(generator.integers(0, 4, 60)[:, None], 20, axis=1)
    noise = np.repeat(generator.integers(0, 4, 60)[:, None], 20, axis=1)  # alike in a sequence
    told = information.normalised_information(information.joint_counts(clusters, noise, 4, 4))
    null = information.shuffled_information(clusters, noise, 4, 4, 200)
    assert null.min() < told < np.quantile(null, 0.99)
    assert null.mean() > 0.02  # a null over single tokens would lie near 0.001
    own = information.normalised_information(information.joint_counts(clusters, clusters, 4, 4))
    assert own > null.max()


def test_classes_of_bytes():
    text = np.frombuffer("aZ7 \n.é".encode(), np.uint8)
    named = [information.BYTE_CLASSES[kind] for kind in information.byte_class(text)]
    assert named == [
        *("lower case", "upper case", "digit", "space", "space", "punctuation"),
        *("not ASCII", "not ASCII"),
    ]


def specialised(trained, untrained=0.02):
    measured = {
        "trained": {
            "information": list(trained + 0.005 * NOISE),
            "high": [0.03] * SEEDS,
            "one": list(0.01 + 0.001 * OTHER),
        },
        "untrained": {"information": list(untrained + 0.005 * OTHER)},
        "one_each": {"information": [1.0] * SEEDS},
    }
    return {"tasks": {"lookup": {"tuning": {"edge": False}, "layers": {"2": measured}}}}


@pytest.mark.parametrize(
    ("trained", "outcomes"),
    [
        (0.4, ("reproduced", "not reproduced", "reproduced")),
        (0.05, ("reproduced", "reproduced", "reproduced")),
        (0.01, ("not reproduced", "reproduced", "not reproduced")),
    ],
)
def test_specialisation_is_judged_three_ways(trained, outcomes):
    values = specialised(trained)
    found = tuple(verdict(specialisation_claims, f"S8{part}", values) for part in "abc")
    assert found == outcomes


@pytest.mark.parametrize(
    ("gap", "expected"),
    [(0.1, "reproduced"), (0.0, "inconclusive"), (-0.1, "not reproduced")],
)
def test_balance_is_judged_by_its_sign(gap, expected):
    measures = ("loss", "busiest", "information")
    arms = {
        name: {"tuning": {"edge": False}, **{m: list(1 + shift + 0.01 * x) for m in measures}}
        for name, shift, x in (
            ("group", 0.0, NOISE),
            ("global", gap, OTHER),
            ("off", 2 * gap, NOISE),
        )
    }
    for claim in ("X1a", "X1b", "X1c"):
        assert verdict(balance_claims, claim, {"arms": arms}) == expected


# --- fine-tuning ---------------------------------------------------------------------------------


def test_networks_stop_at_a_loss_that_both_reach():
    curves = {
        "sparse": np.asarray([[3.0, 2.0, 1.0, 0.5], [3.0, 2.5, 2.4, 2.3]]),
        "dense": np.asarray([[3.0, 2.5, 2.2, 2.0], [3.0, 2.0, 1.5, 1.0]]),
    }
    stops = finetuning.stops(curves, 10)
    np.testing.assert_array_equal(stops["sparse"], [20, 40])
    np.testing.assert_array_equal(stops["dense"], [40, 20])


def test_a_limited_trainer_stands_still():
    def step(lane, state, data):
        return {"step": state["step"] + 1, "sum": state["sum"] + lane["learning_rate"]}, {}

    def init(lane, data):
        return {"step": jnp.zeros((), jnp.int32), "sum": jnp.zeros(())}

    plain = train.Trainer(
        init, step, lambda lane, state, data: {"sum": state["sum"]}, lambda *_: {}
    )
    lanes = {
        "learning_rate": np.asarray([1.0, 2.0], np.float32),
        "limit": np.asarray([3, 5], np.int32),
    }
    found = sweep.run(
        finetuning.limited(plain), lanes, (), steps=6, log_every=1, block=1, test=False
    )
    np.testing.assert_array_equal(found["sum"][0], [1, 2, 3, 3, 3, 3])
    np.testing.assert_array_equal(found["sum"][1], [2, 4, 6, 8, 10, 10])


def test_the_new_cluster_is_kept_apart():
    data = sequences.lookup(clusters=3, context=8, training=300, held_out=60, seed=0)
    old = finetuning.of_clusters(data, 2, 10)
    new = finetuning.of_clusters(data, 2, 10, examples=32)
    name = sequences.SYMBOLS + 2
    assert (old["train"][0][:, 0] != name).all()
    assert (new["train"][0][:, 0] == name).all()
    assert new["train"][0].shape == (32, 8)
    assert new["test"][0].shape == old["test"][0].shape == (10, 8)
    with pytest.raises(Problem, match="1000 are needed"):
        finetuning.of_clusters(data, 2, 10, examples=1000)


def test_fine_tuning_starts_from_its_row_and_draws_from_the_first_examples():
    network = dataclasses.replace(language.SMOKE, layers=(0,), batch=4, group=0)
    sizes = language.sizes_of(network)
    inner = language.make_trainer(sizes, network)
    seen = {}

    def spy(lane, state, data):
        seen.update(data)
        return state, {}

    trainer = finetuning.from_pretrained(dataclasses.replace(inner, step=spy), network)
    lane = {
        "seed": jnp.uint32(0),
        "learning_rate": jnp.float32(0.1),
        "balance": jnp.float32(0),
        "z": jnp.float32(0),
        "group_balance": jnp.float32(0),
        "row": jnp.int32(1),
        "examples": jnp.int32(2),
    }
    params = jax.eval_shape(inner.init, lane, ())["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    rows = np.stack([np.zeros(count, np.float32), np.arange(count, dtype=np.float32)])
    data = {"pretrained": jnp.asarray(rows)}
    state = jax.jit(trainer.init)(lane, data)
    flat = finetuning.flattened(state["params"], ())["parameters"]
    np.testing.assert_array_equal(flat, rows[1])
    tokens = jnp.arange(8, dtype=jnp.int32)[:, None]
    trainer.step(lane, state, {**data, "train": (tokens, tokens)})
    np.testing.assert_array_equal(seen["train"][0][:, 0], [0, 1] * 4)


def test_names_are_exchanged_on_every_second_seed():
    mixed = exchanged.exchange([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert mixed == {"treatment": [1.0, 5.0, 3.0], "reference": [4.0, 2.0, 6.0]}


def test_slopes_of_rate_and_batch():
    rates, batches = ("0.001", "0.002", "0.01"), ("16", "32", "128")
    grid = {
        batch: {
            rate: [
                seed * math.log2(float(rate)) - 0.5 * math.log2(int(batch)) for seed in (1.0, 2.0)
            ]
            for rate in rates
        }
        for batch in batches
    }
    np.testing.assert_allclose(finetuning_claims.slopes(grid, "rate"), [1.0, 2.0])
    np.testing.assert_allclose(finetuning_claims.slopes(grid, "batch"), [-0.5, -0.5])


def tuned_values(few, many, capacity=0.0, dropped=0.12):
    """Fine-tuning values: sparse less dense on the fewest and on the most examples."""

    def found(loss, x):
        return {"tuning": {"edge": False}, "loss": list(loss + 0.002 * x)}

    return {
        "pretraining": {m: {"loss": list(1 + 0.1 * NOISE)} for m in ("sparse", "dense")},
        "examples": {
            "sparse": {"64": found(2.0 + few, NOISE), "4096": found(1.0 + many, NOISE)},
            "dense": {"64": found(2.0, OTHER), "4096": found(1.0, OTHER)},
        },
        "capacity": {
            "0.9": {**found(1.0 + capacity, NOISE), "dropped": [dropped] * SEEDS},
            "2.0": found(1.0, OTHER),
        },
    }


@pytest.mark.parametrize(
    ("few", "many", "expected"),
    [
        (0.1, -0.1, "reproduced"),
        (0.1, 0.1, "partly reproduced"),
        (-0.1, 0.1, "not reproduced"),
    ],
)
def test_the_sign_must_flip_between_few_and_many_examples(few, many, expected):
    assert verdict(finetuning_claims, "S5", tuned_values(few, many)) == expected


@pytest.mark.parametrize(("capacity", "expected"), [(0.0, "reproduced"), (0.1, "not reproduced")])
def test_harmless_drops_are_an_equivalence(capacity, expected):
    assert verdict(finetuning_claims, "S7", tuned_values(0.1, -0.1, capacity)) == expected
    values = tuned_values(0.1, -0.1, capacity, dropped=0.4)  # not what the paper drops
    assert verdict(finetuning_claims, "S7", values) == "inconclusive"


# --- the studies, with training made up ----------------------------------------------------------


class MadeUp:
    """A run whose training gives noise, in the names and shapes that the trainer would give."""

    def __init__(self, config):
        self.config, self.labels = config, []

    def dataset(self, name):
        return settings.load(self.config, name, None)

    def train(self, label, trainer, lanes, data, *, steps, log_every, test=True):
        assert label not in self.labels
        self.labels.append(label)
        count, points = sweep.lane_count(lanes), steps // log_every
        lane = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), lanes)
        state = jax.eval_shape(trainer.init, lane, data)
        stepped, metrics = jax.eval_shape(trainer.step, lane, state, data)
        assert jax.tree.map(lambda a: (a.shape, a.dtype), stepped) == jax.tree.map(
            lambda a: (a.shape, a.dtype), state
        )
        logged = {**metrics, **jax.eval_shape(trainer.evaluate, lane, state, data)}
        shapes = {name: (count, points, *value.shape) for name, value in logged.items()}
        ends = jax.eval_shape(trainer.test, lane, state, data) if test else {}
        shapes |= {name: (count, *value.shape) for name, value in ends.items()}
        generator = np.random.default_rng(zlib.crc32(label.encode()))
        found = {
            name: generator.uniform(0.5, 1.5, shape).astype(np.float32)
            for name, shape in shapes.items()
        }
        if "experts" in found:
            found["experts"] = generator.integers(0, 4, shapes["experts"])
        return found

    def log_lanes(self, method, seeds, config, steps, metrics):
        assert {values.shape for values in metrics.values()} == {(len(seeds), steps.size)}


@pytest.mark.parametrize("name", list(settings.STUDIES))
def test_a_study_gives_every_claim_its_evidence(name):
    config = dataclasses.replace(
        settings.SMOKE,
        studies=(name,),
        z_loss=dataclasses.replace(z_loss.SMOKE, arms=tuple(z_loss.TREATMENTS), strata=(0.5,)),
        capacity=dataclasses.replace(
            settings.SMOKE.capacity, tops=(1, 2), factors=(0.5, 1.25, 2.0)
        ),
    )
    study = EXPERIMENT.studies[name]
    found = study.run(config, MadeUp(config))
    assert found.tables
    assert found.figures
    for claim in (claim for claim in study.claims if claim.evidence):
        judged = claims.judge(claim, claim.evidence(found.values))
        assert judged.parts


def test_stabilisers_bound_the_update_and_leave_the_scales():
    lane = {"learning_rate": jnp.float32(0.5)}
    params = {"norm": {"scale": jnp.ones(4)}, "router": jnp.ones((3, 4))}
    gradient = jax.tree.map(lambda leaf: 7 * leaf, params)
    updates = {}
    with jax.numpy_dtype_promotion("standard"):
        for name, make in language.STABILISERS.items():
            optimizer = make(0)(lane)
            updates[name] = optimizer.update(gradient, optimizer.init(params), params)[0]
    np.testing.assert_allclose(updates[""]["norm"]["scale"], -0.5, rtol=1e-5)
    np.testing.assert_allclose(updates["clipped updates"]["router"], -0.05, rtol=1e-5)
    np.testing.assert_array_equal(updates["no learned scales"]["norm"]["scale"], 0)
    np.testing.assert_allclose(updates["no learned scales"]["router"], -0.5, rtol=1e-5)


def test_a_rate_of_zero_learns_nothing_and_seeds_are_disjoint():
    config = settings.DEFAULT
    network = config.z_loss.network
    reported = language.reporting_seeds(network, config)
    assert len(reported) == 30
    assert not set(reported) & set(language.tuning_seeds(network, config))


def test_choice_of_a_rate():
    losses = np.asarray([[2.0, 2.0], [1.0, 1.2], [0.5, math.inf]])
    chosen = language.choose_rate((0.1, 0.2, 0.3), losses)
    assert (chosen["rate"], chosen["edge"]) == (0.2, False)
    assert language.choose_rate((0.1, 0.2), losses[:2])["edge"]


def test_chance_is_the_entropy_of_the_labels():
    data = sequences.lookup(clusters=1, context=16, training=2000, held_out=8, seed=0)
    assert language.chance(data) == pytest.approx(math.log(sequences.SYMBOLS), abs=0.05)
    assert language.chance(data) < math.log(sequences.SYMBOLS)


def test_lanes_of_a_mixture_are_the_same_bits_on_two_devices_and_after_a_stop():
    network, devices = language.SMOKE, jax.local_devices()
    trainer = language.make_trainer(language.sizes_of(network), network)
    run = functools.partial(
        sweep.run,
        *(trainer, language.lanes([0.01], [1, 2, 3], {**NO_LOSSES, "balance": 0.01})),
        language.arrays(language.load(network, 0), network),
        **{"steps": 6, "log_every": 2, "block": 1, "test": False},
    )
    alone = run(devices=devices[:1])
    assert len({float(loss) for loss in alone["validation_loss"][:, -1]}) == 3  # lanes differ
    saved, ended = {}, {}

    def stop(segment, snapshots):
        saved.update({block: jax.device_get(take()) for block, take in snapshots.items()})
        if segment.done >= 8:  # of 18 lane-steps
            raise StopIteration

    effects = sweep.Effects(
        stop=stop,
        finished=lambda block, metrics: ended.__setitem__(block, metrics),
        recall=ended.get,
        restore=lambda block, like: saved.get(block),
    )
    with pytest.raises(StopIteration):
        run(devices=devices[:2], effects=effects)
    assert saved[0]["point"] == 2
    resumed = run(devices=devices[:2], effects=dataclasses.replace(effects, stop=lambda *_: None))
    for name, values in alone.items():
        np.testing.assert_array_equal(resumed[name], values, err_msg=name)


# --- presets -------------------------------------------------------------------------------------


def test_the_large_preset_fits_its_gpu_and_lowers_for_accelerators():
    network = settings.LARGE.z_loss.network
    trainer = language.make_trainer(language.sizes_of(network, router_dtype="bfloat16"), network)
    lane = {
        "seed": jax.ShapeDtypeStruct((), jnp.uint32),
        **{
            name: jax.ShapeDtypeStruct((), jnp.float32)
            for name in ("learning_rate", "balance", "z", "group_balance")
        },
    }
    rows = jax.ShapeDtypeStruct((network.training, network.context), jnp.int32)
    held = jax.ShapeDtypeStruct((network.held_out, network.context), jnp.int32)
    data = {"train": (rows, rows), "validation": (held, held), "test": (held, held)}
    state = jax.eval_shape(trainer.init, lane, data)
    held_by = {
        key: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state[key]))
        for key in ("params", "optimizer")
    }
    gradients = held_by["params"]
    assert 20e9 < held_by["params"] + held_by["optimizer"] + gradients < 40e9
    exported = jax.export.export(jax.jit(trainer.step), platforms=("cuda", "tpu"))(
        lane, state, data
    )
    assert set(exported.platforms) == {"cuda", "tpu"}


def test_a_plan_counts_every_lane_and_step():
    config = dataclasses.replace(settings.SMOKE, studies=("z_loss", "balance"))
    found = planned.work(config)
    network, steps = config.z_loss.network, config.z_loss.network.steps
    tuning = len(network.rates) * network.tuning_seeds
    lanes = [tuning + 2 * network.seeds, tuning + 2 * network.seeds, network.seeds]
    assert [one.lane_steps for one in found["z_loss"]] == [steps * count for count in lanes]
    (balance,) = found["balance"]
    assert balance.lane_steps == language.SMOKE.steps * 3 * (1 + 2)
    for preset in settings.PRESETS.values():
        assert set(planned.seconds(preset)) == set(settings.STUDIES)


def test_operations_count_lanes_and_places():
    network = settings.DEFAULT.balance.network
    one = language.operations(network, 1)
    assert language.operations(network, 3) == 3 * one
    wide = dataclasses.replace(network, capacity_factor=2.0)
    tokens = network.steps * network.batch * network.context
    expected = 3 * 0.75 * 2 * 2 * network.width * network.hidden * tokens
    assert language.operations(wide, 1) - one == pytest.approx(expected)
    assert all(value > 0 for value in planned.operations(settings.LARGE).values())


def changed(**changes):
    """The default config with one study's network changed."""
    network = dataclasses.replace(settings.DEFAULT.capacity.network, **changes)
    capacity = dataclasses.replace(settings.DEFAULT.capacity, network=network)
    return dataclasses.replace(settings.DEFAULT, capacity=capacity)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": (0, 4096)}, "experts are more than"),
        ({"layers": (0, 0)}, "a layer with experts"),
        ({"layers": (0, 1)}, "cannot choose 2 of 1 experts"),
        ({"heads": 5}, "cannot be shared by 5 heads"),
        ({"context": 3}, "at least 4"),
        ({"steps": 301}, "not a multiple"),
        ({"held_out": 3}, "no whole number of routing groups"),
        ({"group": 1000}, "no whole number of routing groups"),
        ({"rates": (0.1, 0.0)}, "rates"),
        ({"data": "engllish"}, "Did you mean 'english'"),
    ],
)
def test_networks_that_cannot_be_are_refused(changes, words):
    with pytest.raises(Problem, match=words):
        settings.check(changed(**changes))


@pytest.mark.parametrize(
    ("study", "changes", "words"),
    [
        ("z_loss", {"arms": ("f32",)}, "must begin with bf16"),
        ("z_loss", {"arms": ("bf16", "bf16+z")}, "Did you mean 'bf16 \\+ z'"),
        ("z_loss", {"router_scale": 0.0}, "router-scale"),
        ("capacity", {"factors": (0.0, 1.0)}, "finite number above zero"),
        ("capacity", {"factors": (2.0, 1.0)}, "must rise"),
        ("capacity", {"tops": (9,)}, "cannot choose 9 of 8 experts"),
        ("capacity", {"evaluated": (2.0,)}, "two"),
        ("specialisation", {"tasks": ("french",)}, "There is no task 'french'"),
        ("finetuning", {"examples": (64, 100)}, "divide the last"),
        ("finetuning", {"batches": (16,)}, "two numbers or more"),
        ("finetuning", {"grid_examples": 65}, "grid-examples"),
    ],
)
def test_studies_that_cannot_be_are_refused(study, changes, words):
    own = dataclasses.replace(getattr(settings.DEFAULT, study), **changes)
    with pytest.raises(Problem, match=words):
        settings.check(dataclasses.replace(settings.DEFAULT, **{study: own}))


def test_balance_needs_groups_smaller_than_its_batch():
    network = dataclasses.replace(settings.DEFAULT.balance.network, group=0)
    own = dataclasses.replace(settings.DEFAULT.balance, network=network)
    with pytest.raises(Problem, match="a group of fewer tokens"):
        settings.check(dataclasses.replace(settings.DEFAULT, balance=own))


def test_text_shorter_than_its_context_is_refused(monkeypatch):
    windows = sequences.Windows(*(np.zeros((2, 8), np.int32),) * 2, np.zeros(2, np.int32))
    text = dataclasses.replace(
        sequences.lookup(clusters=1, context=8, training=2, held_out=2, seed=0),
        train=windows,
        validation=windows,
        test=windows,
    )
    monkeypatch.setattr(sequences, "english", lambda context: text)
    network = dataclasses.replace(language.SMOKE, data="english", context=8)
    with pytest.raises(Problem, match="only 2 windows of 8 bytes"):
        language.load(network, 0)


def test_the_router_starts_scaled(monkeypatch):
    first = {"layer": {"router": jnp.full((2, 4), 0.5), "up": jnp.ones((4, 2, 3))}}
    stub = models.Model(lambda key: first, lambda params, inputs: inputs)
    monkeypatch.setattr(transformer, "transformer", lambda sizes: stub)
    sizes = language.sizes_of(language.SMOKE)
    lane = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), language.lanes([0.1], [0], NO_LOSSES))
    for scale in (1.0, 10.0):
        trainer = language.make_trainer(sizes, language.SMOKE, router_scale=scale)
        layer = trainer.init(lane, ())["params"]["layer"]
        np.testing.assert_array_equal(layer["router"], 0.5 * scale)
        np.testing.assert_array_equal(layer["up"], 1.0)
