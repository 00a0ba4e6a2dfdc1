from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from experiments.forward_grad import cost
from jaxtrends.claims import INVALID, NOT_REPRODUCED, REPRODUCED, judge
from tests.plain_run import PlainRun

CLAIMS = {claim.id: claim for claim in cost.CLAIMS}
PILOT = cost.Network(depth=4, width=256)
DEEPER = cost.Network(depth=8, width=256)


@pytest.fixture(scope="module")
def compiled():
    methods = (cost.FUNCTION, cost.JVP, cost.BACKPROP, cost.PROJECTED)
    model = PILOT.model
    shapes = cost.shapes_of(model, 64)
    return {m: cost.compile_repeated(cost.program(m, model), shapes) for m in methods}


@pytest.fixture(scope="module")
def smoke():
    return cost.run(SimpleNamespace(seed=3, cost=cost.SMOKE), PlainRun("cost"))


# --- operations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "batch"), [(PILOT, 64), (cost.Network(1, 32), 7), (cost.FIGURE_4, 64)]
)
def test_operations_are_those_of_the_closed_form(network, batch):
    sizes = [cost.FEATURES, *[network.width] * network.depth, cost.CLASSES]
    function = 2 * batch * sum(i * o for i, o in pairwise(sizes))
    derivative = 3 * function - 2 * batch * sizes[0] * sizes[1]  # the inputs have no tangent
    counted = cost.count(network, batch)
    assert counted[cost.FUNCTION] == function
    assert counted[cost.JVP] == counted[cost.BACKPROP] == derivative
    assert counted["parameters"] == sum((i + 1) * o for i, o in pairwise(sizes))


def test_operations_agree_with_the_compiler(compiled):
    counted = cost.count(PILOT, 64)
    for method in (cost.FUNCTION, cost.JVP, cost.BACKPROP):
        told = cost.compiled_costs(compiled[method])["operations"]
        assert told == pytest.approx(counted[method], rel=0.03)


# --- programs and their loop -------------------------------------------------------------------


def computed(loop, turns=3):
    """How often a loop computes what hangs on one argument alone, for each of three arguments."""
    counts = Counter()

    def noted(number, values):
        counts[number] += 1
        return values

    def call(key, *rest):  # pure, so that the compiler may move it as it may a product
        return [
            jax.pure_callback(partial(noted, number), jax.typeof(values), values)
            for number, values in enumerate((jax.random.key_data(key), *rest))
        ]

    arguments = jax.random.key(0), jnp.ones(2), jnp.ones(3)
    outputs = cost.zeros(jax.eval_shape(call, *arguments))
    jax.block_until_ready(loop(call)(jnp.int32(turns), arguments, outputs))
    return dict(counts)


def test_nothing_leaves_the_loop():
    assert computed(cost.repeated) == {0: 3, 1: 3, 2: 3}


def test_a_program_that_leaves_its_loop_is_seen():
    def careless(call):
        def run(count, arguments, value):
            def turn(_, carry):
                return carry[0], call(*lax.optimization_barrier(carry[0]))

            return lax.fori_loop(0, count, turn, (arguments, value))[1]

        return jax.jit(run)

    assert computed(careless) == {0: 1, 1: 1, 2: 1}


def test_the_loop_gives_what_one_call_gives(compiled):
    arguments = cost.arguments(PILOT.model, 64, (1, 2))
    count = jnp.int32(3)
    value, gradient = jax.value_and_grad(
        lambda params: cost.program(cost.FUNCTION, PILOT.model)(
            arguments[0], params, *arguments[2:]
        )
    )(arguments[1])
    outputs = cost.zeros((value, gradient))
    found = compiled[cost.BACKPROP](count, arguments, outputs)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        found,
        (value, gradient),
    )
    along = sum(
        float(jnp.vdot(g, v))
        for g, v in zip(jax.tree.leaves(gradient), jax.tree.leaves(arguments[2]), strict=True)
    )
    # The control for memory computes the same number.
    for method in (cost.JVP, cost.PROJECTED):
        found = compiled[method](count, arguments, cost.zeros((value, value)))
        np.testing.assert_allclose(found, (value, along), rtol=1e-3)


