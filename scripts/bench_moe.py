"""Cost of a mixture layer, as ratios within one process: ``python -m scripts.bench_moe``.

One forward and one backward pass of a layer on 2,048 tokens of width 128, with experts of hidden
width 512, capacity factor 1.25 and top-1 routing, in float32. It is compared with a dense layer of
the same active FLOPs, with the experts' products alone (given buffers, no router), and with
dispatch by one-hot products. Programs alternate, in one order and then in reverse, so that other
load on the machine affects all equally. Each first runs once unmeasured. The last line is one JSON
object of named ratios of medians over the repetitions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxtrends import backend, moe
from jaxtrends.errors import Problem, require_positive
from jaxtrends.terminal import mend_streams

TOKENS, WIDTH, HIDDEN = 2048, 128, 512
EXPERTS = (4, 8, 16, 32, 64)
CURVE = (512, 1024, 2048, 4096, 8192)  # tokens, at the most experts
ONE_HOT_AT = 32  # experts


def layer(dispatch: str, params: Any, inputs: jax.Array) -> jax.Array:
    """A whole mixture layer with as many experts as ``params`` has."""
    mixture = moe.Mixture(experts=params["up"].shape[0], dispatch=dispatch)
    return moe.mixture_layer(params, inputs, mixture)[0]


def products_batched(params: Any, buffers: jax.Array) -> jax.Array:
    """The experts' products alone, as one batched product each."""
    hidden = jax.nn.relu(jnp.einsum("ecd,edf->ecf", buffers, params["up"]))
    return jnp.einsum("ecf,efd->ecd", hidden, params["down"])


def products_mapped(params: Any, buffers: jax.Array) -> jax.Array:
    """The same, one expert at a time."""

    def one(expert: tuple[jax.Array, ...]) -> jax.Array:
        rows, up, down = expert
        return jax.nn.relu(rows @ up) @ down

    return jax.lax.map(one, (buffers, params["up"], params["down"]))


def dense(params: Any, inputs: jax.Array) -> jax.Array:
    """A dense layer: the FLOPs of one expert on all tokens."""
    return jax.nn.relu(inputs @ params["up"][0]) @ params["down"][0]


def arguments(experts: int, tokens: int, buffered: bool) -> tuple[Any, jax.Array]:
    """Parameters, and inputs (1, T, d) or, buffered, (E, C, d)."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "router": jax.random.normal(keys[0], (WIDTH, experts)) * 0.02,
        "up": jax.random.normal(keys[1], (experts, WIDTH, HIDDEN)) * WIDTH**-0.5,
        "down": jax.random.normal(keys[2], (experts, HIDDEN, WIDTH)) * HIDDEN**-0.5,
    }
    places = moe.places(tokens, moe.Mixture(experts=experts))
    shape = (experts, places, WIDTH) if buffered else (1, tokens, WIDTH)
    return params, jax.random.normal(keys[3], shape)


def program(
    function: Callable[[Any, jax.Array], jax.Array], params: Any, inputs: jax.Array
) -> Callable[[], float]:
    """Compile the forward and backward pass; a call returns the seconds of one of each."""

    def loss(params: Any, inputs: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(function(params, inputs)))

    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, inputs).compile()

    def run() -> float:
        started = time.perf_counter()
        jax.block_until_ready(compiled(params, inputs))
        return time.perf_counter() - started

    return run


def programs() -> dict[str, Callable[[], float]]:
    """Everything that is timed, by name."""
    made = {"dense": program(dense, *arguments(1, TOKENS, buffered=False))}
    for experts in EXPERTS:
        given = arguments(experts, TOKENS, buffered=False)
        buffers = arguments(experts, TOKENS, buffered=True)
        made[f"layer, {experts} experts"] = program(partial(layer, "index"), *given)
        made[f"batched products, {experts} experts"] = program(products_batched, *buffers)
        made[f"mapped products, {experts} experts"] = program(products_mapped, *buffers)
        if experts == ONE_HOT_AT:
            made[f"one-hot, {experts} experts"] = program(partial(layer, "one_hot"), *given)
    for tokens in CURVE:
        if tokens != TOKENS:
            given = arguments(EXPERTS[-1], tokens, buffered=False)
            made[f"layer, {tokens} tokens"] = program(partial(layer, "index"), *given)
            made[f"dense, {tokens} tokens"] = program(dense, *arguments(1, tokens, buffered=False))
    return made


def measure(repeats: int) -> dict[str, list[float]]:
    """Seconds of every program, ``repeats`` times each, alternating."""
    runs = programs()
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(repeats):
        for name in list(runs)[:: 1 if repetition % 2 else -1]:
            seconds[name].append(runs[name]())
    return seconds


def ratios(medians: Mapping[str, float]) -> dict[str, float]:
    """Named ratios of median times."""
    found = {}
    for experts in EXPERTS:
        whole = medians[f"layer, {experts} experts"]
        best = min(medians[f"{how} products, {experts} experts"] for how in ("batched", "mapped"))
        found[f"layer/best_expert_products_{experts}"] = whole / best
        found[f"layer/dense_{experts}"] = whole / medians["dense"]
    one_hot = medians[f"one-hot, {ONE_HOT_AT} experts"]
    found[f"one_hot/layer_{ONE_HOT_AT}"] = one_hot / medians[f"layer, {ONE_HOT_AT} experts"]
    for tokens in CURVE:
        if tokens != TOKENS:
            found[f"layer/dense_{EXPERTS[-1]}_at_{tokens}_tokens"] = (
                medians[f"layer, {tokens} tokens"] / medians[f"dense, {tokens} tokens"]
            )
    return {name: round(ratio, 3) for name, ratio in found.items()}


def main(arguments: list[str] | None = None) -> None:
    mend_streams()
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench_moe", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--repeats", type=int, default=15, help="repetitions of every program")
    repeats = parser.parse_args(arguments).repeats
    require_positive(repeats=repeats)

    with backend.explained():
        device = jax.devices()[0]
    print(f"jax {jax.__version__} on {jax.device_count()} x {device.device_kind}")
    seconds = measure(repeats)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"\n{'ms, forward and backward':<32}{'median':>9}{'fastest':>9}")
    for name, values in seconds.items():
        print(f"{name:<32}{1e3 * medians[name]:9.2f}{1e3 * min(values):9.2f}")
    found = ratios(medians)
    print()
    for name, ratio in found.items():
        print(f"{name:<46}{ratio:8.3f}")
    print(json.dumps(found))


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
