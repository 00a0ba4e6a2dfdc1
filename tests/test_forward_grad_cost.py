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
from experiments.forward_grad import cost_programs as programs
from jaxtrends.claims import INVALID, NOT_REPRODUCED, REPRODUCED, judge

CLAIMS = {claim.id: claim for claim in cost.CLAIMS}
PILOT = programs.Network(depth=4, width=256)
DEEPER = programs.Network(depth=8, width=256)


class FakeRun:
    def each(self, label, items):
        return items


@pytest.fixture(scope="module")
def compiled():
    methods = (programs.FUNCTION, programs.JVP, programs.BACKPROP, programs.PROJECTED)
    model = PILOT.model
    shapes = programs.abstract_arguments(model, 64)
    return {m: programs.compile_repeated(programs.program(m, model), shapes) for m in methods}


@pytest.fixture(scope="module")
def smoke():
    return cost.run(SimpleNamespace(seed=3, cost=cost.SMOKE), FakeRun())


# --- operations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "batch"), [(PILOT, 64), (programs.Network(1, 32), 7), (programs.FIGURE_4, 64)]
)
def test_operations_are_those_of_the_closed_form(network, batch):
    sizes = [programs.FEATURES, *[network.width] * network.depth, programs.CLASSES]
    function = 2 * batch * sum(i * o for i, o in pairwise(sizes))
    derivative = 3 * function - 2 * batch * sizes[0] * sizes[1]  # the inputs have no tangent
    counted = programs.count(network, batch)
    assert counted[programs.FUNCTION] == function
    assert counted[programs.JVP] == counted[programs.BACKPROP] == derivative
    assert counted["parameters"] == sum((i + 1) * o for i, o in pairwise(sizes))


def test_deep_networks_cost_one_to_three_to_three():
    counted = programs.count(programs.Network(20, 1024), 64)
    assert 2.95 < counted[programs.JVP] / counted[programs.FUNCTION] < 3
    shallow = programs.count(programs.Network(1, 1024), 64)
    assert 2 < shallow[programs.JVP] / shallow[programs.FUNCTION] < 2.02


def test_operations_agree_with_the_compiler(compiled):
    counted = programs.count(PILOT, 64)
    for method in (programs.FUNCTION, programs.JVP, programs.BACKPROP):
        told = programs.compiled_costs(compiled[method])["operations"]
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
    outputs = programs.zeros(jax.eval_shape(call, *arguments))
    jax.block_until_ready(loop(call)(jnp.int32(turns), arguments, outputs))
    return dict(counts)


def test_nothing_leaves_the_loop():
    assert computed(programs.repeated) == {0: 3, 1: 3, 2: 3}


def test_a_program_that_leaves_its_loop_is_seen():
    def careless(call):
        def run(count, arguments, value):
            def turn(_, carry):
                return carry[0], call(*lax.optimization_barrier(carry[0]))

            return lax.fori_loop(0, count, turn, (arguments, value))[1]

        return jax.jit(run)

    assert computed(careless) == {0: 1, 1: 1, 2: 1}


def test_the_loop_gives_what_one_call_gives(compiled):
    arguments = programs.arguments(PILOT.model, 64, (1, 2))
    count = jnp.int32(3)
    value, gradient = jax.value_and_grad(
        lambda params: programs.program(programs.FUNCTION, PILOT.model)(
            arguments[0], params, *arguments[2:]
        )
    )(arguments[1])
    outputs = programs.zeros((value, gradient))
    found = compiled[programs.BACKPROP](count, arguments, outputs)
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
    for method in (programs.JVP, programs.PROJECTED):
        found = compiled[method](count, arguments, programs.zeros((value, value)))
        np.testing.assert_allclose(found, (value, along), rtol=1e-3)


def test_the_loop_has_a_new_key_in_every_turn():
    run = programs.repeated(lambda key: jax.random.bits(key, (), jnp.uint32))
    key = jax.random.key(0)
    last = [run(jnp.int32(count), (key,), jnp.uint32(0)) for count in (1, 2)]
    assert last == [jax.random.bits(jax.random.fold_in(key, turn)) for turn in (0, 1)]


@pytest.mark.parametrize("method", programs.METHODS)
def test_every_program_lowers_for_accelerators(method):
    model = programs.Network(1, 8).model
    call = programs.program(method, model)
    shapes = programs.abstract_arguments(model, 4)
    abstract = jax.ShapeDtypeStruct((), jnp.int32), shapes, jax.eval_shape(call, *shapes)
    exported = jax.export.export(programs.repeated(call), platforms=("cuda", "tpu"))(*abstract)
    assert set(exported.platforms) == {"cuda", "tpu"}


# --- memory ------------------------------------------------------------------------------------


def test_a_jvp_keeps_no_activations_and_backprop_does(compiled):
    rows = [cost.compiled_row(PILOT, 64, method, own) for method, own in compiled.items()]
    rows += cost.memory(DEEPER, 64)
    measurements = {"compiled": rows, "networks": [n._asdict() for n in (PILOT, DEEPER)]}
    assert verdict("F6b", measurements) == REPRODUCED
    # A layer's activations are 64 x 256 float32; backprop keeps two arrays of them at most.
    activations = 64 * 256 * 4
    growth = cost.bytes_per_layer(rows, programs.BACKPROP, 256, 64)
    assert activations <= growth <= 2.1 * activations


def test_shallow_networks_do_not_enter_the_growth():
    rows = [
        {"depth": depth, "width": 8, "batch": 4, "program": programs.JVP, "temporary": size}
        for depth, size in [(1, 0), (4, 100), (8, 140), (16, 220)]
    ]
    assert cost.bytes_per_layer(rows, programs.JVP, 8, 4) == pytest.approx(10)
    with pytest.raises(KeyError):
        cost.bytes_per_layer(rows[:2], programs.JVP, 8, 4)