def test_the_loop_has_a_new_key_in_every_turn():
    run = cost.repeated(lambda key: jax.random.bits(key, (), jnp.uint32))
    key = jax.random.key(0)
    last = [run(jnp.int32(count), (key,), jnp.uint32(0)) for count in (1, 2)]
    assert last == [jax.random.bits(jax.random.fold_in(key, turn)) for turn in (0, 1)]


@pytest.mark.parametrize("method", cost.METHODS)
def test_every_program_lowers_for_accelerators(method):
    model = cost.Network(1, 8).model
    call = cost.program(method, model)
    shapes = cost.shapes_of(model, 4)
    abstract = jax.ShapeDtypeStruct((), jnp.int32), shapes, jax.eval_shape(call, *shapes)
    exported = jax.export.export(cost.repeated(call), platforms=("cuda", "tpu"))(*abstract)
    assert set(exported.platforms) == {"cuda", "tpu"}


# --- memory ------------------------------------------------------------------------------------


def test_a_jvp_keeps_no_activations_and_backprop_does(compiled):
    model, shapes = DEEPER.model, cost.shapes_of(DEEPER.model, 64)
    deeper = {
        method: cost.compile_repeated(cost.program(method, model), shapes)
        for method in (cost.JVP, cost.BACKPROP, cost.PROJECTED)
    }
    rungs = [(PILOT, compiled), (DEEPER, deeper)]
    found = {"tasks": {n.at(64): cost.rung(n, 64, programs) for n, programs in rungs}}
    assert verdict("F6b", found) == REPRODUCED
    # A layer's activations are 64 x 256 float32; backprop keeps two arrays of them at most.
    activations = 64 * 256 * 4
    (ladder,) = cost.ladders(found)
    growth = cost.bytes_per_layer(ladder, cost.BACKPROP)
    assert activations <= growth <= 2.1 * activations


def rungs_of(sizes, width=8, batch=4):
    """A ladder of which the memory of a jvp is known: depth -> bytes, or None."""
    return {
        f"{depth} x {width}, batch {batch}": {
            "task": f"width {width}, batch {batch}",
            "size": depth,
            "arms": {
                cost.JVP: {"metrics": {}, "facts": {} if size is None else {"temporary": size}}
            },
        }
        for depth, size in sizes.items()
    }


def test_shallow_networks_do_not_enter_the_growth():
    (ladder,) = cost.ladders({"tasks": rungs_of({1: 0, 4: 100, 8: 140, 16: 220})})
    assert cost.bytes_per_layer(ladder, cost.JVP) == pytest.approx(10)
    (short,) = cost.ladders({"tasks": rungs_of({1: 0, 4: 100})})
    with pytest.raises(KeyError):
        cost.bytes_per_layer(short, cost.JVP)


def test_a_backend_that_does_not_tell_leaves_the_claim_unjudged():
    class Silent:
        def memory_analysis(self):
            return None

        def cost_analysis(self):
            return None

    assert cost.compiled_costs(Silent()) == {}
    with pytest.raises(KeyError):
        CLAIMS["F6b"].evidence({"tasks": rungs_of({4: None, 8: None})})


# --- time --------------------------------------------------------------------------------------


