"""The mixture layer against its definition, token by token, and against itself when shared out."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtrends import moe
from jaxtrends.errors import Problem
from jaxtrends.moe import Mixture
from tests import free_port

WIDTH, HIDDEN, TOKENS, GROUPS = 8, 12, 24, 3
run_layer = jax.jit(moe.mixture_layer, static_argnums=2)


def layer_params(mixture, seed=0, router_scale=2.0):
    rng = np.random.default_rng(seed)
    shapes = {
        "router": (WIDTH, mixture.experts),
        "up": (mixture.experts, WIDTH, HIDDEN),
        "down": (mixture.experts, HIDDEN, WIDTH),
    }
    if mixture.residual:
        shapes |= {"dense_up": (WIDTH, HIDDEN), "dense_down": (HIDDEN, WIDTH)}
    scales = {"router": router_scale}
    return {
        name: jnp.asarray(rng.normal(size=shape, scale=scales.get(name, 0.4)), jnp.float32)
        for name, shape in shapes.items()
    }


def layer_inputs(seed=1):
    return jnp.asarray(
        np.random.default_rng(seed).normal(size=(GROUPS, TOKENS, WIDTH)), jnp.float32
    )


# --- oracles: one token after the other, in plain Python -----------------------------------------


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def served_by_hand(probabilities, top, capacity):
    """(choice, token) -> (expert, weight), for those that find a place; and all choices."""
    ranked = np.argsort(-probabilities, axis=-1, kind="stable")[:, :top]
    taken, served = [0] * probabilities.shape[1], {}
    for choice in range(top):
        for token, row in enumerate(probabilities):
            expert = int(ranked[token, choice])
            weight = row[expert] / (row[ranked[token]].sum() if top > 1 else 1.0)
            if taken[expert] < capacity:
                served[choice, token] = (expert, weight)
            taken[expert] += 1
    return served, ranked


def layer_by_hand(params, inputs, mixture):
    outputs, lost = np.zeros(inputs.shape), 0
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    for group, tokens in enumerate(np.asarray(inputs, np.float64)):
        probabilities = np.stack([softmax(token @ params["router"]) for token in tokens])
        capacity = int(np.ceil(mixture.capacity_factor * len(tokens) / mixture.experts))
        served, _ = served_by_hand(probabilities, mixture.top, min(capacity, len(tokens)))
        for (_, token), (expert, weight) in served.items():
            hidden = np.maximum(tokens[token] @ params["up"][expert], 0)
            outputs[group, token] += weight * (hidden @ params["down"][expert])
        lost += len(tokens) * mixture.top - len(served)
        if mixture.residual:
            dense = np.maximum(tokens @ params["dense_up"], 0) @ params["dense_down"]
            outputs[group] += dense
    return outputs, lost / (inputs.shape[0] * inputs.shape[1] * mixture.top)


SETTINGS = [
    Mixture(experts=6),
    Mixture(experts=6, capacity_factor=0.5),
    Mixture(experts=6, top=2, capacity_factor=1.5),
    Mixture(experts=6, top=2, capacity_factor=0.75, residual=True),
    Mixture(experts=4, top=3, capacity_factor=8.0),
    Mixture(experts=1, residual=True),
]


@pytest.mark.parametrize("mixture", SETTINGS, ids=str)
def test_the_layer_does_what_its_definition_says_token_by_token(mixture):
    params, inputs = layer_params(mixture), layer_inputs()
    outputs, report = run_layer(params, inputs, mixture)
    expected, dropped = layer_by_hand(params, inputs, mixture)
    np.testing.assert_allclose(outputs, expected, atol=2e-5)
    assert float(report.dropped) == pytest.approx(dropped, abs=1e-6)
    # The control: another capacity gives other outputs wherever anything was dropped.
    if dropped:
        roomy, _ = layer_by_hand(params, inputs, replace(mixture, capacity_factor=100.0))
        assert np.abs(outputs - roomy).max() > 1e-2


@pytest.mark.parametrize("mixture", SETTINGS, ids=str)
def test_moving_by_index_equals_one_hot_products_with_all_gradients(mixture):
    def loss(params, inputs, dispatch):
        outputs, report = moe.mixture_layer(params, inputs, replace(mixture, dispatch=dispatch))
        return jnp.sum(jnp.sin(outputs)) + report.balance + report.z, outputs

    given = layer_params(mixture), layer_inputs()
    found = {
        dispatch: jax.jit(
            jax.value_and_grad(partial(loss, dispatch=dispatch), argnums=(0, 1), has_aux=True)
        )(*given)
        for dispatch in ("index", "one_hot")
    }
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-4), found["index"], found["one_hot"])
    # The one-hot products are differentiated by JAX: their gradients are no zeros.
    assert all(np.abs(g).max() > 1e-3 for g in jax.tree.leaves(found["one_hot"][1]))


@pytest.mark.parametrize("assignment", ["fixed", "position"])
@pytest.mark.parametrize("top", [1, 2])
def test_what_is_not_learned_gives_no_gradient_to_the_router_and_through_it(top, assignment):
    def loss(params, inputs, aim, mixture):
        outputs, report = moe.mixture_layer(params, inputs, mixture)
        return aim * jnp.sum(jnp.sin(outputs)) + report.balance + report.z, report.expert

    learned = Mixture(experts=6, top=top)
    given = layer_params(learned), layer_inputs()
    found = {}
    for mixture in (learned, replace(learned, assignment=assignment)):
        graded = jax.jit(jax.value_and_grad(partial(loss, mixture=mixture), (0, 1), has_aux=True))
        for aim in (0.0, 1.0):
            found[mixture.assignment, aim] = graded(*given, jnp.float32(aim))
    # The router's own losses reach neither router nor inputs; what experts do to the inputs stays.
    _, (params, inputs) = found[assignment, 0.0]
    assert all(np.abs(g).max() == 0 for g in (*params.values(), inputs))
    (_, chosen), (params, inputs) = found[assignment, 1.0]
    assert np.abs(params["router"]).max() == 0
    assert np.abs(params["up"]).max() > 1e-3
    assert np.abs(inputs).max() > 1e-3
    in_turn = np.arange(top)[:, None] + np.arange(TOKENS)
    logits = np.asarray(given[1], np.float64) @ np.asarray(given[0]["router"], np.float64)
    evened = (logits - logits.mean(1, keepdims=True)) / logits.std(1, keepdims=True)
    ranked = np.argsort(-evened, axis=-1)[..., :top].swapaxes(1, 2)
    expected = ranked if assignment == "fixed" else in_turn[None] % 6
    np.testing.assert_array_equal(chosen, np.broadcast_to(expected, chosen.shape))
    # The control: a router that learns gets gradients, and passes them on.
    assert np.abs(found["learned", 0.0][1][0]["router"]).max() > 1e-3
    assert np.abs(found["learned", 0.0][1][1]).max() > 1e-3


@pytest.mark.parametrize("top", [1, 2])
def test_experts_chosen_in_turn_weigh_alike_and_nothing_is_dropped(top):
    mixture = Mixture(experts=6, top=top, capacity_factor=float(top), assignment="position")
    params, inputs = layer_params(mixture), layer_inputs()
    outputs, report = run_layer(params, inputs, mixture)
    assert float(report.dropped) == 0
    np.testing.assert_allclose(report.load, 1 / 6, rtol=1e-6)
    expected = np.zeros(inputs.shape)
    for token, choice in np.ndindex(TOKENS, top):
        expert = (token + choice) % 6
        hidden = np.maximum(inputs[:, token] @ params["up"][expert], 0)
        expected[:, token] += hidden @ params["down"][expert] / top
    np.testing.assert_allclose(outputs, expected, atol=2e-5)


def test_ragged_products_serve_everybody():
    mixture = Mixture(experts=6, top=2, capacity_factor=0.5)
    params, inputs = layer_params(mixture), layer_inputs()
    roomy, _ = layer_by_hand(params, inputs, replace(mixture, capacity_factor=100.0))
    ragged = replace(mixture, dispatch="ragged")
    outputs, report = run_layer(params, inputs, ragged)
    np.testing.assert_allclose(outputs, roomy, atol=2e-5)
    assert float(report.dropped) == 0


@pytest.mark.parametrize(
    ("tokens", "experts", "top", "capacity"),
    [(40, 7, 1, 3), (40, 7, 2, 12), (17, 3, 3, 6), (1, 1, 1, 1), (9, 5, 2, 1)],
)
def test_places_are_given_out_as_by_hand(tokens, experts, top, capacity):
    # Few different numbers, so that there are ties.
    logits = np.random.default_rng(tokens).integers(0, 4, (30, tokens, experts))
    many = np.exp(logits.astype(np.float32))
    many = many / many.sum(-1, keepdims=True)
    route = jax.jit(jax.vmap(lambda p: moe.route(p, top, capacity)))
    routings = jax.device_get(route(jnp.asarray(many)))
    for number, probabilities in enumerate(many):
        expert, place, token, gate = (part[number] for part in routings)
        served, ranked = served_by_hand(probabilities, top, capacity)
        np.testing.assert_array_equal(expert, ranked.T)
        for choice, name in np.ndindex(top, tokens):
            if (choice, name) in served:
                chosen, weight = served[choice, name]
                assert place[choice, name] // capacity == chosen
                assert token[place[choice, name]] == name
                assert gate[choice, name] == pytest.approx(weight, rel=1e-5)
            else:
                assert place[choice, name] == experts * capacity
        assert (token < tokens).sum() == len(served)


# --- losses --------------------------------------------------------------------------------------


def test_balance_is_one_for_an_even_load_and_e_for_a_single_expert():
    even = jnp.full((5,), 0.2)
    one = jnp.asarray([1.0, 0, 0, 0, 0])
    assert float(moe.load_balance(even, even)) == pytest.approx(1.0)
    assert float(moe.load_balance(one, one)) == 5.0
    probabilities = jnp.full((10, 5), 0.2)
    share = moe.shares(5, jnp.arange(10, dtype=jnp.int32) % 5)
    assert float(moe.load_balance(share, probabilities.mean(0))) == pytest.approx(1.0)


@pytest.mark.parametrize("balance", ["balance", "group_balance"])
def test_balance_counts_before_the_drop_and_its_gradient_reaches_the_router(balance):
    mixture = Mixture(experts=6, capacity_factor=0.25)
    params, inputs = layer_params(mixture), layer_inputs()

    def by_hand(router):
        probabilities = jax.nn.softmax(jnp.matmul(inputs, router, precision="highest"))
        first = jax.nn.one_hot(probabilities.argmax(-1), 6, dtype=jnp.float32)
        over = (0, 1) if balance == "balance" else (1,)
        product = jax.lax.stop_gradient(first).mean(over) * probabilities.mean(over)
        return jnp.mean(6 * product.sum(-1))

    def by_layer(router):
        report = moe.mixture_layer({**params, "router": router}, inputs, mixture)[1]
        return getattr(report, balance)

    expected, slope = jax.jit(jax.value_and_grad(by_hand))(params["router"])
    value, gradient = jax.jit(jax.value_and_grad(by_layer))(params["router"])
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(gradient, slope, atol=1e-6)
    assert np.abs(gradient).max() > 1e-3


def test_a_step_down_the_balance_loss_evens_the_load_out():
    mixture = Mixture(experts=4)
    params, inputs = layer_params(mixture, router_scale=1.0), layer_inputs() + 0.7
    value = jax.jit(
        jax.value_and_grad(
            lambda router: (
                moe.mixture_layer({**params, "router": router}, inputs, mixture)[1].balance
            )
        )
    )
    router = params["router"]
    before, gradient = value(router)
    for _ in range(200):
        router = router - 0.3 * gradient
        after, gradient = value(router)
    assert float(before) > 1.15
    assert float(after) < 1.05


def test_router_z_is_the_mean_square_of_the_log_of_the_sum():
    logits = np.random.default_rng(0).normal(size=(3, 5, 4)) * 3
    expected = np.mean(np.log(np.exp(logits).sum(-1)) ** 2)
    assert float(moe.router_z(jnp.asarray(logits, jnp.float32))) == pytest.approx(expected, 1e-5)


def test_the_report_is_of_all_tokens():
    mixture = Mixture(experts=6, top=2)
    params, inputs = layer_params(mixture), layer_inputs()
    _, report = run_layer(params, inputs, mixture)
    logits = np.asarray(inputs, np.float64) @ np.asarray(params["router"], np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    ranked = np.argsort(-p, axis=-1)[..., :2]
    np.testing.assert_allclose(report.load, np.bincount(ranked.ravel()) / ranked.size, atol=1e-6)
    np.testing.assert_array_equal(report.expert, np.swapaxes(ranked, 1, 2))
    assert float(report.entropy) == pytest.approx(-(p * np.log(p)).sum(-1).mean(), rel=1e-4)
    assert float(report.confidence) == pytest.approx(p.max(-1).mean(), rel=1e-4)
    assert float(report.largest_logit) == pytest.approx(np.abs(logits).max(), rel=1e-4)


def test_a_low_router_precision_moves_a_logit_as_the_paper_says():
    # ST-MoE, figure 2 and footnote 7: one logit of 128.5 beside ten of 128.
    inputs = jnp.ones((1, 11, 1), jnp.float32)
    params = {
        "router": jnp.full((1, 11), 128.0).at[0, 0].set(128.5),
        "up": jnp.ones((11, 1, 1)),
        "down": jnp.ones((11, 1, 1)),
    }
    found = {
        dtype: float(
            run_layer(params, inputs, Mixture(experts=11, router_dtype=dtype))[1].confidence
        )
        for dtype in ("float32", "bfloat16")
    }
    assert found["float32"] == pytest.approx(np.exp(0.5) / (np.exp(0.5) + 10), rel=1e-5)
    assert found["bfloat16"] == pytest.approx(1 / 11, rel=0.01)


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
        report = run_layer(params, inputs, Mixture(experts=4, router_dtype=dtype))[1]
        largest[dtype] = report.largest_logit
    rounded = {dtype: float(value.astype(jnp.bfloat16)) for dtype, value in largest.items()}
    assert rounded["bfloat16"] == float(largest["bfloat16"])
    assert rounded["float32"] != float(largest["float32"])


def test_jitter_needs_a_key_and_changes_the_logits_only_then():
    mixture = Mixture(experts=6, jitter=0.1)
    params, inputs = layer_params(mixture), layer_inputs()
    still = run_layer(params, inputs, mixture)[1].z
    assert float(still) == float(run_layer(params, inputs, Mixture(experts=6))[1].z)
    shaken = run_layer(params, inputs, mixture, key=jax.random.key(0))[1].z
    assert float(shaken) != float(still)
    assert float(shaken) == pytest.approx(float(still), rel=0.1)


# --- models, devices -----------------------------------------------------------------------------


def test_experts_start_as_a_dense_layer_of_their_size_would():
    from flax import nnx

    layer = moe.make_layer(Mixture(experts=8, residual=True), 64, 256, nnx.Rngs(0))
    for name, fan_in in {"up": 64, "down": 256, "dense_up": 64, "dense_down": 256}.items():
        assert float(getattr(layer, name)[...].std()) == pytest.approx(fan_in**-0.5, rel=0.03), name
    assert float(layer.router[...].std()) == pytest.approx(0.02, rel=0.1)
    outputs, report = nnx.jit(lambda inputs: layer(inputs))(jnp.ones((2, 16, 64)))
    assert outputs.shape == (2, 16, 64)
    assert report.load.shape == (8,)


PARALLEL = """
import json
import jax, jax.numpy as jnp, numpy as np
from jaxtrends import moe
from tests.test_moe import layer_inputs, layer_params

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
mesh = jax.make_mesh((8,), ("expert",), axis_types=(jax.sharding.AxisType.Auto,))
worst = []
for mixture in (
    moe.Mixture(experts=16, capacity_factor=0.75),
    moe.Mixture(experts=8, top=2, residual=True),
):
    params, inputs = layer_params(mixture), jnp.tile(layer_inputs(), (8, 1, 1))[:8]
    inputs = inputs + 0.1 * jnp.arange(8, dtype=jnp.float32)[:, None, None]

    def graded(layer):
        def loss(params, inputs):
            outputs, report = layer(params, inputs)
            routed = report.balance + 2 * report.group_balance + report.z
            return jnp.sum(jnp.sin(outputs)) + routed, (outputs, report)
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, inputs)

    alone = graded(lambda p, x: moe.mixture_layer(p, x, mixture))
    shared = graded(lambda p, x: moe.expert_parallel(p, x, mixture, mesh, ("expert",)))
    assert float(alone[0][1][1].dropped) > 0
    gap = lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max())
    worst.append(max(jax.tree.leaves(jax.tree.map(gap, alone, shared))))