def test_a_backend_that_does_not_tell_leaves_the_claim_unjudged():
    class Silent:
        def memory_analysis(self):
            return None

        def cost_analysis(self):
            return None

    assert programs.compiled_costs(Silent()) == {}
    networks = [{"depth": depth, "width": 8} for depth in (4, 8)]
    rows = [network | {"batch": 4, "program": programs.JVP} for network in networks]
    with pytest.raises(KeyError):
        CLAIMS["F6b"].evidence({"compiled": rows, "networks": networks})


# --- time --------------------------------------------------------------------------------------


def test_a_slope_needs_two_sizes():
    # Means 7/3 and 2; cross products 4/3 - 1/3 + 0 = 1; squares 16/9 + 1/9 + 25/9 = 14/3.
    assert cost.slope([1, 2, 4], [1, 3, 2]) == pytest.approx(3 / 14)
    with pytest.raises(KeyError):
        cost.slope([2, 2], [1, 3])


def made_up(gaussian, again=lambda depth: 1.0, load=0.5):
    """Measurements with a forward gradient of a given share of backprop's time at each depth."""
    networks = [programs.Network(depth, 256) for depth in (1, 4, 16)] + [programs.FIGURE_4]
    noise = np.random.default_rng(0)

    def times(share):
        return list(share * np.exp(0.01 * noise.standard_normal(19)))

    seconds = {
        network.name: {
            programs.FUNCTION: times(0.3),
            programs.JVP: times(0.9),
            programs.GAUSSIAN: times(gaussian(network.depth)),
            programs.RADEMACHER: times(gaussian(network.depth)),
            programs.BACKPROP: times(1.0),
            programs.BACKPROP_AGAIN: times(again(network.depth)),
        }
        for network in networks
    }
    return {
        "device": {"platform": "cpu", "kind": "cpu", "processor": "a processor", "cores": 2},
        "load_average": {"before": load, "after": load},
        "batch": 64,
        "networks": [{"name": network.name} | network._asdict() for network in networks],
        "compiled": [],
        "seconds": seconds,
    }


def verdict(claim, measurements):
    return judge(CLAIMS[claim], CLAIMS[claim].evidence(measurements)).verdict


def test_the_papers_own_times_would_be_reproduced():
    paper = made_up(lambda depth: 0.56 * depth**0.09)
    assert verdict("F5a", paper) == REPRODUCED
    assert verdict("F6a", paper) == REPRODUCED


def test_equal_times_are_not_a_saving_that_shrinks():
    equal = made_up(lambda depth: 1.0)
    assert verdict("F5a", equal) == NOT_REPRODUCED
    assert verdict("F6a", equal) == NOT_REPRODUCED


def test_a_clock_that_favours_a_place_in_the_order_decides_nothing():
    assert verdict("F5a", made_up(lambda depth: 0.5, again=lambda depth: 0.5)) == INVALID
    rising = made_up(lambda depth: 0.5, again=lambda depth: depth**0.2)
    assert verdict("F6a", rising) == INVALID


def test_a_busy_machine_is_said_to_be_busy():
    assert "Warning" not in cost.conditions(made_up(lambda depth: 1.0, load=2.3))
    assert "not idle" in cost.conditions(made_up(lambda depth: 1.0, load=2.6))


# --- the study ---------------------------------------------------------------------------------


def test_cheap_forward_mode_is_told_from_backprop_by_its_operations():
    row = programs.count(PILOT, 64)
    assert verdict("F5b", {"operations": [row]}) == REPRODUCED
    assert (
        verdict("F5b", {"operations": [row | {programs.JVP: row[programs.FUNCTION]}]})
        == NOT_REPRODUCED
    )


def test_smoke_times_every_program_and_leaves_out_what_it_lacks(smoke):
    (seconds,) = smoke.measurements["seconds"].values()
    assert all(len(times) == cost.SMOKE.rounds and min(times) > 0 for times in seconds.values())
    assert set(seconds) == {*programs.timed(programs.Network(1, 32)), programs.BACKPROP_AGAIN}
    assert smoke.values == {"operations": [programs.count(programs.Network(1, 32), 64)]}
    for claim in ("F5a", "F6a", "F6b"):
        with pytest.raises(KeyError):
            CLAIMS[claim].evidence(smoke.measurements)
    for table in smoke.measured_tables:
        assert table.rows
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_tables_and_figure_show_what_was_measured():
    measurements = made_up(lambda depth: 0.5)
    sizes = {programs.JVP: lambda depth: 100, programs.BACKPROP: lambda depth: 50 * depth}
    measurements["compiled"] = [
        {"depth": depth, "width": 256, "batch": 64, "program": method, "temporary": size(depth)}
        for depth in (1, 4, 16)
        for method, size in sizes.items()
    ]
    values = {
        "operations": [programs.count(programs.Network(depth, 256), 64) for depth in (1, 4, 16)]
    }
    shares = {row[3]: row[-1] for row in cost.memory_table(values, measurements).rows}
    assert shares == {programs.JVP: pytest.approx(0), programs.BACKPROP: pytest.approx(1)}
    figure = cost.cost_figure(values, measurements)
    over_function, over_backprop, memory = figure.panels
    assert over_backprop.series[0].y == pytest.approx([0.5] * 3, rel=0.02)
    assert list(over_backprop.series[0].x) == [1, 4, 16]
    theory = over_function.series[-1]
    assert theory.style == "theory"
    assert list(theory.y) == sorted(theory.y)
    assert [series.label for series in memory.series] == ["jvp alone", "backprop"]