def made_up(gaussian, again=lambda depth: 1.0):
    """Measurements with a forward gradient of a given share of backprop's time at each depth."""
    noise = np.random.default_rng(0)

    def taking(share):
        seconds = share * np.exp(0.01 * noise.standard_normal(5))
        return {"metrics": {"seconds": list(seconds)}, "facts": {}}

    tasks = {
        network.at(64): {
            "task": f"width {network.width}, batch 64",
            "size": network.depth,
            "arms": {
                cost.FUNCTION: taking(0.3),
                cost.JVP: taking(0.9),
                cost.GAUSSIAN: taking(gaussian(network.depth)),
                cost.RADEMACHER: taking(gaussian(network.depth)),
                cost.BACKPROP: taking(1.0),
                cost.BACKPROP_AGAIN: taking(again(network.depth)),
            },
        }
        for network in [*(cost.Network(depth, 256) for depth in (1, 4, 16)), cost.FIGURE_4]
    }
    return {
        "device": {"cores": 2},
        "load_average": {"before": 0.5, "after": 0.5},
        "batch": 64,
        "rounds": 5,
        "processes": list(range(5)),
        "tasks": tasks,
    }


def verdict(claim, measurements):
    return judge(CLAIMS[claim], CLAIMS[claim].evidence(measurements)).verdict


def test_the_papers_own_times_would_be_reproduced():
    paper = made_up(lambda depth: 0.56 * depth**0.09)
    assert verdict("F5a", paper) == REPRODUCED
    assert verdict("F6a", paper) == REPRODUCED
    assert [*CLAIMS["F6a"].evidence(paper).parts] == ["width 256"]


def test_equal_times_are_not_a_saving_that_shrinks():
    equal = made_up(lambda depth: 1.0)
    assert verdict("F5a", equal) == NOT_REPRODUCED
    assert verdict("F6a", equal) == NOT_REPRODUCED


def test_a_clock_that_favours_a_place_in_the_order_decides_nothing():
    assert verdict("F5a", made_up(lambda depth: 0.5, again=lambda depth: 0.5)) == INVALID
    rising = made_up(lambda depth: 0.5, again=lambda depth: depth**0.2)
    assert verdict("F6a", rising) == INVALID


# --- the study ---------------------------------------------------------------------------------


def test_cheap_forward_mode_is_told_from_backprop_by_its_operations():
    row = cost.count(PILOT, 64)
    assert verdict("F5b", {"operations": [row]}) == REPRODUCED
    cheap = row | {cost.JVP: row[cost.FUNCTION]}
    assert verdict("F5b", {"operations": [cheap]}) == NOT_REPRODUCED


def test_smoke_times_every_program_and_leaves_out_what_it_lacks(smoke):
    (task,) = smoke.measurements["tasks"].values()
    seconds = {
        method: arm["metrics"]["seconds"]
        for method, arm in task["arms"].items()
        if method != cost.PROJECTED  # only compiled, for its memory
    }
    assert all(len(times) == cost.SMOKE.processes and min(times) > 0 for times in seconds.values())
    assert set(seconds) == {*cost.timed(cost.Network(1, 32)), cost.BACKPROP_AGAIN}
    assert smoke.values == {"operations": [cost.count(cost.Network(1, 32), 64)]}
    for claim in ("F5a", "F6a", "F6b"):
        with pytest.raises(KeyError):
            CLAIMS[claim].evidence(smoke.measurements)


def test_table_and_figures_show_what_was_measured():
    found = made_up(lambda depth: 0.5)
    for task in found["tasks"].values():
        task["arms"][cost.JVP]["facts"]["temporary"] = 100
        task["arms"][cost.BACKPROP]["facts"]["temporary"] = 50 * task["size"]
    values = {
        "operations": [
            cost.count(cost.Network(depth, width), 64)
            for depth, width in ((1, 256), (4, 256), (16, 256), (2, 1024))
        ]
    }
    assert len(cost.table(values, found).rows) == 4 * 6
    times, memory = cost.figures(found)
    ratio = {series.label: series for series in times.panels[1].series}[cost.GAUSSIAN]
    assert ratio.y == pytest.approx([0.5] * 3, rel=0.02)
    assert list(ratio.x) == [1, 4, 16]
    assert [series.label for series in memory.panels[0].series] == [cost.JVP, cost.BACKPROP]