print(json.dumps(worst))
"""


def test_experts_on_eight_devices_equal_one_with_the_same_groups():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PARALLEL], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    gaps = json.loads(done.stdout)
    assert len(gaps) == 2
    assert max(gaps) < 2e-4, gaps


PROCESSES = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jaxtrends import moe

port, number = sys.argv[1], int(sys.argv[2])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.distributed.initialize(f"127.0.0.1:{port}", 2, number)
from tests.test_moe import layer_inputs, layer_params

assert (jax.process_count(), jax.device_count(), jax.local_device_count()) == (2, 4, 2)
mesh = jax.make_mesh((4,), ("expert",), axis_types=(jax.sharding.AxisType.Auto,))
spec, sharding = jax.sharding.PartitionSpec, jax.sharding.NamedSharding
mixture = moe.Mixture(experts=8, capacity_factor=0.75)
params = layer_params(mixture)
inputs = jnp.tile(layer_inputs(), (2, 1, 1))[:4]
inputs = inputs + 0.1 * jnp.arange(4, dtype=jnp.float32)[:, None, None]

def graded(layer):
    def loss(params, inputs):
        outputs, report = layer(params, inputs)
        routed = report.balance + 2 * report.group_balance + report.z
        return jnp.sum(jnp.sin(outputs)) + routed, (outputs, report)
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

def placed(array, split):  # over the devices of both processes; each holds all and gives its part
    whole = np.asarray(array)
    where = sharding(mesh, spec("expert") if split else spec())
    return jax.make_array_from_callback(whole.shape, where, lambda index: whole[index])

alone = graded(lambda p, x: moe.mixture_layer(p, x, mixture))(params, inputs)
held = {name: placed(leaf, name in ("up", "down")) for name, leaf in params.items()}
assert len(held["up"].addressable_shards) == 2  # half of the experts are in the other process
layer = graded(lambda p, x: moe.expert_parallel(p, x, mixture, mesh, ("expert",)))
shared = layer(held, placed(inputs, True))
assert float(alone[0][1][1].dropped) > 0

def gap(expected, found):  # of the parts that this process holds
    expected = np.asarray(expected)
    return max(
        float(np.abs(expected[shard.index] - np.asarray(shard.data)).max())
        for shard in found.addressable_shards
    )

print(json.dumps(max(jax.tree.leaves(jax.tree.map(gap, alone, shared)))))
"""


def test_experts_in_two_processes_equal_one_device_with_the_same_groups():
    with free_port.held() as port:
        started = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", PROCESSES, str(port), str(number)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(2)
        ]
        try:
            said = [process.communicate(timeout=300) for process in started]
        finally:
            for process in started:
                process.kill()
    for process, (output, errors) in zip(started, said, strict=True):
        assert process.returncode == 0, errors
        assert float(output.splitlines()[-1]) < 2e-4, output  # gloo talks first


def test_groups_and_experts_must_divide_evenly():
    mesh = jax.make_mesh((2,), ("expert",), axis_types=(jax.sharding.AxisType.Auto,))
    for mixture, groups in ((Mixture(experts=5), 2), (Mixture(experts=6), 3)):
        with pytest.raises(Problem, match="use a multiple of 2"):
            moe.expert_parallel(
                layer_params(mixture), layer_inputs()[:groups], mixture, mesh, ("expert",)
            )


@pytest.mark.parametrize("mixture", [*SETTINGS[:4], Mixture(dispatch="ragged")], ids=str)
def test_forward_and_backward_lower_for_cuda_and_tpu(mixture):
    def loss(params, inputs):
        outputs, report = moe.mixture_layer(params, inputs, mixture)
        return jnp.sum(outputs) + report.balance + report.z

    step = jax.jit(jax.grad(loss))
    exported = jax.export.export(step, platforms=("cuda", "tpu"))(
        layer_params(mixture), layer_inputs()
    )
    assert exported.platforms == ("cuda", "tpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"experts": 25}, "25 experts are more than the 24 tokens"),
        ({"experts": 4, "top": 5}, "cannot choose 5 of 4 experts"),
        ({"capacity_factor": 0.0}, "capacity-factor must be a finite number above zero"),
        ({"capacity_factor": float("nan")}, "capacity-factor"),
        ({"experts": 0}, "experts"),
        ({"top": 0}, "top"),
        ({"jitter": 1.5}, "jitter"),
        ({"router_dtype": "float8"}, "router dtype"),
        ({"dispatch": "indx"}, "index"),
        ({"assignment": "positional"}, "Did you mean 'position'"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(changes, words):
    with pytest.raises(Problem, match=words):
        moe.check(replace(Mixture(experts=8), **changes), TOKENS)
